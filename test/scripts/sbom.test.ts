import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import type { Lock } from "../../scripts/sbom.ts"
import { billOf } from "../../scripts/sbom.ts"

const lock: Lock & { readonly packages: Readonly<Record<string, { readonly dev?: boolean }>> } = JSON.parse(readFileSync("package-lock.json", "utf8"))
const manifest: { readonly dependencies: Record<string, string>; readonly devDependencies: Record<string, string> } = JSON.parse(readFileSync("package.json", "utf8"))

describe("the bill of materials", () => {
  it("has everything that TokenHub runs with, with hash and licence, and nothing that only its development needs", () => {
    const { components, dependencies } = billOf(lock)
    const names = components.map(({ purl }) => decodeURIComponent(purl))
    for (const [name, version] of Object.entries(manifest.dependencies)) assert.include(names, `pkg:npm/${name}@${version}`)
    for (const [name, version] of Object.entries(manifest.devDependencies)) if (name !== "@types/node") assert.notInclude(names, `pkg:npm/${name}@${version}`)
    assert.lengthOf(new Set(names), names.length)
    for (const { hashes = [], licenses = [], purl } of components) {
      assert.match(hashes[0]?.content ?? "", /^[0-9a-f]{128}$/, purl)
      assert.isNotEmpty(licenses, purl)
    }
    assert.deepStrictEqual(dependencies[0]?.dependsOn.length, Object.keys(manifest.dependencies).length)
    const refs = new Set(components.map((component) => component["bom-ref"]))
    for (const { dependsOn } of dependencies) for (const ref of dependsOn) assert.isTrue(refs.has(ref), ref)
  })

  it("finds the package that node would find, and writes expressions as such", () => {
    const { components, dependencies } = billOf({
      name: "x",
      version: "1.0.0",
      packages: {
        "": { license: "MIT", dependencies: { a: "1", b: "1" } },
        "node_modules/a": { version: "1.0.0", license: "(MIT OR Apache-2.0)", dependencies: { b: "2", "@s/c": "1" } },
        "node_modules/a/node_modules/b": { version: "2.0.0", dependencies: { "@s/c": "1" } },
        "node_modules/b": { version: "1.0.0" },
        "node_modules/@s/c": { version: "3.0.0", license: "ISC" },
        "node_modules/d": { version: "4.0.0", dev: true }
      }
    })
    assert.deepStrictEqual(components.map(({ purl }) => purl), ["pkg:npm/a@1.0.0", "pkg:npm/b@2.0.0", "pkg:npm/b@1.0.0", "pkg:npm/%40s/c@3.0.0"])
    assert.deepStrictEqual(components[0]?.licenses, [{ expression: "(MIT OR Apache-2.0)" }])
    assert.deepStrictEqual(components[3]?.licenses, [{ license: { id: "ISC" } }])
    assert.deepStrictEqual(dependencies.map(({ dependsOn }) => dependsOn), [
      ["pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0"],
      ["pkg:npm/%40s/c@3.0.0", "pkg:npm/b@2.0.0"],
      ["pkg:npm/%40s/c@3.0.0"],
      [],
      []
    ])
  })
})
