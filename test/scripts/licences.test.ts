import { assert, describe, it } from "@effect/vitest"
import { isAllowed } from "../../scripts/licences.ts"

const names = new Set(["MIT", "Apache-2.0"])

describe("a package's licence", () => {
  it.each<readonly [licence: string, allowed: boolean]>([
    ["MIT", true],
    ["(MIT OR GPL-3.0-only)", true],
    ["MIT AND Apache-2.0", true],
    ["MIT AND GPL-3.0-only", false],
    ["GPL-3.0-only", false],
    ["none", false],
    ["", false]
  ])("'%s': %s", (licence, allowed) => assert.strictEqual(isAllowed(licence, names), allowed))
})
