/** Anthropic's Messages API as a door: whole answers and errors. */
import type { Choice, FinishReason, Part } from "../../domain/Chat.ts"
import { inputOf, toolUseId } from "../../domain/ToolUse.ts"
import type { Usage } from "../../domain/Usage.ts"
import type { RunResult } from "../../orchestrate/Run.ts"
import type { AnswerFacts, Json } from "../Door.ts"
import type { ErrorBodyOf, Failure } from "../Failure.ts"

// --- answer out

/** Pictures and recordings that a model made have no block here. */
const blocksOf = (part: Part): ReadonlyArray<Json> => {
  switch (part.type) {
    case "text":
    case "refusal":
      return part.text === "" ? [] : [{ type: "text", text: part.text, citations: null }]
    case "reasoning":
      return part.redacted === undefined
        ? [{ type: "thinking", thinking: part.text, signature: part.signature ?? "" }]
        : [{ type: "redacted_thinking", data: part.redacted }]
    case "tool_call":
      return [{ type: "tool_use", id: toolUseId(part.id), name: part.name, input: inputOf(part.arguments), caller: { type: "direct" } }]
    default:
      return []
  }
}

const stopReasons: { readonly [R in FinishReason]: string } = {
  stop: "end_turn",
  length: "max_tokens",
  tool_calls: "tool_use",
  content_filter: "refusal",
  refusal: "refusal",
  other: "end_turn"
}

/** Why an answer ended, as fields of a message. */
export const stopOf = ({ finishReason, stopSequence }: Choice): Json => {
  const reason = stopSequence === undefined ? stopReasons[finishReason] : "stop_sequence"
  return {
    stop_reason: reason,
    stop_sequence: stopSequence ?? null,
    stop_details: reason === "refusal" ? { type: "refusal", category: null, explanation: null } : null
  }
}

/** Anthropic counts prompt tokens that a cache took or gave apart from the rest. */
export const usageOf = ({ cachedTokens, cacheWriteTokens, completionTokens, promptTokens, reasoningTokens }: Usage): Json => ({
  input_tokens: Math.max(0, promptTokens - cachedTokens - cacheWriteTokens),
  cache_creation_input_tokens: cacheWriteTokens,
  cache_read_input_tokens: cachedTokens,
  output_tokens: completionTokens,
  output_tokens_details: reasoningTokens === 0 ? null : { thinking_tokens: reasoningTokens },
  server_tool_use: null
})

/** A message without its content, as its stream begins and its answer ends. */
export const messageOf = ({ model, requestId }: AnswerFacts, usage: Json, fields: Json): Json => ({
  id: requestId.replace(/^req_/, "msg_"),
  type: "message",
  role: "assistant",
  model,
  content: [],
  container: null,
  diagnostics: null,
  stop_reason: null,
  stop_sequence: null,
  stop_details: null,
  ...fields,
  usage: { ...usage, cache_creation: null, inference_geo: null, service_tier: null, speed: null }
})

/** The 200 body. */
export const answer = ({ completion, usage }: RunResult, facts: AnswerFacts): Json =>
  messageOf(facts, usageOf(usage), { content: completion.content.flatMap(blocksOf), ...stopOf(completion) })

// --- errors out

/** Anthropic's names ("Errors" in its API reference), by status. */
const errorTypes: { readonly [status: number]: string } = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  408: "timeout_error",
  409: "conflict_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
  504: "timeout_error",
  529: "overloaded_error"
}

/** A vault's lock is no overload, though its status is 503. */
const errorTypeOf = ({ status, type }: Failure): string =>
  type === "vault_error" ? "api_error" : errorTypes[status] ?? (status < 500 ? "invalid_request_error" : "api_error")

/** The canonical form's fields that have another name here. */
const fields: { readonly [param: string]: string } = {
  parallel_tool_calls: "tool_choice.disable_parallel_tool_use",
  reasoning_effort: "thinking",
  response_format: "output_config.format",
  stop: "stop_sequences",
  user: "metadata.user_id"
}

/** A failure in Anthropic's envelope; TokenHub's own facts stand beside its two. */
export const errorBody: ErrorBodyOf = (failure, requestId) => {
  const { code, details, message, param, retryable } = failure
  const named = param === undefined ? undefined : fields[param]
  return {
    type: "error",
    error: {
      type: errorTypeOf(failure),
      message: param === undefined || named === undefined ? message : message.replace(param, () => named),
      code,
      param: named ?? param ?? null,
      retryable,
      ...(details === undefined ? {} : { details })
    },
    request_id: requestId
  }
}
