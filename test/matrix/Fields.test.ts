/** Every field at every door, towards every provider: it reaches the provider, or is the 400 that names it. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { isJson } from "../support/fake-provider/Wire.ts"
import type { Bench } from "./Bench.ts"
import * as MatrixBench from "./Bench.ts"
import type { DoorFields, Field } from "./Fields.ts"
import { doorFields } from "./Fields.ts"
import type { UpstreamName } from "./Table.ts"
import { upstreamNames, upstreams } from "./Table.ts"

const post = ({ hub, keys }: Bench, upstream: UpstreamName, path: string, body: object) =>
  hub.request("POST", path, body, { headers: { authorization: `Bearer ${keys[upstream]}` } })

const fieldOf = (path: string, error: unknown): unknown =>
  isJson(error) && isJson(error["error"]) ? error["error"]["param"] : assert.fail(`no error of ${path}: ${JSON.stringify(error)}`)

const tryField = async (bench: Bench, { path, plain }: DoorFields, { answers, asks, outcomes, thinks }: Field, upstream: UpstreamName) => {
  const { fake } = bench
  const outcome = outcomes[upstream]
  const model = `${upstream}-${thinks === true ? "large" : "small"}`
  for (const stream of answers === undefined ? [false, true] : [false]) {
    fake.reset()
    const body = { ...plain, ...asks, model, ...(stream ? { stream } : {}) }
    const { json, status, text } = await post(bench, upstream, path, body)
    if (typeof outcome === "string") {
      assert.deepStrictEqual([status, fieldOf(path, json)], [400, outcome], text)
      assert.strictEqual(fake.calls.length, 0, "nothing is sent")
      const dropped = await post(bench, upstream, path, { ...body, tokenhub: { drop_unsupported: true } })
      assert.strictEqual(dropped.status, 200, dropped.text)
      continue
    }
    assert.strictEqual(status, 200, text)
    if (outcome !== null) assert.deepNestedPropertyVal(fake.calls.at(-1)?.body, outcome[0], outcome[1])
    answers?.(json)
  }
}

layer(MatrixBench.layer, { excludeTestServices: true, timeout: 60_000 })("fields", (it) => {
  for (const door of doorFields) {
    describe(`at ${door.path}`, () => {
      for (const field of door.fields) {
        for (const upstream of upstreamNames) {
          it.effect(`${field.name}, ${upstreams[upstream].title}`, () =>
            Effect.flatMap(MatrixBench.MatrixBench, (bench) => Effect.promise(() => tryField(bench, door, field, upstream))))
        }
      }
    })
  }
})
