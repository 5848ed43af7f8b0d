/**
 * Answers that no vendor ever gave: status × headers × body × cut position, drawn from a seed, and what every client must see of
 * them: no untyped 500, no broken envelope, no stream that ends as if all were well.
 */
import type { Behaviour, Step } from "./fake-provider/Behaviour.ts"
import type { VendorName } from "./fake-provider/Wire.ts"
import type { FakeProvider } from "./FakeProvider.ts"
import type { Answer, Client } from "./Harness.ts"

/** A source of numbers in 0…1, the same for the same seed (mulberry32). */
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
}

type Draw = () => number

const pick = <A>(draw: Draw, list: readonly [A, ...ReadonlyArray<A>]): A => list[Math.floor(draw() * list.length)] ?? list[0]

const chance = (draw: Draw, share: number): boolean => draw() < share

// --- what is true of a vendor's answers

interface Wire {
  readonly type: string
  readonly plain: string
  readonly stream: string
  readonly error: string
  /** What a stream must have shown before it may count as whole. */
  readonly ended: RegExp
}

const events = (...data: ReadonlyArray<object | string>): string =>
  data.map((one) => `data: ${typeof one === "string" ? one : JSON.stringify(one)}\n\n`).join("")

const named = (...data: ReadonlyArray<{ readonly type: string; readonly [field: string]: unknown }>): string =>
  data.map((one) => `event: ${one.type}\ndata: ${JSON.stringify(one)}\n\n`).join("")

const chunk = (delta: object, finish_reason: string | null = null) => ({
  id: "chatcmpl-1",
  object: "chat.completion.chunk",
  created: 1,
  model: "m",
  choices: [{ index: 0, delta, finish_reason }]
})

const usage = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 }

const openai: Wire = {
  type: "openai-compatible",
  plain: JSON.stringify({
    id: "chatcmpl-1",
    object: "chat.completion",
    created: 1,
    model: "m",
    choices: [{ index: 0, message: { role: "assistant", content: "Hello there" }, finish_reason: "stop" }],
    usage
  }),
  stream: events(chunk({ role: "assistant", content: "" }), chunk({ content: "Hello " }), chunk({ content: "there" }), chunk({}, "stop"), { ...chunk({}), choices: [], usage }, "[DONE]"),
  error: JSON.stringify({ error: { message: "Something is wrong", type: "invalid_request_error", code: "wrong", param: "messages" } }),
  ended: /"finish_reason":"|\[DONE\]/
}

const message = { id: "msg_1", type: "message", role: "assistant", model: "m", stop_sequence: null }

const anthropic: Wire = {
  type: "anthropic",
  plain: JSON.stringify({ ...message, content: [{ type: "text", text: "Hello there" }], stop_reason: "end_turn", usage: { input_tokens: 5, output_tokens: 3 } }),
  stream: named(
    { type: "message_start", message: { ...message, content: [], stop_reason: null, usage: { input_tokens: 5, output_tokens: 1 } } },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello there" } },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 3 } },
    { type: "message_stop" }
  ),
  error: JSON.stringify({ type: "error", error: { type: "overloaded_error", message: "Overloaded" } }),
  ended: /"stop_reason":"|message_stop/
}

const part = (text: string, more: object = {}) => ({ candidates: [{ index: 0, content: { role: "model", parts: [{ text }] }, ...more }], modelVersion: "m" })

const counted = { usageMetadata: { promptTokenCount: 5, candidatesTokenCount: 3, totalTokenCount: 8 } }

const gemini: Wire = {
  type: "gemini",
  plain: JSON.stringify({ ...part("Hello there", { finishReason: "STOP" }), ...counted }),
  stream: events(part("Hello "), part("there"), { ...part("", { finishReason: "STOP" }), ...counted }),
  error: JSON.stringify({ error: { code: 400, message: "Something is wrong", status: "INVALID_ARGUMENT" } }),
  ended: /"finishReason":"/
}

const spoken = (text: string) => ({ type: "output_text", text, annotations: [] })

const item = (status: string, ...content: ReadonlyArray<object>) => ({ id: "msg_1", type: "message", role: "assistant", status, content })

const responseOf = (status: string, output: ReadonlyArray<object>, more: object = {}) => ({ id: "resp_1", object: "response", created_at: 1, model: "m", status, output, ...more })

const whole = responseOf("completed", [item("completed", spoken("Hello there"))], { usage: { input_tokens: 5, output_tokens: 3, total_tokens: 8 } })

const responses: Wire = {
  type: "openai-responses",
  plain: JSON.stringify(whole),
  stream: named(
    { type: "response.created", sequence_number: 0, response: responseOf("in_progress", []) },
    { type: "response.output_item.added", sequence_number: 1, output_index: 0, item: item("in_progress") },
    { type: "response.content_part.added", sequence_number: 2, item_id: "msg_1", output_index: 0, content_index: 0, part: spoken("") },
    { type: "response.output_text.delta", sequence_number: 3, item_id: "msg_1", output_index: 0, content_index: 0, delta: "Hello there" },
    { type: "response.output_text.done", sequence_number: 4, item_id: "msg_1", output_index: 0, content_index: 0, text: "Hello there" },
    { type: "response.content_part.done", sequence_number: 5, item_id: "msg_1", output_index: 0, content_index: 0, part: spoken("Hello there") },
    { type: "response.output_item.done", sequence_number: 6, output_index: 0, item: item("completed", spoken("Hello there")) },
    { type: "response.completed", sequence_number: 7, response: whole }
  ),
  error: openai.error,
  ended: /"type":"response\.(?:completed|incomplete)"/
}

const wires = { openai, anthropic, gemini, responses } as const

type Vendor = keyof typeof wires

const vendors: readonly [Vendor, ...ReadonlyArray<Vendor>] = ["openai", "anthropic", "gemini", "responses"]

const speaks: { readonly [V in Vendor]: VendorName } = { openai: "openai", anthropic: "anthropic", gemini: "gemini", responses: "openai" }

// --- what is drawn

const statuses = [201, 202, 204, 206, 300, 301, 302, 304, 307, 400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 413, 415, 418, 422, 424, 425, 429, 431, 451, 498, 499, 500, 501, 502, 503, 504, 505, 507, 511, 520, 521, 522, 524, 525, 529, 530, 598, 599, 700, 999] as const

const types = ["application/json", "application/json; charset=utf-16", "text/event-stream", "text/event-stream; charset=utf-8", "text/html", "text/plain", "application/octet-stream", "nonsense", ""] as const

const wrongJson = ["null", "[]", "42", "\"text\"", "{}", "true", "{\"choices\":null}", "{\"choices\":[{}]}", "{\"choices\":[{\"message\":{\"content\":7}}]}", "{\"content\":{}}", "{\"candidates\":[null]}", "{\"error\":null}", "{\"error\":\"text\"}", "{\"error\":{\"message\":{\"a\":1}}}", `{"a":${"[".repeat(200)}${"]".repeat(200)}}`, "{\"__proto__\":{\"x\":1}}"] as const

const retryAfters = ["-1", "0", "1", "1e9", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999999999999", ""] as const

/** Cuts, doubles, overwrites or adds a piece. */
const mutated = (draw: Draw, text: string): Buffer => {
  const bytes = Buffer.from(text)
  const at = Math.floor(draw() * bytes.length)
  const to = Math.min(bytes.length, at + 1 + Math.floor(draw() * 40))
  const noise = Buffer.from(Array.from({ length: 1 + Math.floor(draw() * 8) }, () => Math.floor(draw() * 256)))
  switch (Math.floor(draw() * 4)) {
    case 0:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)])
    case 1:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)])
    case 2:
      return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(Math.min(bytes.length, at + noise.length))])
    default:
      return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)])
  }
}

const bodyOf = (draw: Draw, wire: Wire, stream: boolean): Buffer => {
  const proper = stream ? wire.stream : wire.plain
  const kind = draw()
  if (kind < 0.15) return Buffer.from(proper)
  if (kind < 0.5) return mutated(draw, proper)
  if (kind < 0.58) return Buffer.from(stream ? wire.plain : wire.stream)
  if (kind < 0.66) return Buffer.from(wire.error)
  if (kind < 0.72) return Buffer.from(pick(draw, wrongJson))
  if (kind < 0.78) return Buffer.from(events(pick(draw, wrongJson), pick(draw, wrongJson)))
  if (kind < 0.84) return Buffer.from("<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>")
  if (kind < 0.9) return Buffer.from(Array.from({ length: 200 }, () => Math.floor(draw() * 256)))
  if (kind < 0.95) return Buffer.from(proper.replaceAll("\n", "\r\n"))
  return Buffer.alloc(0)
}

interface Drawn {
  readonly behaviour: Behaviour
  /** The bytes that the answer had, at most. */
  readonly delivered: string
  readonly status: number
}

const drawAnswer = (draw: Draw, wire: Wire, stream: boolean): Drawn => {
  const status = chance(draw, 0.7) ? 200 : pick(draw, statuses)
  const body = bodyOf(draw, wire, stream)
  const type = chance(draw, 0.7) ? (stream ? "text/event-stream" : "application/json") : pick(draw, types)
  const stop = pick(draw, ["no", "no", "cut", "reset", "end"] as const)
  const end = stop === "no" ? body.length : Math.floor(draw() * (body.length + 1))
  const piece = chance(draw, 0.5) ? body.length + 1 : 1 + Math.floor(draw() * 60)
  const chunked = chance(draw, 0.6)
  const steps = async function*(): AsyncIterable<Step> {
    for (let at = 0; at < end; at += piece) yield body.subarray(at, Math.min(end, at + piece))
    if (stop !== "no") yield { stop }
  }
  return {
    status,
    delivered: body.subarray(0, end).toString(),
    behaviour: {
      raw: { status, body },
      headers: {
        "content-type": type,
        ...(chunked && status !== 204 && status !== 304 ? { "transfer-encoding": "chunked" } : {}),
        ...(chance(draw, 0.2) ? { "retry-after": pick(draw, retryAfters) } : {}),
        ...(chance(draw, 0.1) ? { "content-encoding": pick(draw, ["gzip", "br", "identity", "zstd", "gzip, gzip", "x"] as const) } : {}),
        ...(status >= 300 && status < 400 ? { location: "http://127.0.0.1:1/elsewhere" } : {})
      },
      bytes: steps
    }
  }
}

// --- what must hold

interface Door {
  readonly path: string
  readonly body: (model: string, prompt: string, stream: boolean) => object
  /** The answer in one piece has its shape. */
  readonly isWhole: (json: Record<string, unknown>) => boolean
  /** How a stream ends well, and how it says that it did not. */
  readonly done: RegExp
  readonly failed: RegExp
  /** The fields of an error's body, else undefined. */
  readonly error: (json: Record<string, unknown>) => Record<string, unknown> | undefined
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

const errorOf = ({ error }: Record<string, unknown>) =>
  isRecord(error) && typeof error["message"] === "string" && typeof error["type"] === "string" && typeof error["code"] === "string" ? error : undefined

const alone = { tokenhub: { policy: { allow_escalation: false } } }

const messages = (content: string) => [{ role: "user", content }]

const doors: readonly [Door, ...ReadonlyArray<Door>] = [
  {
    path: "/v1/chat",
    body: (model, prompt, stream) => ({ model, stream, messages: messages(prompt), ...alone }),
    isWhole: ({ finish_reason, response, usage }) => typeof response === "string" && typeof finish_reason === "string" && isRecord(usage),
    done: /^event: run\.completed$/m,
    failed: /^event: run\.failed$/m,
    error: errorOf
  },
  {
    path: "/v1/chat/completions",
    body: (model, prompt, stream) => ({ model, stream, messages: messages(prompt), ...alone }),
    // From its own protocol an answer comes as it is; what it says of its usage may be missing or odd.
    isWhole: ({ choices }) => Array.isArray(choices) && isRecord(choices[0]),
    done: /^data: \[DONE\]$/m,
    failed: /^data: .*"error":/m,
    error: errorOf
  },
  {
    path: "/v1/messages",
    body: (model, prompt, stream) => ({ model, stream, max_tokens: 100, messages: messages(prompt), ...alone }),
    isWhole: ({ content, stop_reason }) => Array.isArray(content) && typeof stop_reason === "string",
    done: /^event: message_stop$/m,
    failed: /^event: error$/m,
    error: ({ error, type }) => (type === "error" && isRecord(error) && typeof error["message"] === "string" && typeof error["type"] === "string" ? error : undefined)
  },
  {
    path: "/v1/responses",
    body: (model, prompt, stream) => ({ model, stream, input: prompt, ...alone }),
    isWhole: ({ output, status }) => Array.isArray(output) && (status === "completed" || status === "incomplete"),
    // Its clients go by the type in the data, not by the event's name.
    done: /^data: \{"type":"response\.(?:completed|incomplete)"/m,
    failed: /^data: \{"type":"(?:response\.failed|error)"/m,
    error: errorOf
  }
]

const parsesAs = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What is wrong with an answer; undefined: nothing. */
const judge = (answer: Answer, door: Door, wire: Wire, stream: boolean, drawn: Drawn): string | undefined => {
  if (answer.headers.get("x-request-id") === null) return "no request id"
  if (answer.status !== 200) {
    if (answer.status < 400 || answer.status > 599) return `status ${answer.status}`
    const error = isRecord(answer.json) ? door.error(answer.json) : undefined
    if (error === undefined) return "a broken envelope"
    if (answer.status === 500 || error["code"] === "internal_error") return "an untyped 500"
    return /<html|<h1/i.test(answer.text) ? "the upstream's page" : undefined
  }
  const refused = drawn.status < 200 || drawn.status > 299
  if (!stream) {
    if (refused) return `200 for an upstream's ${drawn.status}`
    if (!isRecord(answer.json) || !door.isWhole(answer.json)) return "a 200 without an answer"
    return parsesAs(drawn.delivered) === undefined ? "a 200 for an answer that was cut" : undefined
  }
  const failed = door.failed.test(answer.text)
  if (!door.done.test(answer.text)) return failed ? undefined : "a stream without an end"
  if (failed) return "a stream that ends well and badly"
  return !refused && wire.ended.test(drawn.delivered) ? undefined : "a stream that ends as if all were well"
}

/** Its beginning and its end, where faults show. */
const shortened = (text: string): string => (text.length <= 900 ? text : `${text.slice(0, 300)} … ${text.slice(-600)}`)

export interface Verdict {
  readonly cases: number
  /** Answers by their HTTP status. */
  readonly statuses: ReadonlyMap<number, number>
  /** At most twenty. */
  readonly violations: ReadonlyArray<string>
}

/** Each worker has a model of its own at a provider of its own, whose circuit and cool-down are forgotten after a failure. */
export const generate = async (
  hub: Client,
  fake: FakeProvider,
  { cases, seed, workers }: { readonly cases: number; readonly seed: number; readonly workers: number }
): Promise<Verdict> => {
  const statuses = new Map<number, number>()
  const violations: Array<string> = []
  let done = 0

  const work = async (worker: number): Promise<void> => {
    const vendor = vendors[worker % vendors.length] ?? "openai"
    const wire = wires[vendor]
    const name = `generated-${worker}`
    const base_url = fake.url(speaks[vendor])
    const timeouts = { first_byte_ms: 400, stream_idle_ms: 400, whole_call_ms: 1500 }
    const added = await hub.admin("POST", "/providers", { name, provider_type: wire.type, api_key: `sk-${name}`, allow_private: true, base_url, timeouts })
    const model = await hub.admin("POST", "/models", { name, provider: name, upstream_name: name, context_size: 100_000, weight: 1, cost_per_1k_tokens: 0.001 })
    if (added.status !== 201 || model.status !== 201) throw new Error(`${added.text} ${model.text}`)
    const draw = random(seed * 7919 + worker)
    while (done < cases && violations.length < 20) {
      const at = done++
      const stream = chance(draw, 0.5)
      const door = pick(draw, doors)
      const drawn = drawAnswer(draw, wire, stream)
      // By the prompt and for always: a connection that was closed may be tried again, or may keep a call from arriving.
      const prompt = `case ${worker}-${at}.`
      fake.script((call) => call.text.includes(prompt), { ...drawn.behaviour, always: true })
      const answer = await hub.post(door.path, door.body(name, prompt, stream))
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
      const wrong = judge(answer, door, wire, stream, drawn)
      if (wrong !== undefined) {
        const told = `${vendor} ${drawn.status} ${JSON.stringify(drawn.behaviour.headers)} ${JSON.stringify(shortened(drawn.delivered))}`
        violations.push(`case ${at}: ${wrong} at ${door.path}${stream ? " (stream)" : ""}: ${answer.status} ${shortened(answer.text)} <- ${told}`)
      }
      await hub.admin("PATCH", `/providers/${name}`, { base_url })
    }
  }
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)))
  return { cases: done, statuses, violations }
}
