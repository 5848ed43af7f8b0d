import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { HttpClient, HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import { connect } from "node:net"
import type { Socket } from "node:net"
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

type Options = Parameters<typeof EventStream.respond>[0]

/** Asks for a stream by a socket that reads nothing before it is told to. */
const asleep = <A>(
  respond: (request: Options["request"]) => ReturnType<typeof EventStream.respond>,
  use: (socket: Socket) => Promise<A>
) => {
  const route = HttpRouter.add("GET", "/", (request) => Effect.orDie(respond(request)))
  const server = HttpRouter.serve(route, { disableLogger: true }).pipe(Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })))
  return Effect.gen(function*() {
    const { address } = yield* HttpServer.HttpServer
    return yield* Effect.promise(async () => {
      const socket = connect("port" in address ? address.port : 0, "127.0.0.1").pause()
      socket.on("error", () => {})
      socket.write("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
      try {
        return await use(socket)
      } finally {
        socket.destroy()
      }
    })
  }).pipe(Effect.provide(server))
}

/** All that comes until the other side ends. */
const rest = (socket: Socket) =>
  new Promise<string>((resolve) => {
    const chunks: Array<Buffer> = []
    socket.on("data", (chunk: Buffer) => void chunks.push(chunk)).on("close", () => resolve(Buffer.concat(chunks).toString())).resume()
  })

const long = "x".repeat(40_000)

describe("a reader that sleeps", () => {
  for (const [name, tail] of [["a long end", long], ["a short end", ""]] as const) {
    it.live(`gets all events in their order once it reads, ${name} too`, () =>
      Effect.gen(function*() {
        const count = 400
        let waited = () => {}
        const full = new Promise<void>((resolve) => (waited = resolve))
        const produce: Options["produce"] = (emit) =>
          Effect.as(Effect.forEach(Array.from({ length: count }, (_, n) => n), (n) =>
            Effect.suspend(() => {
              const emitted = emit({ data: `${n}:${n < count - 200 ? long : tail}` })
              if (emitted === Effect.void) return emitted
              waited()
              return emitted
            }), { discard: true }), "whole" as const)
        const text = yield* asleep((request) => EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 60_000, produce }), async (socket) => {
          await full
          return rest(socket)
        })
        assert.deepStrictEqual([...text.matchAll(/data: (\d+):/g)].map(([, n]) => Number(n)), Array.from({ length: count }, (_, n) => n))
        assert.isTrue(text.endsWith("0\r\n\r\n"), "the answer's end is told last")
      }), 20_000)
  }

  it.live("is cut also where only the last write waits for it", () =>
    Effect.gen(function*() {
      const respond = Effect.fnUntraced(function*(request: Options["request"]) {
        const response = NodeHttpServerRequest.toServerResponse(request)
        const produce: Options["produce"] = (emit) =>
          Effect.gen(function*() {
            while (!response.writableNeedDrain) {
              yield* emit({ data: long })
              yield* Effect.sleep(1)
            }
            return "whole" as const
          })
        return yield* EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 200, produce })
      })
      const text = yield* asleep(respond, async (socket) => {
        await new Promise((resolve) => setTimeout(resolve, 1000))
        return rest(socket)
      })
      assert.isFalse(text.endsWith("0\r\n\r\n"), "it is no whole answer")
    }), 20_000)
})
