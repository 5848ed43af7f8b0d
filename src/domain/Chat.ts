/**
 * The canonical form of a conversation: what every client protocol is raised to and every provider protocol is lowered from.
 * Plain data, checked at the edges and trusted inside.
 */
import type { JsonSource } from "./JsonSource.ts"
import type { Usage } from "./Usage.ts"

/** Where bytes come from: a URL that the provider fetches, or base64 data. */
export type Source =
  | { readonly type: "url"; readonly url: string }
  | { readonly type: "data"; readonly mediaType: string; readonly data: string }

export type TextPart = {
  readonly type: "text"
  readonly text: string
  /** The prompt caching mark of providers that have one, as the client wrote it. */
  readonly cacheControl?: unknown
}
export type ImagePart = { readonly type: "image"; readonly source: Source; readonly detail?: string; readonly cacheControl?: unknown }
export type FilePart = { readonly type: "file"; readonly source: Source; readonly filename?: string; readonly cacheControl?: unknown }
export type AudioPart = { readonly type: "audio"; readonly data: string; readonly format: string }
/** What the model thought; `signature` and `redacted` go back to the vendor that made them, untouched. */
export type ReasoningPart = {
  readonly type: "reasoning"
  readonly text: string
  readonly signature?: string
  readonly redacted?: string
}
/** `arguments` is JSON text, as the model wrote it; it may be malformed. */
export type ToolCallPart = {
  readonly type: "tool_call"
  readonly id: string
  readonly name: string
  readonly arguments: string
  readonly cacheControl?: unknown
}
export type ToolResultPart = {
  readonly type: "tool_result"
  readonly toolCallId: string
  readonly content: ReadonlyArray<TextPart | ImagePart>
  readonly isError?: boolean
  readonly cacheControl?: unknown
}
export type RefusalPart = { readonly type: "refusal"; readonly text: string }

export type Part =
  | TextPart
  | ImagePart
  | FilePart
  | AudioPart
  | ReasoningPart
  | ToolCallPart
  | ToolResultPart
  | RefusalPart

export type Role = "system" | "developer" | "user" | "assistant" | "tool"

export interface Message {
  readonly role: Role
  readonly content: ReadonlyArray<Part>
  readonly name?: string
}

export interface Tool {
  readonly name: string
  readonly description?: string
  /** JSON Schema of the arguments. */
  readonly parameters?: unknown
  readonly strict?: boolean
  readonly cacheControl?: unknown
}

export type ToolChoice = "auto" | "none" | "required" | { readonly name: string }

export type ResponseFormat =
  | { readonly type: "text" }
  | { readonly type: "json_object" }
  | { readonly type: "json_schema"; readonly name: string; readonly schema: unknown; readonly strict?: boolean; readonly description?: string }

export interface ChatRequest {
  readonly messages: ReadonlyArray<Message>
  /** How many of them stand before the first that the client counts as a message of its own, as instructions do that have a field. */
  readonly unnumbered?: number
  /** The most completion tokens that the answer may have; absent: the model's own default. */
  readonly maxTokens?: number
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly stop?: ReadonlyArray<string> | undefined
  readonly seed?: number
  readonly frequencyPenalty?: number
  readonly presencePenalty?: number
  readonly logprobs?: boolean
  readonly topLogprobs?: number
  /** How many answers; absent: 1. */
  readonly n?: number
  readonly tools?: ReadonlyArray<Tool>
  readonly toolChoice?: ToolChoice
  readonly parallelToolCalls?: boolean
  readonly responseFormat?: ResponseFormat
  readonly reasoning?: {
    readonly effort?: string
    readonly budgetTokens?: number
    /**
     * Where it is asked for apart from the effort: the model decides how much, not at all, or `unset`: nothing was said, the
     * effort is for the answer as a whole. Absent: the effort or the budget asks for it.
     */
    readonly thinking?: "adaptive" | "disabled" | "unset"
    /** Whether the client wants to read what the model thought; absent: it does not say. */
    readonly shown?: boolean
  }
  /** The last message, the assistant's, is the beginning of the answer, which goes on from its last character. */
  readonly prefill?: boolean
  /** The end user, as the client names it to the vendor. */
  readonly user?: string
  /**
   * The client's own JSON. A provider that speaks the same protocol is sent it as it came, with only model, stream switch and
   * limits rewritten, so that unknown and future fields survive; every other provider is sent the canonical form.
   */
  readonly native?: {
    readonly protocol: string
    readonly body: { readonly [name: string]: unknown }
    /** The client's headers that belong to the protocol and go with its JSON, by their names in lower case. */
    readonly headers?: { readonly [name: string]: string }
  }
  /** The client's body as it came. */
  readonly source?: JsonSource | undefined
  /**
   * What stands in the client's JSON and has no place in the canonical form, by its paths: a provider that isn't sent `native`
   * refuses the request by the first of them, or answers without them where `dropUnsupported` says so.
   */
  readonly unraised?: ReadonlyArray<string>
  /** What the provider can't do is left out instead of refused. */
  readonly dropUnsupported?: boolean
  /** Fields that the canonical form has no name for, in the client's protocol; they reach only providers that speak it. */
  readonly extra?: {
    readonly protocol: string
    readonly fields: { readonly [name: string]: unknown }
    /** The names of those that change the answer: a provider of another protocol refuses the request by the first of them. */
    readonly needed?: ReadonlyArray<string>
  }
}

export type FinishReason = "stop" | "length" | "tool_calls" | "content_filter" | "refusal" | "other"

/** One of several answers (`n` > 1) beside the first. */
export interface Choice {
  readonly content: ReadonlyArray<Part>
  readonly finishReason: FinishReason
  /** The stop text that ended it, where the provider names it. */
  readonly stopSequence?: string
}

/** A whole answer of one upstream call. */
export interface Completion extends Choice {
  /** The model as the provider names it in its answer. */
  readonly upstreamModel: string
  readonly usage: Usage
  readonly alternatives?: ReadonlyArray<Choice>
  /** Log probabilities in OpenAI's shape, where asked for and given. */
  readonly logprobs?: unknown
  /** The provider's own id of the call. */
  readonly upstreamId?: string
  /** The provider's own answer, JSON in UTF-8, where the client's own request was sent (`ChatRequest.native`). */
  readonly native?: { readonly protocol: string; readonly body: Uint8Array }
}

/** A piece of a streamed answer. `index` numbers the tool calls of one answer from 0. */
export type Delta =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "reasoning"; readonly text: string; readonly signature?: string; readonly redacted?: string }
  | { readonly type: "refusal"; readonly text: string }
  | { readonly type: "tool_call"; readonly index: number; readonly id?: string; readonly name?: string; readonly arguments: string }

/** One event of a provider's stream as it came, where the client's own request was sent, and what it says. */
export interface Frame {
  readonly type: "frame"
  readonly protocol: string
  /** The event's name; absent: it has none. */
  readonly event?: string
  readonly data: string
  readonly deltas: ReadonlyArray<Delta>
}

/** What a provider's stream yields: deltas while it lasts, or frames that hold them, then exactly one `end` with the whole answer. */
export type StreamEvent = Delta | Frame | { readonly type: "end"; readonly completion: Completion }

/** All text of the parts, joined; what `response` shows. */
export const textOf = (parts: ReadonlyArray<Part>): string => {
  let text = ""
  for (const part of parts) if (part.type === "text") text += part.text
  return text
}

export const toolCallsOf = (parts: ReadonlyArray<Part>): ReadonlyArray<ToolCallPart> =>
  parts.filter((part) => part.type === "tool_call")

export const text = (value: string): TextPart => ({ type: "text", text: value })
