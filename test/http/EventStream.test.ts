import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { HttpClient, HttpRouter } from "effect/http"
import * as EventStream from "../../src/http/EventStream.ts"

/** The text of a stream that this produces, and what was logged meanwhile. */
const read = (produce: Parameters<typeof EventStream.respond>[0]["produce"]) => {
  const logged: Array<unknown> = []
  const route = HttpRouter.add("GET", "/", (request) =>
    Effect.orDie(EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 60_000, produce })))
  const server = HttpRouter.serve(route, { disableLogger: true }).pipe(
    Layer.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))])),
    Layer.provideMerge(NodeHttpServer.layerTest)
  )
  return Effect.gen(function*() {
    const response = yield* HttpClient.get("/")
    return { status: response.status, text: yield* response.text, logged: JSON.stringify(logged) }
  }).pipe(Effect.provide(server))
}

describe("EventStream", () => {
  it.live("ends a stream whose producer has a defect, and logs it", () =>
    Effect.gen(function*() {
      const { logged, status, text } = yield* read((emit) =>
        Effect.andThen(emit(EventStream.named("one", { n: 1 })), Effect.die(new Error("boom"))))
      assert.deepStrictEqual([status, text], [200, "event: one\ndata: {\"n\":1}\n\n"])
      assert.include(logged, "broke off by a defect")
    }))

  it.live("sends what is emitted in any turn, in its order", () =>
    Effect.gen(function*() {
      const { text } = yield* read((emit) =>
        Effect.as(Effect.forEach(Array.from({ length: 30 }, (_, n) => n), (n) =>
          Effect.andThen(emit({ data: `${n}` }), n % 3 === 0 ? Effect.sleep(1) : Effect.void)), "whole"))
      assert.strictEqual(text, Array.from({ length: 30 }, (_, n) => `data: ${n}\n\n`).join(""))
    }))
})
