import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

interface Locked {
  readonly version?: string
  readonly integrity?: string
  readonly hasInstallScript?: boolean
}

const json = (file: string) => JSON.parse(readFileSync(file, "utf8"))

describe("what is installed", () => {
  it("has an exact version and a hash, and runs programs of its own only where package.json says that it may", () => {
    const { lockfileVersion, packages }: { readonly lockfileVersion: number; readonly packages: Readonly<Record<string, Locked>> } = json("package-lock.json")
    const { allowScripts, dependencies, devDependencies } = json("package.json")
    assert.strictEqual(lockfileVersion, 3)
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) assert.match(String(version), /^\d+\.\d+\.\d+$/, name)
    for (const [path, { hasInstallScript, integrity, version }] of Object.entries(packages)) {
      if (path === "") continue
      assert.match(integrity ?? "", /^sha512-[A-Za-z0-9+/]{86}==$/, path)
      assert.match(version ?? "", /^\d+\.\d+\.\d+/, path)
      if (hasInstallScript === true) assert.property(allowScripts, path.split("node_modules/").at(-1) ?? path)
    }
    assert.match(readFileSync(".npmrc", "utf8"), /^strict-allow-scripts=true$/m)
  })

  it("is nothing at all where a package that is not on the list would run a program", () => {
    const folder = mkdtempSync(join(tmpdir(), "tokenhub-install-test-"))
    try {
      mkdirSync(join(folder, "scripts"))
      for (const file of ["scripts/install.mjs", "scripts/build.mjs"]) copyFileSync(file, join(folder, file))
      writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "x", version: "1.0.0", dependencies: { evil: "1.0.0" }, allowScripts: { node: true } }))
      const evil = { version: "1.0.0", integrity: "sha512-x", hasInstallScript: true }
      writeFileSync(join(folder, "package-lock.json"), JSON.stringify({ lockfileVersion: 3, packages: { "": {}, "node_modules/evil": evil, "node_modules/node": { ...evil } } }))
      const { status, stderr } = spawnSync(process.execPath, [join(folder, "scripts/install.mjs")], { encoding: "utf8" })
      assert.strictEqual(status, 1)
      assert.match(stderr, /not in package\.json's allowScripts: evil\n/)
      assert.isFalse(existsSync(join(folder, "node_modules")))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
