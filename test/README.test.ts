import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { generated } from "../scripts/docs.ts"

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")

describe("README", () => {
  it("has the parts that are made from the code as `npm run docs` writes them", () => {
    assert.strictEqual(generated(readme), readme)
  })
})
