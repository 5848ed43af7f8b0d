/** A run's answer lowered to OpenAI's response object. */
import type { Choice, FinishReason, Part } from "../../domain/Chat.ts"
import { totalTokens } from "../../domain/Usage.ts"
import type { RunResult } from "../../orchestrate/Run.ts"
import type { AnswerFacts, Json } from "../Door.ts"
import { seal } from "./OpenAiResponsesInput.ts"

export type ItemStatus = "in_progress" | "completed" | "incomplete"

/** What is the same in the ids of a response and of its items. */
const tailOf = ({ requestId }: AnswerFacts): string => requestId.slice(requestId.indexOf("_") + 1)

/** The id of the output item at a place. */
export const itemId = (facts: AnswerFacts, kind: "msg" | "rs" | "fc", place: number): string =>
  `${kind}_${tailOf(facts)}_${place}`

// --- items

export const textPart = (text: string, logprobs: ReadonlyArray<unknown> = []): Json => ({
  type: "output_text",
  text,
  annotations: [],
  logprobs
})

export const refusalPart = (refusal: string): Json => ({ type: "refusal", refusal })

export const messageItem = (id: string, content: ReadonlyArray<Json>, status: ItemStatus): Json => ({
  id,
  type: "message",
  status,
  role: "assistant",
  content
})

export const summaryPart = (text: string): Json => ({ type: "summary_text", text })

export const reasoningItem = (id: string, text: string, encrypted: string | undefined, status: ItemStatus): Json => ({
  id,
  type: "reasoning",
  summary: text === "" ? [] : [summaryPart(text)],
  ...(encrypted === undefined ? {} : { encrypted_content: encrypted }),
  status
})

export const callItem = (id: string, call: { id: string; name: string; arguments: string }, status: ItemStatus): Json => ({
  id,
  type: "function_call",
  status,
  arguments: call.arguments,
  call_id: call.id,
  name: call.name
})

/** A client parses arguments as JSON: none are an empty object. */
export const argumentsOf = (text: string): string => (text === "" ? "{}" : text)

/** `last`: the status of the item in which the answer ended. */
const itemsOf = (parts: ReadonlyArray<Part>, facts: AnswerFacts, logprobs: ReadonlyArray<unknown>, last: ItemStatus): ReadonlyArray<Json> => {
  const items: Array<Json> = []
  let said: Array<Json> | undefined
  let rest: ReadonlyArray<unknown> = logprobs
  const say = (part: Json) => {
    if (said === undefined) items.push(messageItem(itemId(facts, "msg", items.length), said = [], "completed"))
    said.push(part)
  }
  for (const part of parts) {
    if (part.type === "text") {
      say(textPart(part.text, rest))
      rest = []
    } else if (part.type === "refusal") say(refusalPart(part.text))
    else {
      said = undefined
      if (part.type === "reasoning") {
        items.push(reasoningItem(itemId(facts, "rs", items.length), part.text, seal(part), "completed"))
      } else if (part.type === "tool_call") {
        items.push(callItem(itemId(facts, "fc", items.length), { ...part, arguments: argumentsOf(part.arguments) }, "completed"))
      }
    }
  }
  return items.map((item, i) => (i === items.length - 1 ? { ...item, status: last } : item))
}

// --- the response

const incompleteReasons: { readonly [R in FinishReason]?: string } = {
  length: "max_output_tokens",
  content_filter: "content_filter"
}

/** Why a response is not complete. A refusal that has words is complete here; one without is the filter's. */
const incompleteReasonOf = ({ content, finishReason }: Choice): string | undefined =>
  finishReason === "refusal" && !content.some((part) => part.type === "refusal")
    ? incompleteReasons.content_filter
    : incompleteReasons[finishReason]

/** How the last item ended: that of an answer that was cut is not complete either. */
export const lastStatusOf = ({ completion }: RunResult): ItemStatus => (incompleteReasonOf(completion) === undefined ? "completed" : "incomplete")

const usageOf = ({ usage }: RunResult): Json => ({
  input_tokens: usage.promptTokens,
  input_tokens_details: { cached_tokens: usage.cachedTokens, cache_write_tokens: usage.cacheWriteTokens },
  output_tokens: usage.completionTokens,
  output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
  total_tokens: totalTokens(usage)
})

const objectAt = (body: Json, name: string): Json => {
  const value = body[name]
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {}
}

const toolOf = (tool: unknown): unknown =>
  typeof tool === "object" && tool !== null && "type" in tool && tool.type === "function"
    ? { description: null, parameters: null, strict: null, ...tool }
    : tool

/** The response at its beginning: the request's own settings come back as they were given. */
export const begun = (facts: AnswerFacts, body: Json): Json => {
  const text = objectAt(body, "text")
  const reasoning = objectAt(body, "reasoning")
  return {
    id: `resp_${tailOf(facts)}`,
    object: "response",
    created_at: facts.created,
    status: "in_progress",
    background: false,
    error: null,
    incomplete_details: null,
    instructions: body["instructions"] ?? null,
    max_output_tokens: body["max_output_tokens"] ?? null,
    max_tool_calls: body["max_tool_calls"] ?? null,
    metadata: body["metadata"] ?? {},
    model: facts.model,
    output: [],
    parallel_tool_calls: body["parallel_tool_calls"] ?? true,
    previous_response_id: body["previous_response_id"] ?? null,
    prompt_cache_key: body["prompt_cache_key"] ?? null,
    reasoning: { effort: reasoning["effort"] ?? null, summary: reasoning["summary"] ?? null },
    safety_identifier: body["safety_identifier"] ?? null,
    service_tier: body["service_tier"] ?? "default",
    store: body["store"] === true,
    temperature: body["temperature"] ?? null,
    text: { format: text["format"] ?? { type: "text" }, verbosity: text["verbosity"] ?? "medium" },
    tool_choice: body["tool_choice"] ?? "auto",
    tools: Array.isArray(body["tools"]) ? body["tools"].map(toolOf) : [],
    top_logprobs: body["top_logprobs"] ?? 0,
    top_p: body["top_p"] ?? null,
    truncation: body["truncation"] ?? "disabled",
    usage: null,
    user: body["user"] ?? null
  }
}

/** Log probabilities of the answer's text, where they were asked for and given. */
export const logprobsOf = ({ completion }: RunResult): ReadonlyArray<unknown> => {
  const { content }: { content?: unknown } = Object(completion.logprobs)
  return Array.isArray(content) ? content : []
}

/** The response at its end, with these output items. */
export const ended = (result: RunResult, facts: AnswerFacts, body: Json, output: ReadonlyArray<Json>): Json => {
  const reason = incompleteReasonOf(result.completion)
  return {
    ...begun(facts, body),
    status: reason === undefined ? "completed" : "incomplete",
    incomplete_details: reason === undefined ? null : { reason },
    output,
    usage: usageOf(result)
  }
}

export const answerOf = (result: RunResult, facts: AnswerFacts, body: Json): Json =>
  ended(result, facts, body, itemsOf(result.completion.content, facts, logprobsOf(result), lastStatusOf(result)))
