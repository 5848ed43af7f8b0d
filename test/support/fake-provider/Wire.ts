/**
 * What the fake provider's vendor files have in common: the neutral question (Prompt), the neutral answer (Reply), the
 * neutral error (Problem), and the interface that turns them into one vendor's bytes.
 */
import { createHash } from "node:crypto"
import type { IncomingHttpHeaders } from "node:http"

export type VendorName = "openai" | "anthropic" | "gemini" | "azure" | "compatible"
export type Operation = "chat" | "responses" | "embeddings" | "models" | "count_tokens"
export type Json = { readonly [key: string]: unknown }

// --- the question

export interface Tool {
  readonly name: string
  readonly schema: Json
}

/** A generation request as every vendor file reads it out of its own body. */
export interface Prompt {
  readonly model: string
  readonly stream: boolean
  /** Text of the last user message. */
  readonly user: string
  /** Text of the tool result that ends the conversation, if one does. */
  readonly toolResult: string | undefined
  /** `tokensOf` over all texts and tool definitions of the request. */
  readonly tokens: number
  readonly maxTokens: number | undefined
  readonly stop: ReadonlyArray<string>
  readonly tools: ReadonlyArray<Tool>
  /** A tool that must be called: its name, or true for any. */
  readonly forcedTool: string | boolean
  /** JSON is asked for: by a schema, or (true) any object. */
  readonly json: Json | boolean
  readonly choices: number
  /** Number of top log probabilities, when they are asked for. */
  readonly logprobs: number | undefined
  readonly includeUsage: boolean
  readonly thinking: boolean
  /** Endpoint form within one wire format: Gemini's `alt=sse` or JSON array, Azure's filters. */
  readonly variant: string
}

// --- the answer

export type Part =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "reasoning"; readonly text: string; readonly signature?: string }
  | { readonly type: "refusal"; readonly text: string }
  | { readonly type: "tool_call"; readonly name: string; readonly arguments: unknown; readonly id?: string }

export type Finish = "stop" | "length" | "tool_calls" | "content_filter"

/** Token counts. `prompt` includes `cached` and `cacheWrite`; `completion` includes `reasoning`. */
export interface Usage {
  readonly prompt: number
  readonly completion: number
  readonly cached: number
  readonly cacheWrite: number
  readonly reasoning: number
}

export interface Reply {
  /** 24 hexadecimal digits, from which each vendor makes its ids. */
  readonly id: string
  /** Unix time in seconds. */
  readonly created: number
  readonly prompt: Prompt
  readonly parts: ReadonlyArray<Part>
  readonly finish: Finish
  readonly choices: number
  readonly usage: Usage
  /** What the wire says instead of the true usage: applied to each vendor's usage object. */
  readonly distort: (usage: Json) => Json | undefined
  readonly usageInEachChunk: boolean
  /** Characters per delta. */
  readonly chunkSize: number
}

/** One event of a stream, or the whole body of a plain answer. `tokens`: completion tokens generated up to here. */
export interface Frame {
  readonly stage: "open" | "content" | "finish" | "usage" | "end"
  readonly event?: string
  readonly data?: string | Json
  /** Sent as it is, in place of event and data. */
  readonly raw?: string
  readonly tokens?: number
}

// --- the error

export type ProblemKind =
  | "malformed_body"
  | "invalid_request"
  | "context_length"
  | "missing_key"
  | "invalid_key"
  | "billing"
  | "permission"
  | "unknown_path"
  | "model_not_found"
  | "timeout"
  | "conflict"
  | "too_large"
  | "unprocessable"
  | "rate_limit"
  | "quota"
  | "content_policy"
  | "server_error"
  | "bad_gateway"
  | "unavailable"
  | "gateway_timeout"
  | "overloaded"

export interface Problem {
  readonly kind: ProblemKind
  /** In place of the vendor's usual status. */
  readonly status?: number
  readonly message?: string
  readonly param?: string
  readonly code?: string
  readonly headers?: Record<string, string>
}

/** What an error text may mention. */
export interface ProblemFacts {
  readonly method: string
  readonly path: string
  readonly model: string
  readonly key: string
  readonly tokens: number
  readonly limit: number
  readonly retryAfter: string
  readonly requestId: string
}

/** A vendor's error: its status and its JSON body. */
export interface ErrorBody {
  readonly status: number
  readonly body: Json
}

/** The problem that a bare status stands for. */
export const problemOfStatus = (status: number): ProblemKind =>
  problemByStatus[status] ?? (status >= 500 ? "server_error" : "invalid_request")

const problemByStatus: Readonly<Record<number, ProblemKind>> = {
  401: "invalid_key",
  402: "billing",
  403: "permission",
  404: "model_not_found",
  408: "timeout",
  409: "conflict",
  413: "too_large",
  422: "unprocessable",
  429: "rate_limit",
  500: "server_error",
  502: "bad_gateway",
  503: "unavailable",
  504: "gateway_timeout",
  529: "overloaded"
}

// --- a vendor

/** One generating wire format: request in, answer out, stream out, error inside a stream. */
export interface Protocol {
  readonly read: (body: Json, model: string | undefined, query: URLSearchParams) => Prompt
  /** A request that the vendor refuses before it generates. */
  readonly check: (body: Json, prompt: Prompt) => Problem | undefined
  readonly answer: (reply: Reply) => Json
  readonly stream: (reply: Reply) => Iterable<Frame>
  readonly errorEvent: (body: Json) => Frame
  /** Line ending of this vendor's event streams. */
  readonly newline: string
}

/** A non-generating request: its JSON answer, or a problem. */
export interface Lookup {
  readonly body: Json
  readonly query: URLSearchParams
  /** The path's captured groups. */
  readonly path: Readonly<Record<string, string>>
  readonly models: ReadonlyArray<ModelCard>
}

export interface ModelCard {
  readonly id: string
  readonly context: number
  readonly maxOutput: number
}

export interface Route {
  readonly method: "GET" | "POST"
  /** Matched against the path below the vendor's prefix, percent-decoded groups. */
  readonly path: RegExp
  readonly operation: Operation
  readonly protocol?: Protocol
  readonly lookup?: (request: Lookup) => { readonly json: Json; readonly billed?: number } | Problem
}

export interface Vendor {
  readonly name: VendorName
  /** First path segment: all of the vendor's routes lie below it. */
  readonly prefix: string
  /** Path that the vendor's own SDK takes in its base URL. */
  readonly base: string
  readonly models: ReadonlyArray<ModelCard>
  readonly routes: ReadonlyArray<Route>
  readonly key: (headers: IncomingHttpHeaders, query: URLSearchParams) => string | undefined
  /** Refusals by headers or query alone, other than for the key. */
  readonly precheck?: (headers: IncomingHttpHeaders, path: string, query: URLSearchParams) => Problem | undefined
  readonly headers: (requestId: string) => Record<string, string>
  readonly errorHeaders?: (problem: Problem, facts: ProblemFacts) => Record<string, string>
  readonly error: (problem: Problem, facts: ProblemFacts) => ErrorBody
}

// --- helpers

/** `Authorization: Bearer …` */
export const bearerKey: Vendor["key"] = (headers) => /^Bearer (.+)$/i.exec(headers.authorization ?? "")?.[1]

/** The fake provider's tokenizer: one token for each four bytes of UTF-8, rounded up. */
export const tokensOf = (text: string): number => Math.ceil(Buffer.byteLength(text) / 4)

export const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

export const objectOf = (value: unknown): Json => isJson(value) ? value : {}

export const listOf = (value: unknown): ReadonlyArray<Json> => Array.isArray(value) ? value.filter(isJson) : []

export const textOf = (value: unknown): string => typeof value === "string" ? value : ""

export const numberOf = (value: unknown): number | undefined => typeof value === "number" ? value : undefined

export const stringsOf = (value: unknown): ReadonlyArray<string> =>
  typeof value === "string" ? [value] : Array.isArray(value) ? value.filter((item) => typeof item === "string") : []

/** A tool call's arguments as the JSON text that a model would write; a string is taken as written. */
export const argumentsText = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value ?? {})

/** `length` hexadecimal digits that depend on the seed alone. */
export const hexOf = (seed: string, length: number): string =>
  createHash("sha256").update(seed).digest("hex").slice(0, length)

export interface Piece {
  readonly part: Part
  /** Index of the part in the reply. */
  readonly index: number
  readonly text: string
  readonly first: boolean
  readonly last: boolean
  /** Completion tokens generated up to and with this piece. */
  readonly tokens: number
}

/** A reply's parts cut into deltas, never inside a code point, with the count of tokens so far. */
export function* piecesOf(reply: Reply): Iterable<Piece> {
  const texts = reply.parts.map((part) => part.type === "tool_call" ? argumentsText(part.arguments) : part.text)
  const total = Math.max(1, texts.reduce((sum, text) => sum + text.length, 0))
  const cut = new RegExp(`[^]{1,${reply.chunkSize}}`, "gu")
  let done = 0
  for (const [index, part] of reply.parts.entries()) {
    const pieces = texts[index]?.match(cut) ?? [""]
    for (const [at, text] of pieces.entries()) {
      done += text.length
      yield {
        part,
        index,
        text,
        first: at === 0,
        last: at === pieces.length - 1,
        tokens: Math.ceil((reply.usage.completion * done) / total)
      }
    }
  }
}

/** A unit vector that depends on the text alone. */
export const vectorOf = (text: string, dimensions: number): Float32Array => {
  const bytes = createHash("shake256", { outputLength: dimensions }).update(text).digest()
  const raw = Float32Array.from(bytes, (byte) => byte / 127.5 - 1)
  const norm = Math.hypot(...raw) || 1
  return raw.map((value) => value / norm)
}
