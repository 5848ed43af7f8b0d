import { assert, describe, it } from "@effect/vitest"
import { isStrict } from "../../../src/domain/StrictSchema.ts"
import { closed } from "../../../src/provider/protocols/ClosedSchema.ts"

const open = {
  type: "object",
  properties: {
    list: { type: "array", items: { type: ["object", "null"], properties: { a: { type: "string" } } } },
    map: { type: "object", additionalProperties: { type: "object" } },
    free: { type: "object", additionalProperties: true }
  },
  $defs: { b: { anyOf: [{ properties: { c: {} } }, { type: "string" }] } },
  required: ["list"]
}

describe("a schema", () => {
  it("is closed where it does not say whether other properties may be there, at every depth", () => {
    assert.deepStrictEqual(closed(open), {
      type: "object",
      properties: {
        list: { type: "array", items: { type: ["object", "null"], properties: { a: { type: "string" } }, additionalProperties: false } },
        map: { type: "object", additionalProperties: { type: "object", additionalProperties: false } },
        free: { type: "object", additionalProperties: true }
      },
      $defs: { b: { anyOf: [{ properties: { c: {} }, additionalProperties: false }, { type: "string" }] } },
      required: ["list"],
      additionalProperties: false
    })
  })

  it("that is none stays as it is", () => {
    for (const value of [undefined, null, true, "x", []]) assert.strictEqual(closed(value), value)
  })

  const object = (properties: object, more: object = {}) =>
    ({ type: "object", properties, required: Object.keys(properties), additionalProperties: false, ...more })
  const strict: ReadonlyArray<readonly [name: string, boolean, unknown]> = [
    ["all closed and required", true, object({ a: { type: "string", enum: ["x"] }, b: { type: "array", items: object({ c: { anyOf: [{ type: "null" }, object({})] } }) } })],
    ["an optional property", false, object({ a: {} }, { required: [] })],
    ["an open object inside", false, object({ a: { type: "object", properties: {} } })],
    ["a keyword that strict mode has not", false, object({ a: { type: "string", minLength: 3 } })],
    ["a root that is no object", false, { type: "string" }],
    ["none", false, undefined]
  ]
  for (const [name, expected, schema] of strict) {
    it(`is ${expected ? "" : "not "}one for OpenAI's strict mode with ${name}`, () => assert.strictEqual(isStrict(schema), expected))
  }
})
