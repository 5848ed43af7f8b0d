import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { connect } from "node:net"
import type { Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

class TokenHub extends Context.Service<TokenHub, Hub>()("test/TokenHub") {}

const limit = 64 * 1024
const mebibyte = 1024 * 1024

const hubLayer = Layer.effect(TokenHub, Harness.start({ env: { TOKENHUB_MAX_BODY_BYTES: String(limit) } }))

/** A chat body of exactly so many bytes. */
const bodyOf = (bytes: number): string => {
  const empty = JSON.stringify({ messages: [{ role: "user", content: "" }] })
  return JSON.stringify({ messages: [{ role: "user", content: "a".repeat(bytes - empty.length) }] })
}

/** Sends chunks of a body without an end; how many bytes the server took before it answered, and its answer. */
const pour = (hub: Hub, path: string) =>
  new Promise<{ readonly answer: string; readonly sent: number }>((resolve) => {
    const socket = connect(hub.port, "127.0.0.1")
    const chunk = Buffer.alloc(mebibyte, "[")
    let sent = 0
    let answer = ""
    const send = () => {
      if (answer !== "" || socket.destroyed) return
      sent += chunk.length
      const piece = Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n")])
      if (socket.write(piece)) setImmediate(send)
    }
    const finish = () => {
      socket.destroy()
      resolve({ answer, sent })
    }
    socket.on("drain", send)
    socket.on("data", (data) => {
      answer += data.toString()
      if (answer.includes("}}")) finish()
    })
    socket.on("error", finish)
    socket.on("close", finish)
    socket.write(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`)
    send()
  })

layer(hubLayer, { excludeTestServices: true, timeout: 20_000 })("the body limit", (it) => {
  const test = (name: string, run: (hub: Hub) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TokenHub, (hub) => Effect.promise(() => run(hub))))

  test("a body of the limit is served, one byte more is a 413, with length or chunked", async (hub) => {
    const chunked = (body: string) =>
      fetch(`${hub.url}/v1/chat`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: new Blob([body]).stream(),
        duplex: "half"
      } as RequestInit)
    assert.strictEqual((await hub.chat(bodyOf(limit))).status, 200)
    assert.strictEqual((await chunked(bodyOf(limit))).status, 200)
    const answer = await hub.chat(bodyOf(limit + 1))
    assert.strictEqual(answer.status, 413)
    assert.strictEqual(answer.json.error.code, "payload_too_large")
    assert.strictEqual((await chunked(bodyOf(limit + 1))).status, 413)
  })

  test("an image may be larger", async (hub) => {
    const image = { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(limit)}` } }
    assert.strictEqual((await hub.chat({ messages: [{ role: "user", content: [image] }] })).status, 200)
  })

  test("admin bodies have the same limit", async (hub) => {
    const answer = await hub.admin("PUT", "/vault/secrets/big", { value: "a".repeat(limit) })
    assert.strictEqual(answer.status, 413)
    assert.strictEqual(answer.json.error.code, "payload_too_large")
  })

  test("a length over 32 MiB is refused unread", async (hub) => {
    const text = await hub.raw(
      `POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${32 * mebibyte + 1}\r\n\r\n`,
      (received) => received.includes("}}")
    )
    assert.match(text, /^HTTP\/1\.1 413/)
    assert.include(text, "payload_too_large")
  })

  test("at most 32 MiB of an endless body are read", async (hub) => {
    const { answer, sent } = await pour(hub, "/v1/chat")
    assert.match(answer, /^HTTP\/1\.1 413/)
    assert.isBelow(sent, 40 * mebibyte)
  })

  test("nothing of a body is read without a credential", async (hub) => {
    const { answer, sent } = await pour(hub, "/admin/providers")
    assert.match(answer, /^HTTP\/1\.1 401/)
    assert.isBelow(sent, 8 * mebibyte)
  })
})
