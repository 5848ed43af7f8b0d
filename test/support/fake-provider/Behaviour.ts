/**
 * What the fake provider does with one call: the answer or the error, its timing, and what happens to its events and
 * bytes on the way. Without a script the answer is made from the request alone, so that the same request gets the same
 * answer.
 */
import type { Finish, Frame, Json, Part, Problem, ProblemKind, Prompt, Reply, Usage } from "./Wire.ts"
import { argumentsText, hexOf, isJson, listOf, objectOf, stringsOf, tokensOf } from "./Wire.ts"

/** A wait in milliseconds, or until a promise settles. */
export type Wait = number | Promise<unknown> | (() => Promise<unknown>)

/**
 * A step of the delivery that is not bytes. `hang`: nothing more, until the client leaves. `end`: the answer ends
 * here, in order. `cut`: the connection closes without the answer's end. `reset`: it is torn down (RST).
 */
export type Action = { readonly wait: Wait } | { readonly stop: "hang" | "end" | "cut" | "reset" }
export type Step = Uint8Array | Action
export type Steps = AsyncIterable<Step>

/** What a hook knows of the call. `error` makes the vendor's error event, or in a plain answer its error body. */
export interface HookContext {
  readonly stream: boolean
  readonly error: (kind: ProblemKind) => Frame
}

export interface Outgoing {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Steps
}

export type UsageLie = "missing" | "zero" | "negative" | "nan" | "null" | "fraction" | "huge"

export interface Behaviour {
  /** The answer: texts in short, or all its parts in order. What is absent is the default answer's. */
  readonly text?: string
  readonly reasoning?: string
  readonly refusal?: string
  readonly toolCalls?: ReadonlyArray<{ readonly name: string; readonly arguments: unknown; readonly id?: string }>
  readonly parts?: ReadonlyArray<Part>
  readonly finish?: Finish
  /** Number of choices; 0 sends an empty list. */
  readonly choices?: number
  /** The true usage, as billed. */
  readonly usage?: Partial<Usage>
  /**
   * What the wire says of it, where that is not the truth: a row of the table, or the vendor's usage object as given.
   */
  readonly usageLie?: UsageLie | Json
  readonly usageInEachChunk?: boolean
  /** Characters per delta of a stream; 16 by default. */
  readonly chunkSize?: number

  /** Or the vendor's error: by kind, by status, or in detail. */
  readonly error?: ProblemKind | number | Problem
  /** Or exactly this answer. */
  readonly raw?: {
    readonly status?: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string | Uint8Array
  }
  /** Or a row of the fault table, `name?parameter=value`. This object's other fields win over the row's. */
  readonly fault?: string

  /** Added to the answer's headers. */
  readonly headers?: Readonly<Record<string, string>>
  readonly delay?: { readonly headers?: Wait; readonly firstToken?: Wait; readonly chunk?: Wait }
  /** Steps before the status line. */
  readonly before?: ReadonlyArray<Action>
  /** Changes a stream's events, or the single frame of a plain answer. */
  readonly frames?: (frames: Iterable<Frame>, context: HookContext) => Iterable<Frame | Action>
  /** Joins a stream event's data as several `data:` lines. */
  readonly multiline?: boolean
  readonly newline?: string
  /** Each `filler` in the answer's text becomes this many bytes, made while they are sent. */
  readonly fillerBytes?: number
  /** Changes the body's bytes. */
  readonly bytes?: (steps: Steps, context: HookContext) => Steps
  /** Encodings put on the body, first to last, and named in `content-encoding`. */
  readonly encodings?: ReadonlyArray<"gzip" | "deflate" | "br">
  /** Writes the answer to the bare socket in place of HTTP. */
  readonly wire?: (outgoing: Outgoing) => Steps

  /** Whether the call is billed; by default when it is answered by generated parts. */
  readonly billed?: boolean
  /** Kept for every call, in place of used up by the first. */
  readonly always?: true
}

/** Stands in a text for `fillerBytes` bytes. */
export const filler = "@filler@"

/** The reply that a behaviour gives to a prompt. `seed` makes its id. */
export const replyOf = (behaviour: Behaviour, prompt: Prompt, seed: string): Reply => {
  const scripted = scriptedParts(behaviour)
  const made = scripted === undefined ? defaultParts(prompt) : { parts: scripted, finish: finishOf(scripted) }
  const usage = { ...usageOf(prompt, made.parts), ...behaviour.usage }
  return {
    id: hexOf(seed, 24),
    created: Math.floor(Date.now() / 1000),
    prompt,
    parts: made.parts,
    finish: behaviour.finish ?? made.finish,
    choices: behaviour.choices ?? prompt.choices,
    usage,
    distort: distortion(behaviour.usageLie),
    usageInEachChunk: behaviour.usageInEachChunk ?? false,
    chunkSize: behaviour.chunkSize ?? 16
  }
}

const scriptedParts = (behaviour: Behaviour): ReadonlyArray<Part> | undefined => {
  if (behaviour.parts !== undefined) return behaviour.parts
  const { reasoning, refusal, text, toolCalls } = behaviour
  const parts: Array<Part> = []
  if (reasoning !== undefined) parts.push({ type: "reasoning", text: reasoning })
  if (text !== undefined) parts.push({ type: "text", text })
  if (refusal !== undefined) parts.push({ type: "refusal", text: refusal })
  for (const call of toolCalls ?? []) parts.push({ type: "tool_call", ...call })
  return parts.length === 0 || (parts.length === 1 && reasoning !== undefined) ? undefined : parts
}

const finishOf = (parts: ReadonlyArray<Part>): Finish =>
  parts.some((part) => part.type === "tool_call") ? "tool_calls" : "stop"

const usageOf = (prompt: Prompt, parts: ReadonlyArray<Part>): Usage => {
  const tokens = parts.map((part) => tokensOf(part.type === "tool_call" ? argumentsText(part.arguments) : part.text))
  const reasoning = parts.reduce((sum, part, at) => sum + (part.type === "reasoning" ? tokens[at] ?? 0 : 0), 0)
  const completion = tokens.reduce((sum, count) => sum + count, 0) * Math.max(1, prompt.choices)
  return { prompt: prompt.tokens, completion, cached: 0, cacheWrite: 0, reasoning }
}

// --- the default answer

const defaultParts = (prompt: Prompt): { readonly parts: ReadonlyArray<Part>; readonly finish: Finish } => {
  const thoughts: ReadonlyArray<Part> = prompt.thinking
    ? [{ type: "reasoning", text: `Thinking about: ${prompt.user.slice(0, 80)}` }]
    : []
  const calls = prompt.toolResult === undefined ? toolCallsOf(prompt) : []
  if (calls.length > 0) return { parts: [...thoughts, ...calls], finish: "tool_calls" }
  const full = defaultText(prompt)
  const stopAt = Math.min(...prompt.stop.map((stop) => full.indexOf(stop)).filter((at) => at >= 0), full.length)
  const stopped = full.slice(0, stopAt)
  const limited = firstTokens(stopped, prompt.maxTokens)
  return { parts: [...thoughts, { type: "text", text: limited }], finish: limited === stopped ? "stop" : "length" }
}

const defaultText = (prompt: Prompt): string => {
  const heard = prompt.toolResult ?? prompt.user
  if (isJson(prompt.json)) return JSON.stringify(exampleOf(prompt.json, heard))
  if (prompt.json) return JSON.stringify({ model: prompt.model, echo: heard.slice(0, 200) })
  return prompt.toolResult === undefined
    ? `${prompt.model} heard: ${heard.slice(0, 400)}`
    : `${prompt.model} got from the tool: ${heard.slice(0, 400)}`
}

const toolCallsOf = (prompt: Prompt): ReadonlyArray<Part> => {
  const asked = [...prompt.user.matchAll(/use tool ([\w-]+)[ \t]*/g)]
    .filter(([, name]) => prompt.tools.some((tool) => tool.name === name))
    .map((found): Part => ({
      type: "tool_call",
      name: found[1] ?? "",
      arguments: jsonAt(prompt.user, found.index + found[0].length)
    }))
  if (asked.length > 0 || prompt.forcedTool === false) return asked
  const forced = prompt.tools.find((tool) => tool.name === prompt.forcedTool) ?? prompt.tools[0]
  return forced === undefined
    ? []
    : [{ type: "tool_call", name: forced.name, arguments: exampleOf(forced.schema, prompt.user) }]
}

/** The JSON object that begins at `from`, as written there; `{}` where none does. */
const jsonAt = (text: string, from: number): string => {
  if (text[from] !== "{") return "{}"
  for (let end = text.indexOf("}", from); end >= 0; end = text.indexOf("}", end + 1)) {
    const candidate = text.slice(from, end + 1)
    try {
      JSON.parse(candidate)
      return candidate
    } catch {
      continue
    }
  }
  return "{}"
}

/** The text's first `limit` tokens, cut at a code point. */
const firstTokens = (text: string, limit: number | undefined): string =>
  limit === undefined || tokensOf(text) <= limit
    ? text
    : Buffer.from(text).subarray(0, limit * 4).toString().replace(/\uFFFD+$/, "")

/** A small value that fits a JSON Schema (or Gemini's spelling of one); strings say what was heard. */
const exampleOf = (schema: Json, heard: string): unknown => {
  if (Array.isArray(schema["enum"])) return schema["enum"][0]
  if ("const" in schema) return schema["const"]
  const union = listOf(schema["anyOf"])[0] ?? listOf(schema["oneOf"])[0]
  if (union !== undefined) return exampleOf(union, heard)
  switch ((stringsOf(schema["type"])[0] ?? "object").toLowerCase()) {
    case "string":
      return heard.slice(0, 40)
    case "integer":
    case "number":
      return 1
    case "boolean":
      return true
    case "null":
      return null
    case "array":
      return [exampleOf(objectOf(schema["items"]), heard)]
    default:
      return Object.fromEntries(
        Object.entries(objectOf(schema["properties"])).map(([name, part]) => [name, exampleOf(objectOf(part), heard)])
      )
  }
}

// --- lies about usage

const lies: Readonly<Record<Exclude<UsageLie, "missing">, (count: number) => unknown>> = {
  zero: () => 0,
  negative: (count) => -Math.max(1, count),
  nan: () => "NaN",
  null: () => null,
  fraction: (count) => count + 0.5,
  huge: () => 1e30
}

const distortion = (lie: UsageLie | Json | undefined): Reply["distort"] => {
  if (lie === undefined) return (usage) => usage
  if (isJson(lie)) return () => lie
  if (lie === "missing") return () => undefined
  const each = lies[lie]
  const walk = (usage: Json): Json =>
    Object.fromEntries(
      Object.entries(usage).map(([name, value]) => [
        name,
        typeof value === "number" ? each(value) : isJson(value) ? walk(value) : value
      ])
    )
  return walk
}
