import { assert, describe, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import { secretValues } from "../../src/vault/Secrets.ts"

const stored = (...secrets: ReadonlyArray<readonly [name: string, value: string]>) =>
  Result.match(secretValues(new Map(secrets.map(([name, value]) => [name, Redacted.make(value)]))), {
    onSuccess: (values) => Array.from(values, ([name, value]) => [name, value.toString("utf8")]),
    onFailure: ({ message, param }) => `${param}: ${message}`
  })

describe("secrets to be stored", () => {
  it("have names in Unicode form C", () => {
    assert.deepStrictEqual(stored(["cafe\u0301", "schlüssel"], ["b", ""]), [["café", "schlüssel"], ["b", ""]])
  })

  it("may be as long as the limits, and not a byte longer; the fault names the secret and not its value", () => {
    assert.isArray(stored(["é".repeat(256), "é".repeat(32_768)]))
    assert.match(String(stored([`${"é".repeat(256)}x`, "v"])), /^name: .*1 to 512 bytes/)
    assert.match(String(stored(["", "v"])), /^name: /)
    assert.match(String(stored(["n", `${"é".repeat(32_768)}x`])), /^value: The value of 'n' must have at most 65536 bytes$/)
    assert.match(String(stored(["n", "\ud800"])), /^value: The value of 'n' must be valid Unicode text$/)
  })

  it("have one value a name, whatever form the name has", () => {
    assert.match(String(stored(["caf\u00e9", "1"], ["cafe\u0301", "2"])), /^data: The name 'café' is there twice$/)
  })
})
