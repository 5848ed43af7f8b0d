import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { once } from "node:events"
import type { RequestListener } from "node:http"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { gzipSync } from "node:zlib"
import { Pool } from "undici"
import { Exchange } from "../../src/provider/Exchange.ts"

/** An exchange with a server of its own that answers so. */
const exchange = (answer: RequestListener, idleMs = 5000) =>
  Effect.gen(function*() {
    const server = createServer(answer).listen(0, "127.0.0.1")
    yield* Effect.acquireRelease(Effect.promise(() => once(server, "listening")), () => Effect.sync(() => server.closeAllConnections()).pipe(Effect.andThen(Effect.sync(() => server.close()))))
    const { port } = server.address() as AddressInfo
    const pool = yield* Effect.acquireRelease(
      Effect.sync(() => new Pool(`http://127.0.0.1:${port}`, { connections: 1 })),
      (pool) => Effect.promise(() => pool.destroy())
    )
    return new Exchange(pool, { path: "/", headers: {}, body: undefined }, { firstMs: 5000, idleMs, wholeMs: 10_000 }, 10_000_000)
  })

describe("An exchange", () => {
  it.live("closes the connection where what was decoded ends before the body that it came in", () =>
    Effect.gen(function*() {
      const closed = Promise.withResolvers<void>()
      const answer = yield* exchange((_, response) => {
        response.on("close", closed.resolve)
        response.writeHead(200, { "content-encoding": "gzip" }).write(Buffer.concat([gzipSync("data: x\n\n"), Buffer.alloc(20)]))
      })
      yield* answer.head()
      let text = ""
      yield* answer.each({ read: (bytes) => Effect.sync(() => void (text += bytes ?? "")), over: false })
      assert.strictEqual(text, "data: x\n\n")
      answer.close()
      yield* Effect.promise(() => closed.promise).pipe(Effect.timeout("2 seconds"))
    }).pipe(Effect.scoped))

  it.live("hands nothing on to who closes it by what it was handed", () =>
    Effect.gen(function*() {
      const answer = yield* exchange((_, response) => {
        response.writeHead(200).write("x")
        setTimeout(() => response.end("y"), 20)
      })
      yield* answer.head()
      const received: Array<string> = []
      const read = (bytes: Buffer | undefined) => {
        received.push(String(bytes))
        answer.close()
        return Effect.void
      }
      yield* Effect.timeoutOption(answer.each({ read, over: false }), 100)
      assert.deepStrictEqual(received, ["x"])
    }).pipe(Effect.scoped))

  it.live("is not to blame for a defect of who receives it", () =>
    Effect.gen(function*() {
      const answer = yield* exchange((_, response) => void response.writeHead(200).write("x"))
      yield* answer.head()
      const boom = new Error("boom")
      const read = () => {
        throw boom
      }
      const exit = yield* Effect.exit(answer.each({ read, over: false }))
      assert.deepStrictEqual(exit, Exit.die(boom))
      answer.close()
    }).pipe(Effect.scoped))

  it.live("reads the rest of what stopped while nobody waited for it", () =>
    Effect.gen(function*() {
      const body = Buffer.alloc(4_000_000, "x")
      const sent = Promise.withResolvers<void>()
      const answer = yield* exchange((_, response) => {
        response.writeHead(200).end(body)
        setImmediate(sent.resolve)
      }, 1000)
      yield* answer.head()
      yield* Effect.promise(() => sent.promise)
      // Until it is full.
      yield* Effect.sleep("100 millis")
      assert.strictEqual((yield* answer.whole()).length, body.length)
      answer.close()
    }).pipe(Effect.scoped))
})
