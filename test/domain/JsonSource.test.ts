import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { JsonSource } from "../../src/domain/JsonSource.ts"
import { outline, written } from "../../src/domain/JsonSource.ts"

const sourceOf = (json: string): JsonSource => {
  const bytes = Buffer.from(json)
  const made = outline(bytes, 64)
  if (made === undefined) throw new Error(`deeper than 64: ${json}`)
  return { ...made, value: JSON.parse(json) }
}

const bytesOf = (json: string, change: (value: JsonSource["value"]) => JsonSource["value"]): string => {
  const source = sourceOf(json)
  return String(written(source, change(source.value)))
}

/** Texts that are hard to tell from the signs around them are as likely as any others. */
const Text = Schema.Union([Schema.String, Schema.Literals(["model", "\"", "\\", "\\\"", "},", "],[", "\n", "é", "🦉", ",\"model\":1", `${"x".repeat(80)}\\"}`])])
const Leaf = Schema.Union([Text, Schema.Finite, Schema.Boolean, Schema.Null])
const Drawn = Schema.Array(Schema.Tuple([Text, Schema.Union([Leaf, Schema.Array(Leaf), Schema.Struct({ a: Leaf, "},": Leaf })])]))
const Indent = Schema.Literals(["", " ", "\t", "\n  "])

/** Names without a backslash, after which Node 24 takes some other names for them, and without `__proto__`. */
const objectOf = (drawn: typeof Drawn.Type): JsonSource["value"] =>
  JSON.parse(JSON.stringify(Object.fromEntries(drawn.map(([name, value]) => [`n${name.replaceAll("\\", "/")}`, value]))))

describe("an object in the bytes in which it came", () => {
  it.prop("says what was wanted, whatever came and whatever was changed, added or taken out", [Drawn, Drawn, Schema.Array(Schema.Boolean), Indent], ([given, more, keep, indent]) => {
    const source = sourceOf(`${indent}${JSON.stringify(objectOf(given), undefined, indent)}${indent}`)
    const kept = Object.fromEntries(Object.entries(source.value).filter((_, i) => keep[i] ?? true))
    for (const wanted of [source.value, kept, { ...kept, ...objectOf(more) }, { ...objectOf(more), ...kept }, { ...kept, left: undefined }, structuredClone(kept)]) {
      assert.deepStrictEqual(JSON.parse(String(written(source, wanted))), JSON.parse(JSON.stringify(wanted)))
    }
  })

  it.prop("is the very same where nothing is changed", [Drawn, Indent], ([given, indent]) => {
    const source = sourceOf(JSON.stringify(objectOf(given), undefined, indent))
    assert.strictEqual(written(source, { ...source.value }), source.bytes)
    assert.strictEqual(written(source, structuredClone(source.value)), source.bytes)
  })

  it("keeps what JavaScript would write in another way", () => {
    const json = `{ "model":"mine", "seed" : 12345678901234567890,"top_p":1.0, "x":{"a":1 , "\\u0041":"\\/"} }`
    assert.strictEqual(bytesOf(json, (value) => ({ ...value, model: "theirs" })), `{"seed" : 12345678901234567890,"top_p":1.0,"x":{"a":1 , "\\u0041":"\\/"} ,"model":"theirs"}`)
  })

  it("finds a field by its name however that is escaped", () => {
    assert.strictEqual(bytesOf(`{"\\u006dodel":"mine","a":[1]}`, (value) => ({ ...value, model: "theirs" })), `{"a":[1],"model":"theirs"}`)
  })

  it("is written anew where a name stands twice, so that no reader finds another value than was looked at", () => {
    assert.strictEqual(bytesOf(`{"model":"dear","model":"cheap","a":1}`, (value) => value), `{"model":"cheap","a":1}`)
    assert.strictEqual(bytesOf(`{"model":"dear","m\\u006fdel":"cheap"}`, (value) => value), `{"model":"cheap"}`)
    assert.strictEqual(bytesOf(`{"a":[{"b":1,"b":2}], "c":":"}`, (value) => value), `{"a":[{"b":2}],"c":":"}`)
  })

  it("may become empty, and may begin so", () => {
    assert.strictEqual(bytesOf(`{"a":1}`, () => ({})), "{}")
    assert.strictEqual(bytesOf(` { } `, () => ({ a: 1 })), `{"a":1}`)
  })

  it("counts depth outside of strings only", () => {
    assert.isUndefined(outline(Buffer.from("[[[]]]"), 2))
    assert.isDefined(outline(Buffer.from("[[\"[[[[\\\"[[\"]]"), 2))
    assert.isUndefined(outline(Buffer.from(`["${"x".repeat(100)}\\\\",[[]]]`), 2))
  })
})
