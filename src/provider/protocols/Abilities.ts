/**
 * What a request asks for that a vendor can't do. It is refused by name before anything is sent, and left out on request only.
 * Hints that change no answer (cache marks, the end user's name, `strict` on tools) are not asked for here.
 */
import type { ChatRequest, Part } from "../../domain/Chat.ts"
import { ProviderError } from "../../domain/ProviderError.ts"

/** One thing that a request may ask for. */
interface Ability {
  /** The request's field that asks for it, if one does. */
  readonly param: (request: ChatRequest) => string | undefined
  /** The request without it. */
  readonly drop: (request: ChatRequest) => ChatRequest
}

type Field = Exclude<keyof ChatRequest, "messages">

/** A field, or several that belong together, the first of which asks. */
const field = (
  param: string,
  used: (request: ChatRequest) => boolean,
  ...fields: ReadonlyArray<Field>
): Ability => ({
  param: (request) => (used(request) ? param : undefined),
  drop: (request) => fields.reduce((rest, name) => ({ ...rest, [name]: undefined }), request)
})

/** A message's path as the client counts; instructions that have a field of their own are named by that. */
const pathOf = ({ unnumbered = 0 }: ChatRequest, at: number): string => (at < unnumbered ? "system" : `messages[${at - unnumbered}]`)

const part = (wanted: (part: Part) => boolean): Ability => ({
  param: (request) => {
    for (const [at, { content }] of request.messages.entries()) {
      const found = content.findIndex(wanted)
      if (found >= 0) return `${pathOf(request, at)}.content[${found}]`
    }
    return undefined
  },
  drop: (request) => ({
    ...request,
    messages: request.messages.map((message) => ({ ...message, content: message.content.filter((inner) => !wanted(inner)) }))
  })
})

const hasTools = ({ tools }: ChatRequest): boolean => (tools?.length ?? 0) > 0

/** Whether the answer must call a tool. */
export const isForced = (request: ChatRequest): boolean =>
  hasTools(request) && (request.toolChoice === "required" || typeof request.toolChoice === "object")

const isBlank = (words: string): boolean => words.trim() === ""

const abilities = {
  tools: field("tools", hasTools, "tools", "toolChoice", "parallelToolCalls"),
  serial_tool_calls: field("parallel_tool_calls", (r) => r.parallelToolCalls === false && hasTools(r), "parallelToolCalls"),
  forced_tools: field("tool_choice", isForced, "toolChoice"),
  temperature: field("temperature", (r) => (r.temperature ?? 1) !== 1, "temperature"),
  temperature_above_1: field("temperature", (r) => (r.temperature ?? 0) > 1, "temperature"),
  top_p: field("top_p", (r) => (r.topP ?? 1) !== 1, "topP"),
  top_k: field("top_k", (r) => r.topK !== undefined, "topK"),
  seed: field("seed", (r) => r.seed !== undefined, "seed"),
  stop: field("stop", (r) => (r.stop?.length ?? 0) > 0, "stop"),
  blank_stops: {
    param: ({ stop }: ChatRequest) => (stop?.some(isBlank) === true ? "stop" : undefined),
    drop: (request: ChatRequest) => ({ ...request, stop: request.stop?.filter((words) => !isBlank(words)) })
  },
  choices: field("n", (r) => (r.n ?? 1) > 1, "n"),
  logprobs: field("logprobs", (r) => r.logprobs === true, "logprobs", "topLogprobs"),
  frequency_penalty: field("frequency_penalty", (r) => (r.frequencyPenalty ?? 0) !== 0, "frequencyPenalty"),
  presence_penalty: field("presence_penalty", (r) => (r.presencePenalty ?? 0) !== 0, "presencePenalty"),
  json_object: field("response_format", (r) => r.responseFormat?.type === "json_object", "responseFormat"),
  json_schema: field("response_format", (r) => r.responseFormat?.type === "json_schema", "responseFormat"),
  thinking: field("reasoning_effort", (r) => r.reasoning?.thinking === "adaptive", "reasoning"),
  reasoning: field(
    "reasoning_effort",
    (r) => r.reasoning?.effort !== undefined || r.reasoning?.budgetTokens !== undefined,
    "reasoning"
  ),
  prefill: {
    param: (request: ChatRequest) => (request.prefill === true ? pathOf(request, request.messages.length - 1) : undefined),
    drop: (request: ChatRequest) => ({ ...request, prefill: false })
  },
  names: {
    param: (request: ChatRequest) => {
      const at = request.messages.findIndex(({ name }) => name !== undefined)
      return at < 0 ? undefined : `${pathOf(request, at)}.name`
    },
    drop: (request: ChatRequest) => ({ ...request, messages: request.messages.map(({ content, role }) => ({ content, role })) })
  },
  images: part(({ type }) => type === "image"),
  audio: part(({ type }) => type === "audio"),
  files: part(({ type }) => type === "file"),
  files_by_url: part((inner) => inner.type === "file" && inner.source.type === "url")
} satisfies { readonly [name: string]: Ability }

export type Feature = keyof typeof abilities

/**
 * The request as a vendor can serve it: as it is, or the refusal of the first thing that the vendor lacks, or, where the client
 * wants it so, without those things. `protocol` is the vendor's, absent where it has none.
 */
export const fitted = (
  request: ChatRequest,
  lacks: ReadonlyArray<Feature>,
  vendor: string,
  protocol?: string
): ChatRequest | ProviderError => {
  const { extra } = request
  const [unraised] = [...(request.unraised ?? []), ...(extra === undefined || extra.protocol === protocol ? [] : extra.needed ?? [])]
  if (unraised !== undefined && request.dropUnsupported !== true) {
    return new ProviderError({
      fault: "unsupported",
      message: `${unraised} has no counterpart outside the protocol that it was asked in, so ${vendor} can't be asked for it`,
      param: unraised,
      sent: false
    })
  }
  let fitting = request
  for (const feature of lacks) {
    const { drop, param: paramOf }: Ability = abilities[feature]
    const param = paramOf(fitting)
    if (param === undefined) continue
    if (request.dropUnsupported !== true) {
      return new ProviderError({
        fault: "unsupported",
        message: `${param} asks for something that ${vendor} can't do (${feature.replaceAll("_", " ")})`,
        param,
        sent: false
      })
    }
    fitting = drop(fitting)
  }
  return fitting
}

/** Thinking tokens that an effort stands for, where a vendor wants a number. */
const budgets: { readonly [effort: string]: number } = { minimal: 1024, low: 2048, medium: 8192, high: 24_576, xhigh: 32_768, max: 32_768 }

/** Thinking tokens asked for; undefined: thinking is not asked for, or is switched off. */
export const budgetOf = (reasoning: ChatRequest["reasoning"]): number | undefined =>
  reasoning?.budgetTokens ?? (reasoning?.effort === undefined ? undefined : budgets[reasoning.effort])

/** The effort asked for; a budget counts as the largest effort that it pays for. */
export const effortOf = (reasoning: ChatRequest["reasoning"]): string | undefined => {
  const budget = reasoning?.budgetTokens
  if (reasoning?.effort !== undefined || budget === undefined) return reasoning?.effort
  return budget >= 24_576 ? "high" : budget >= 8192 ? "medium" : "low"
}
