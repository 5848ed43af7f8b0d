import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { once } from "node:events"
import type { IncomingMessage, ServerResponse } from "node:http"
import { connect } from "node:net"
import type { AddressInfo } from "node:net"
import * as NodeServer from "../../src/http/NodeServer.ts"
import * as Harness from "../support/Harness.ts"

const listening = async () => {
  const server = NodeServer.make()
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return { server, port: (server.address() as AddressInfo).port }
}

/** What a client reads when node gives this error for its connection, while `answering` holds. */
const told = async (code: string, answering = false): Promise<string> => {
  const { port, server } = await listening()
  server.on("request", (_request, response) => {
    response.writeHead(200, { "content-type": "text/plain" })
    response.write("half of an answer")
  })
  const client = connect(port, "127.0.0.1")
  let received = ""
  client.on("data", (chunk: Buffer) => void (received += chunk.toString()))
  client.on("error", () => {})
  const [socket] = await once(server, "connection")
  if (answering) {
    client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await once(client, "data")
  }
  server.emit("clientError", Object.assign(new Error("the parser's words"), { code }), socket)
  await once(client, "close")
  server.close()
  return received
}

describe("what node refuses by itself", () => {
  it.live("a request that does not arrive in time is a 408 in the envelope", () =>
    Effect.promise(async () => {
      const text = await told("ERR_HTTP_REQUEST_TIMEOUT")
      assert.match(text, /^HTTP\/1\.1 408 Request Timeout\r\n/)
      const { error } = JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4))
      assert.deepInclude(error, { code: "request_timeout", retryable: true })
      assert.include(text, `x-request-id: ${error.request_id}`)
      assert.notInclude(text, "the parser's words")
    }))

  it.live("headers that drip in are waited for no longer than half a minute, a request five minutes", () =>
    Effect.promise(async () => {
      const server = NodeServer.make()
      assert.deepStrictEqual([server.headersTimeout, server.requestTimeout, server.keepAliveTimeout], [30_000, 300_000, 75_000])
      // Shorter here; how often node looks is what it is in the product.
      server.headersTimeout = 300
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      const client = connect((server.address() as AddressInfo).port, "127.0.0.1")
      let received = ""
      client.on("data", (chunk: Buffer) => void (received += chunk.toString()))
      client.on("error", () => {})
      client.write("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
      const drip = setInterval(() => client.writable && client.write("x"), 50)
      const began = performance.now()
      await once(client, "close")
      clearInterval(drip)
      server.close()
      assert.match(received, /^HTTP\/1\.1 408 /)
      assert.isBelow(performance.now() - began, 5000)
    }))

  it.live("nothing is mixed into an answer that is under way", () =>
    Effect.promise(async () => {
      const text = await told("HPE_INVALID_METHOD", true)
      assert.include(text, "half of an answer")
      assert.strictEqual(text.split("HTTP/1.1").length, 2)
    }))
})

describe("requests that wait for their stage", () => {
  /** What began, in order, when these requests came in one turn of the event loop, which the server shares; each takes a millisecond. */
  const begunBy = async (heads: ReadonlyArray<string>, letsIn: () => boolean = () => true) => {
    const { port, server } = await listening()
    server.letsIn = letsIn
    const begun: Array<{ readonly url: string | undefined; readonly waitedMs: number | undefined }> = []
    const clients = heads.map(() => connect(port, "127.0.0.1"))
    const connected = Promise.all(clients.map((client) => once(client, "connect")))
    for (const _ of clients) await once(server, "connection")
    await connected
    await new Promise<void>((resolve) => {
      const begin = (request: IncomingMessage, response: ServerResponse) => {
        Harness.spin(1)
        begun.push({ url: request.url, waitedMs: NodeServer.waitOf(request) })
        response.end()
        if (begun.length === heads.length) resolve()
      }
      server.on("request", begin).on("checkContinue", begin)
      for (const [i, client] of clients.entries()) client.write(`${heads[i]}\r\n\r\n`)
    })
    for (const client of clients) client.destroy()
    server.close()
    return begun
  }

  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost`
  const forty = Array.from({ length: 40 }, (_, i) => get(`/healthy/${i}`))

  it.live("health and metrics do not, and each of the others says how long it did", () =>
    Effect.promise(async () => {
      const begun = await begunBy([get("/health/live?now"), get("/metrics"), ...forty])
      const [live, metrics, ...others] = begun
      assert.deepStrictEqual([live, metrics], [{ url: "/health/live?now", waitedMs: undefined }, { url: "/metrics", waitedMs: undefined }])
      assert.isAtLeast(others.at(-1)?.waitedMs ?? 0, 39)
      for (const { waitedMs } of others) assert.isAbove(waitedMs ?? 0, 0)
    }))

  it.live("who asks whether to send its body is no exception", () =>
    Effect.promise(async () => {
      const begun = await begunBy([...forty, "POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue"])
      assert.strictEqual(begun.at(-1)?.url, "/late")
      assert.isAtLeast(begun.at(-1)?.waitedMs ?? 0, 39)
    }))

  it.live("who is not let in begins when it comes", () =>
    Effect.promise(async () => {
      let places = 30
      const begun = await begunBy(forty, () => places-- > 0)
      const at = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `/healthy/${from + i}`)
      assert.sameMembers(begun.slice(0, 10).map(({ url }) => url), at(30, 40))
      assert.deepStrictEqual(begun.slice(10).map(({ url }) => url), at(0, 30))
      assert.isTrue(begun.every(({ waitedMs }, i) => (waitedMs === undefined) === (i < 10)))
    }))

  it.live("one whose client left before it began is told that it left", () =>
    Effect.promise(async () => {
      const { port, server } = await listening()
      const told: Array<Promise<unknown>> = []
      server.on("request", (_request, response) => told.push(once(response, "close")))
      for (let i = 0; i < 50; i++) {
        const client = connect(port, "127.0.0.1")
        await once(client, "connect")
        client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", () => client.resetAndDestroy())
        await once(client, "close")
      }
      const closed = once(server, "close")
      server.close()
      await closed
      // A reset may overtake what was sent before it.
      assert.isAbove(told.length, 0)
      await Promise.all(told)
    }))

  it.live("an answer that node refuses to write breaks off, and others are served", () =>
    Effect.promise(async () => {
      const { port, server } = await listening()
      server.on("request", ({ url }, response) => response.end(url === "/bad" ? 1 as never : "good"))
      const read = async (path: string) => {
        const client = connect(port, "127.0.0.1")
        let received = ""
        client.on("data", (chunk: Buffer) => void (received += chunk.toString()))
        client.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
        await once(client, "close")
        return received
      }
      assert.deepStrictEqual([await read("/bad"), (await read("/good")).slice(-4)], ["", "good"])
      server.close()
    }))

  it.live("what is no request, right behind one, is not answered in its place", () =>
    Effect.promise(async () => {
      const { port, server } = await listening()
      const asked = new Promise<void>((resolve) => server.on("request", () => resolve()))
      const client = connect(port, "127.0.0.1")
      let received = ""
      client.on("data", (chunk: Buffer) => void (received += chunk.toString()))
      client.on("error", () => {})
      client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nno request\r\n\r\n")
      await Promise.all([asked, once(client, "close")])
      server.close()
      assert.strictEqual(received, "")
    }))
})
