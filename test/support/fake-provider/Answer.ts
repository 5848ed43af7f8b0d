/**
 * What a request gets: the vendor's refusal, a scripted error or body, a lookup's result, or a generated answer, which
 * is billed.
 */
import type { Behaviour, HookContext, Outgoing } from "./Behaviour.ts"
import { replyOf } from "./Behaviour.ts"
import type { Call } from "./Call.ts"
import { bodyOf } from "./Delivery.ts"
import type { NamedBehaviour } from "./Faults.ts"
import type {
  Frame,
  Json,
  Operation,
  Problem,
  ProblemFacts,
  Prompt,
  Protocol,
  Route,
  Usage,
  Vendor,
  VendorName
} from "./Wire.ts"
import { isJson, problemOfStatus } from "./Wire.ts"

/** A request, read. */
export interface Request {
  readonly call: Call
  readonly route: Route | undefined
  readonly vendor: Vendor
  /** The path's captured groups. */
  readonly groups: Readonly<Record<string, string>>
  readonly json: Json
  readonly prompt: Prompt | undefined
}

/** What the server keeps between requests. */
export interface Books {
  readonly accepts: (vendor: VendorName, key: string) => boolean
  readonly behaviourOf: (call: Call, prompt: Prompt | undefined) => NamedBehaviour
  /** Opens a charge; the function that it gives back raises its count of completion tokens. */
  readonly charge: (call: Call, operation: Operation, usage: Usage) => (completion: number) => void
}

export interface Answer {
  readonly outgoing: Outgoing
  readonly behaviour: Behaviour
}

const refusalOf = ({ call, route, vendor }: Request, books: Books): Problem | undefined => {
  if (route === undefined) return { kind: "unknown_path" }
  if (call.key === "") return { kind: "missing_key" }
  if (!books.accepts(vendor.name, call.key)) return { kind: "invalid_key" }
  const early = vendor.precheck?.(call.headers, call.path, call.query)
  return early ?? (call.method === "POST" && !isJson(call.body) ? { kind: "malformed_body" } : undefined)
}

/** Decides the answer, and charges for it where it is generated. */
export const answerTo = (request: Request, books: Books): Answer => {
  const { call, groups, json, prompt, route, vendor } = request
  const fail = (problem: Problem, behaviour: Behaviour = {}, limit?: number): Answer => {
    const facts = factsOf(request, problem, limit)
    const { body, status } = vendor.error(problem, facts)
    const headers = { ...vendor.errorHeaders?.(problem, facts), ...problem.headers }
    return plain(request, behaviour, status, JSON.stringify(body), headers)
  }
  const refused = refusalOf(request, books) ?? (prompt && route?.protocol?.check(json, prompt))
  if (refused !== undefined || route === undefined) return fail(refused ?? { kind: "unknown_path" })

  const { behaviour, context } = books.behaviourOf(call, prompt)
  if (behaviour.raw !== undefined) {
    const { body = "", headers = {}, status = 200 } = behaviour.raw
    if (behaviour.billed === true && prompt !== undefined) {
      books.charge(call, route.operation, replyOf(behaviour, prompt, call.requestId).usage)
    }
    return plain(request, behaviour, status, body, headers)
  }
  if (behaviour.error !== undefined) return fail(problemOf(behaviour.error), behaviour)
  if (route.protocol === undefined || prompt === undefined) {
    const lookup = { body: json, query: call.query, path: groups, models: vendor.models }
    const result = route.lookup?.(lookup) ?? { kind: "unknown_path" as const }
    if ("kind" in result) return fail(result, behaviour)
    if (result.billed !== undefined) books.charge(call, route.operation, { ...noUsage, prompt: result.billed })
    return plain(request, behaviour, 200, JSON.stringify(result.json), {})
  }
  if (prompt.tokens > context) return fail({ kind: "context_length" }, behaviour, context)
  const charge = (usage: Usage) => behaviour.billed === false ? () => {} : books.charge(call, route.operation, usage)
  return generate(request, route.protocol, prompt, behaviour, charge)
}

const generate = (
  request: Request,
  protocol: Protocol,
  prompt: Prompt,
  behaviour: Behaviour,
  charge: (usage: Usage) => (completion: number) => void
): Answer => {
  const { call, vendor } = request
  const reply = replyOf(behaviour, prompt, call.requestId)
  const generated = charge(prompt.stream ? { ...reply.usage, completion: 0 } : reply.usage)
  const frames = prompt.stream ? protocol.stream(reply) : [{ stage: "content" as const, data: protocol.answer(reply) }]
  const body = bodyOf(frames, behaviour, contextOf(request, protocol), protocol.newline, generated)
  const type = prompt.stream && prompt.variant !== "array" ? "text/event-stream; charset=utf-8" : "application/json"
  const headers = {
    "content-type": type,
    ...(prompt.stream ? { "cache-control": "no-cache" } : {}),
    ...vendor.headers(call.requestId),
    ...(behaviour.encodings === undefined ? {} : { "content-encoding": behaviour.encodings.join(", ") }),
    ...(body.length === undefined || behaviour.headers?.["transfer-encoding"] !== undefined
      ? {}
      : { "content-length": String(body.length) }),
    ...behaviour.headers
  }
  return { behaviour, outgoing: { status: 200, headers, body: body.steps } }
}

/** An answer that is not generated: its bytes as they are, through the behaviour's timing and hooks. */
const plain = (
  { call, vendor }: Request,
  behaviour: Behaviour,
  status: number,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>>
): Answer => {
  const bytes = typeof body === "string" ? Buffer.from(body) : body
  const steps = (async function*() {
    yield bytes
  })()
  const context: HookContext = { stream: false, error: () => ({ stage: "content", raw: "" }) }
  return {
    behaviour,
    outgoing: {
      status,
      headers: {
        "content-type": "application/json",
        ...(status === 204 || status === 304 ? {} : { "content-length": String(bytes.length) }),
        ...vendor.headers(call.requestId),
        ...headers,
        ...behaviour.headers
      },
      body: behaviour.bytes?.(steps, context) ?? steps
    }
  }
}

const contextOf = (request: Request, protocol: Protocol): HookContext => ({
  stream: request.call.stream,
  error: (kind): Frame => {
    const problem = { kind }
    const { body } = request.vendor.error(problem, factsOf(request, problem))
    return request.call.stream ? protocol.errorEvent(body) : { stage: "content", data: body }
  }
})

const noUsage: Usage = { prompt: 0, completion: 0, cached: 0, cacheWrite: 0, reasoning: 0 }

const problemOf = (error: NonNullable<Behaviour["error"]>): Problem =>
  typeof error === "number"
    ? { kind: problemOfStatus(error), status: error }
    : typeof error === "string"
    ? { kind: error }
    : error

const factsOf = ({ call, prompt, vendor }: Request, problem: Problem, given?: number): ProblemFacts => {
  const card = vendor.models.find(({ id }) => id === call.model) ?? vendor.models[0]
  const limit = given ?? card?.context ?? 128_000
  return {
    method: call.method,
    path: call.path,
    model: call.model,
    key: call.key,
    limit,
    tokens: Math.max(prompt?.tokens ?? 0, limit + 1),
    retryAfter: problem.headers?.["retry-after"] ?? "",
    requestId: call.requestId
  }
}
