// Bundles the server and all its packages into dist/main.js, with its thread that counts tokens in dist/TokenWorker.js, which
// need nothing but Node 24, and their licences into dist/LICENSES.txt.
// Plain JavaScript, because `npm start` runs it on whatever Node came with npm.
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

const entryPoints = ["src/main.ts", "src/route/TokenWorker.ts"]

/** What the bundle was made of, and what was made: each file with its size and time. */
const record = "dist/.made-of.json"

/** What stands for all packages, and what says how to make a bundle of them. */
const makers = ["node_modules/.package-lock.json", "scripts/build.mjs"]

const identity = (path) => {
  const { mtimeNs, size } = statSync(path, { bigint: true })
  return `${size} bytes, ${mtimeNs} ns`
}

/** Whether dist is what a build would make now; an older file in a source's place counts as a change too. */
export const isFresh = () => {
  try {
    return Object.entries(JSON.parse(readFileSync(record, "utf8"))).every(([path, made]) => identity(path) === made)
  } catch {
    return false
  }
}

/** Puts a file in place whole, under whoever starts the bundle at this moment. */
const write = (path, contents) => {
  const unfinished = `${path}.${process.pid}`
  writeFileSync(unfinished, contents)
  renameSync(unfinished, path)
}

const packageFolder = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/

const licencesOf = (inputs) => {
  const folders = new Set(inputs.flatMap((path) => packageFolder.exec(path)?.[0] ?? []))
  const licences = [...folders].toSorted().map((folder) => {
    const { license, name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
    const files = readdirSync(folder).filter((file) => /^(?:LICEN[CS]E|NOTICE|license)/.test(file))
    return [`${name} ${version} (${license})`, ...files.map((file) => readFileSync(join(folder, file), "utf8").trim())].join("\n\n")
  })
  return `${licences.join(`\n\n${"-".repeat(80)}\n\n`)}\n`
}

/** Makes dist; fails, and says on standard error why, where the sources can't be bundled. */
export const bundle = async () => {
  const { build } = await import("esbuild")
  const began = BigInt(Date.now()) * 1_000_000n
  const { metafile, outputFiles } = await build({
    entryPoints,
    entryNames: "[name]",
    outdir: "dist",
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    // Some bundled packages are CommonJS and call require for Node's own modules; the alias keeps clear of their names.
    banner: { js: `import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);` },
    metafile: true,
    write: false,
    logLevel: "warning"
  })
  const inputs = Object.keys(metafile.inputs)
  mkdirSync("dist", { recursive: true })
  for (const { contents, path } of outputFiles) write(path, contents)
  write("dist/LICENSES.txt", licencesOf(inputs))
  const sources = [...inputs.filter((path) => !packageFolder.test(path)), ...makers]
  // A source that was changed meanwhile may be in the bundle as it was.
  if (sources.every((path) => statSync(path, { bigint: true }).mtimeNs < began)) {
    const files = [...sources, ...Object.keys(metafile.outputs)]
    write(record, JSON.stringify(Object.fromEntries(files.map((path) => [path, identity(path)]))))
  }
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) await bundle()
