// Bundles the server and all its packages into dist/main.js, with its thread that counts tokens in dist/TokenWorker.js, which
// need nothing but Node 24, and their licences into dist/LICENSES.txt.
import { build } from "esbuild"
import { globSync, readFileSync, writeFileSync } from "node:fs"

const { metafile } = await build({
  entryPoints: ["src/main.ts", "src/route/TokenWorker.ts"],
  entryNames: "[name]",
  outdir: "dist",
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  // Some bundled packages are CommonJS and call require for Node's own modules; the alias keeps clear of their names.
  banner: { js: `import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);` },
  metafile: true,
  logLevel: "info"
})

const packageFolder = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/
const folders = new Set(Object.keys(metafile.inputs).flatMap((path) => packageFolder.exec(path)?.[0] ?? []))
const licences = [...folders].toSorted().map((folder) => {
  const { license, name, version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"))
  const texts = globSync(`${folder}/{LICENSE,LICENCE,NOTICE,license}*`).map((file) => readFileSync(file, "utf8").trim())
  return [`${name} ${version} (${license})`, ...texts].join("\n\n")
})
writeFileSync("dist/LICENSES.txt", `${licences.join(`\n\n${"-".repeat(80)}\n\n`)}\n`)
