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

const request = (version: string, connection: string) => `GET / ${version}\r\nhost: localhost\r\nconnection: ${connection}\r\n\r\n`

/** Asks for a stream by a socket that reads nothing before it is told to. */
const asleep = <A>(
  respond: (request: Options["request"]) => ReturnType<typeof EventStream.respond>,
  use: (socket: Socket) => Promise<A>,
  asked = request("HTTP/1.1", "close")
) => {
  const route = HttpRouter.add("GET", "/", (request) => Effect.orDie(respond(request)))
  const server = HttpRouter.serve(route, { disableLogger: true }).pipe(Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })))
  return Effect.gen(function*() {
    const { address } = yield* HttpServer.HttpServer
    return yield* Effect.promise(async () => {
      const socket = connect("port" in address ? address.port : 0, "127.0.0.1").pause()
      socket.on("error", () => {})
      socket.write(asked)
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

/** The head of an answer, and what stands below it byte for byte, with the sizes that chunks have. */
const parted = (text: string) => {
  const [head = "", ...body] = text.split("\r\n\r\n")
  return { head, body: body.join("\r\n\r\n") }
}

describe("the bytes of a stream", () => {
  const pieces = ["plain", "Grüße 👋🏽 日本", "latin é"]
  const produce: Options["produce"] = (emit) =>
    Effect.as(Effect.forEach(pieces, (data) => Effect.andThen(emit({ data }), Effect.sleep(5))), "whole" as const)

  it.live("are a chunk for each write, of a size in bytes, and end with the last chunk", () =>
    Effect.gen(function*() {
      const writes: Array<string> = []
      const respond = (request: Options["request"]) => {
        const { socket } = NodeHttpServerRequest.toIncomingMessage(request)
        const write = socket.write.bind(socket) as (...given: ReadonlyArray<unknown>) => boolean
        socket.write = (...given: ReadonlyArray<unknown>) => {
          writes.push(String(given[0]))
          return write(...given)
        }
        return EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 60_000, produce })
      }
      const { body, head } = parted(yield* asleep(respond, rest))
      assert.match(head, /\r\ntransfer-encoding: chunked/i)
      const chunks = pieces.map((data) => `${Buffer.byteLength(`data: ${data}\n\n`).toString(16)}\r\ndata: ${data}\n\n\r\n`)
      assert.strictEqual(body, `${chunks.join("")}0\r\n\r\n`)
      assert.match(writes[0] ?? "", /^HTTP\/1\.1 200/)
      assert.deepStrictEqual(writes.slice(1, 1 + pieces.length), chunks)
    }))

  it.live("come one after the other where the client asks for the next before it has the first, and leave nothing on the connection", () =>
    Effect.gen(function*() {
      const listeners: Array<number> = []
      let connection: Socket | undefined
      let asked = 0
      const respond = (request: Options["request"]) => {
        connection = NodeHttpServerRequest.toIncomingMessage(request).socket
        listeners.push(connection.listenerCount("drain"))
        const nth = asked++
        // The first is the last to be ready.
        const produce: Options["produce"] = (emit) =>
          Effect.as(Effect.andThen(emit({ data: `${nth} begins` }), Effect.andThen(Effect.sleep(nth === 0 ? 50 : 5), emit({ data: `${nth} ends` }))), "whole")
        return EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 60_000, produce })
      }
      const text = yield* asleep(respond, rest, request("HTTP/1.1", "keep-alive").repeat(3) + request("HTTP/1.1", "close"))
      const told = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data)
      assert.deepStrictEqual(told, [0, 1, 2, 3].flatMap((nth) => [`${nth} begins`, `${nth} ends`]))
      assert.strictEqual(text.match(/^HTTP\/1\.1 200/gm)?.length, 4)
      assert.strictEqual(text.match(/^0$/gm)?.length, 4)
      assert.strictEqual(connection?.listenerCount("drain"), listeners[0])
    }))

  it.live("are the events alone for a client of HTTP/1.0, which knows no chunks", () =>
    Effect.gen(function*() {
      const respond = (request: Options["request"]) => EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 60_000, produce })
      const { body, head } = parted(yield* asleep(respond, rest, request("HTTP/1.0", "close")))
      assert.notMatch(head, /transfer-encoding/i)
      assert.strictEqual(body, pieces.map((data) => `data: ${data}\n\n`).join(""))
    }))

  it.live("are the last chunk alone where nothing was emitted", () =>
    Effect.gen(function*() {
      const respond = (request: Options["request"]) =>
        EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 60_000, produce: () => Effect.succeed("whole") })
      assert.strictEqual(parted(yield* asleep(respond, rest)).body, "0\r\n\r\n")
    }))
})

describe("a reader that takes all", () => {
  it.live("is not cut where an answer waits for the one before it on the connection", () =>
    Effect.gen(function*() {
      let asked = 0
      const respond = (request: Options["request"]) => {
        const produce: Options["produce"] = asked++ === 0
          ? () => Effect.as(Effect.sleep(800), "whole")
          : (emit) => Effect.as(Effect.forEach([1, 2, 3, 4], () => emit({ data: long })), "whole")
        return EventStream.respond({ request, heartbeatMs: 100, stallMs: 200, produce })
      }
      const text = yield* asleep(respond, rest, request("HTTP/1.1", "keep-alive") + request("HTTP/1.1", "close"))
      assert.strictEqual(text.match(new RegExp(`data: ${long}`, "g"))?.length, 4)
      assert.strictEqual(text.match(/^0$/gm)?.length, 2)
    }))
})

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
      let ended = false
      const respond = Effect.fnUntraced(function*(request: Options["request"]) {
        const { socket } = NodeHttpServerRequest.toIncomingMessage(request)
        const produce: Options["produce"] = (emit) =>
          Effect.gen(function*() {
            while (!socket.writableNeedDrain) {
              yield* emit({ data: long })
              yield* Effect.sleep(1)
            }
            ended = true
            return "whole" as const
          })
        return yield* EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 200, produce })
      })
      const text = yield* asleep(respond, async (socket) => {
        await new Promise((resolve) => setTimeout(resolve, 1000))
        return rest(socket)
      })
      assert.isTrue(ended)
      assert.isFalse(text.endsWith("0\r\n\r\n"), "it is no whole answer")
    }), 20_000)

  it.live("is cut, and its producer ends, where it has said that it will send no more", () =>
    Effect.gen(function*() {
      const closed = Promise.withResolvers<void>()
      const full = Promise.withResolvers<void>()
      const respond = (request: Options["request"]) => {
        NodeHttpServerRequest.toIncomingMessage(request).socket.on("close", closed.resolve)
        const produce: Options["produce"] = (emit) =>
          Effect.forever(Effect.suspend(() => {
            const emitted = emit({ data: long })
            if (emitted !== Effect.void) full.resolve()
            return Effect.andThen(emitted, Effect.sleep(1))
          }))
        return EventStream.respond({ request, heartbeatMs: 60_000, stallMs: 300, produce })
      }
      yield* asleep(respond, async (socket) => {
        await full.promise
        socket.end()
        await closed.promise
      })
    }), 20_000)
})
