import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import * as EventStream from "../../src/http/EventStream.ts"

/** The text of a stream whose producer emits one event and dies, and what was logged of it. */
const broken = Effect.gen(function*() {
  const logged: Array<unknown> = []
  const response = yield* EventStream.respond({
    request: HttpServerRequest.fromWeb(new Request("http://localhost/")),
    heartbeatMs: 60_000,
    stallMs: 60_000,
    produce: (emit) => Effect.andThen(emit(EventStream.named("one", { n: 1 })), Effect.die(new Error("boom")))
  }).pipe(
    Effect.tap(({ body }) => (body._tag === "Stream" ? Stream.runDrain(body.stream) : Effect.die("no stream"))),
    Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))]))
  )
  return { logged, response }
})

describe("EventStream", () => {
  it.effect("ends a stream whose producer has a defect, and logs it", () =>
    Effect.gen(function*() {
      const { logged, response } = yield* broken
      assert.strictEqual(response.status, 200)
      assert.include(JSON.stringify(logged), "broke off by a defect")
    }))
})
