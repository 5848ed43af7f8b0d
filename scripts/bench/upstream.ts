/**
 * The fake upstream, a process of its own: OpenAI's chat completions with a fixed answer. It looks at nothing but the last bytes
 * of a request, for `"stream":true`, so that it is never what the bench measures.
 */
import { createServer } from "node:http"
import type { ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import type { AnswerPlan } from "./messages.ts"

const usage = { prompt_tokens: 120, completion_tokens: 200, total_tokens: 320 }

const completion = (content: string): Buffer =>
  Buffer.from(JSON.stringify({
    id: "chatcmpl-bench",
    object: "chat.completion",
    created: 1_700_000_000,
    model: "gpt-bench",
    choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }],
    usage
  }))

const completionOf = (bytes: number): Buffer => completion("x".repeat(Math.max(1, bytes - completion("").length)))

const event = (delta: object, finish: string | null, more: object = {}): string =>
  `data: ${
    JSON.stringify({
      id: "chatcmpl-bench",
      object: "chat.completion.chunk",
      created: 1_700_000_000,
      model: "gpt-bench",
      choices: [{ index: 0, delta, finish_reason: finish }],
      ...more
    })
  }\n\n`

/** Piece `n` says `#n#`, so that whoever counts sees which one is missing. */
const pieceOf = (n: number): Buffer => Buffer.from(event({ content: `#${n}#` }, null))

const end = Buffer.from(`${event({}, "stop", { usage })}data: [DONE]\n\n`)

let plan: AnswerPlan = { delayMs: 0, bytes: 512, pieces: 0, everyMs: 0 }
let answer = completionOf(plan.bytes)
let pieces: ReadonlyArray<Buffer> = []

const stream = (response: ServerResponse): void => {
  response.writeHead(200, { "content-type": "text/event-stream" })
  const { everyMs } = plan
  const waiting = pieces
  let next = 0
  let gone = false
  response.on("close", () => gone = true)
  const step = () => {
    const piece = waiting[next++]
    if (piece === undefined) return void response.end(end)
    response.write(piece)
    if (!gone) wait()
  }
  const wait = () => void (everyMs === 0 ? setImmediate(step) : setTimeout(step, everyMs))
  step()
}

const server = createServer((request, response) => {
  let last = ""
  request.on("data", (chunk: Buffer) => last = chunk.toString("latin1", Math.max(0, chunk.length - 100)))
  request.on("end", async () => {
    if (plan.delayMs > 0) await sleep(plan.delayMs)
    if (last.includes("\"stream\":true")) return stream(response)
    response.writeHead(200, { "content-type": "application/json", "content-length": answer.length })
    response.end(answer)
  })
})

process.on("message", (message: AnswerPlan) => {
  plan = message
  answer = completionOf(plan.bytes)
  pieces = Array.from({ length: plan.pieces }, (_, n) => pieceOf(n))
  process.send?.("ready")
})
process.on("disconnect", () => process.exit())
server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port))
