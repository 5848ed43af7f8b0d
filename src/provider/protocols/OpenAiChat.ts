/** OpenAI's chat completions, as OpenAI and the many vendors that took it over speak it. */
import { Effect } from "effect"
import type { Choice, Delta, FinishReason, ResponseFormat, ToolChoice } from "../../domain/Chat.ts"
import { ProviderError } from "../../domain/ProviderError.ts"
import * as Signature from "../../domain/Signature.ts"
import type { ReportedUsage } from "../../domain/Usage.ts"
import type { ErrorDialect, Pattern } from "../Faults.ts"
import { answered, ofEvent } from "../Faults.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import type { ServerEvent, StreamReader } from "../ServerEvents.ts"
import { effortOf } from "./Abilities.ts"
import { fits } from "./CallId.ts"
import { Collector, completionOf, endOf, finishOf, interrupted } from "./Collector.ts"
import { endUser } from "./EndUser.ts"
import type { Json } from "./Json.ts"
import { codeOf, isJson, listOf, numberOf, objectOf, present, stringOf } from "./Json.ts"
import { hasOwnFields, messagesOut, ownMessages } from "./OpenAiChatMessages.ts"
import { fieldNames } from "./OpenAiFields.ts"
import { lacksAt } from "./OpenAiModel.ts"
import type { Quirks } from "./OpenAiQuirks.ts"
import type { Protocol } from "./Protocol.ts"

// --- wire types

/** The vendor's name of a client protocol whose extra fields this one takes. */
const protocol = "openai-chat"

// --- request out

const toolChoiceOut = (choice: ToolChoice | undefined): unknown =>
  typeof choice === "object" ? { type: "function", function: { name: choice.name } } : choice

const formatOut = (format: ResponseFormat | undefined): unknown =>
  format?.type === "json_schema"
    ? {
      type: "json_schema",
      json_schema: present({ name: format.name, description: format.description, schema: format.schema, strict: format.strict })
    }
    : format

const reasoningOut = ({ reasoning }: ProviderCall["request"], quirks: Quirks): Json => {
  if (quirks.reasoning === "reasoning_effort") return { reasoning_effort: effortOf(reasoning) }
  const { budgetTokens, effort } = reasoning ?? {}
  return { reasoning: effort !== undefined ? { effort } : budgetTokens === undefined ? undefined : { max_tokens: budgetTokens } }
}

const bodyOut = (call: ProviderCall, quirks: Quirks, stream: boolean): Json => {
  const { request } = call
  const hasTools = (request.tools?.length ?? 0) > 0
  return present({
    ...(request.extra?.protocol === protocol ? request.extra.fields : {}),
    model: call.upstreamModel,
    messages: messagesOut(request.messages, quirks),
    [quirks.maxTokens]: request.maxTokens,
    temperature: request.temperature,
    top_p: request.topP,
    top_k: request.topK,
    stop: request.stop?.length === 0 ? undefined : request.stop,
    [quirks.seed]: request.seed,
    frequency_penalty: request.frequencyPenalty,
    presence_penalty: request.presencePenalty,
    logprobs: request.logprobs,
    top_logprobs: request.topLogprobs,
    n: request.n,
    tools: hasTools
      ? request.tools?.map(({ description, name, parameters, strict }) => ({
        type: "function",
        function: present({ name, description, parameters, strict })
      }))
      : undefined,
    tool_choice: hasTools ? toolChoiceOut(request.toolChoice) : undefined,
    parallel_tool_calls: hasTools ? request.parallelToolCalls : undefined,
    response_format: formatOut(request.responseFormat),
    ...reasoningOut(request, quirks),
    user: quirks.user ? endUser(request.user) : undefined,
    stream: stream ? true : undefined,
    stream_options: stream && quirks.streamOptions ? { include_usage: true } : undefined
  })
}

/** Whether a client's own request has something that this vendor takes in another way than OpenAI. */
const departs = ({ messages, reasoning, seed, user }: ProviderCall["request"], quirks: Quirks): boolean =>
  (quirks.seed !== "seed" && seed !== undefined)
  || (!quirks.user && user !== undefined)
  || (quirks.reasoning !== "reasoning_effort" && reasoning !== undefined)
  || messages.some(({ content, role }) =>
    (role === "developer" && !quirks.developerRole)
    || content.some((part) =>
      (part.type === "tool_result" && (part.content.some((inner) => inner.type === "image") || !fits(part.toolCallId, quirks.callIds)))
      || (part.type === "tool_call" && !fits(part.id, quirks.callIds))
      || (part.type === "reasoning" && part.signature !== undefined && Signature.isMarked(part.signature) && quirks.reasoningBack !== null)
    )
  )

/** A client's own request; a stream is asked for its usage, since the ledger wants it. */
const rewrite = (quirks: Quirks): NonNullable<Protocol["rewrite"]> => (call, body, stream) => {
  if (departs(call.request, quirks)) return undefined
  const { max_completion_tokens, max_tokens, stream_options, ...rest } = body
  const fields = quirks.nulls ? rest : present(rest)
  return {
    ...fields,
    ...(hasOwnFields(call.request) ? { messages: ownMessages(body["messages"], quirks) } : {}),
    ...present({ [quirks.maxTokens]: max_completion_tokens ?? max_tokens }),
    ...(stream && quirks.streamOptions ? { stream_options: { ...objectOf(stream_options), include_usage: true } } : {})
  }
}

/** Fields by which the vendor may name one that the client gave in another protocol; places in messages are not the client's. */
const fieldOf = fieldNames({ max_completion_tokens: "max_tokens", random_seed: "seed", reasoning: "reasoning_effort" })

// --- answer in

const finishReasons: { readonly [reason: string]: FinishReason } = {
  stop: "stop",
  eos: "stop",
  end_turn: "stop",
  length: "length",
  model_length: "length",
  tool_calls: "tool_calls",
  function_call: "tool_calls",
  content_filter: "content_filter",
  refusal: "refusal"
}

const reasonIn = (reason: string): FinishReason => finishReasons[reason] ?? "other"

/** A thought's signature of OpenRouter's details, by whose it is. The words of the thought stand beside them. */
const signatureIn = (detail: Json): Delta | undefined => {
  const data = stringOf(detail["data"])
  const signature = stringOf(detail["signature"])
  const format = stringOf(detail["format"]) ?? ""
  if (data === undefined) return signature === undefined ? undefined : { type: "reasoning", text: "", signature }
  if (format.startsWith("openai")) {
    return { type: "reasoning", text: "", signature: Signature.marked("openai", Signature.join(stringOf(detail["id"]) ?? "", data)) }
  }
  return format.startsWith("google")
    ? { type: "reasoning", text: "", signature: Signature.marked("gemini", data) }
    : { type: "reasoning", text: "", redacted: data }
}

/** Of a message or a delta: its texts in order. Mistral writes thoughts and text as a list of parts. */
const textsIn = (message: Json): Array<Delta> => {
  const deltas: Array<Delta> = []
  const thought = stringOf(message["reasoning_content"]) ?? stringOf(message["reasoning"])
  if (thought !== undefined) deltas.push({ type: "reasoning", text: thought })
  if ("reasoning_details" in message) deltas.push(...listOf(message["reasoning_details"]).flatMap((detail) => signatureIn(detail) ?? []))
  const content = message["content"]
  const said = stringOf(content)
  if (said !== undefined) deltas.push({ type: "text", text: said })
  for (const part of listOf(content)) {
    const words = stringOf(part["text"])
    if (part["type"] === "thinking") {
      deltas.push({ type: "reasoning", text: listOf(part["thinking"]).map((piece) => stringOf(piece["text"]) ?? "").join("") })
    } else if (words !== undefined) deltas.push({ type: "text", text: words })
  }
  const refused = stringOf(message["refusal"])
  if (refused !== undefined) deltas.push({ type: "refusal", text: refused })
  return deltas
}

const argumentsIn = (value: unknown): string => (typeof value === "string" ? value : isJson(value) ? JSON.stringify(value) : "")

const choiceIn = (call: ProviderCall) => (choice: Json): Choice => {
  const message = objectOf(choice["message"])
  const parts = new Collector()
  for (const delta of textsIn(message)) parts.push(delta)
  for (const [index, item] of listOf(message["tool_calls"]).entries()) {
    const made = objectOf(item["function"])
    parts.push({
      type: "tool_call",
      index,
      id: stringOf(item["id"]) ?? `call_${index}`,
      name: stringOf(made["name"]) ?? "",
      arguments: argumentsIn(made["arguments"])
    })
  }
  const content = parts.parts()
  return { content, finishReason: finishOf(reasonIn(stringOf(choice["finish_reason"]) ?? ""), content), ...stoppedBy(call, choice) }
}

/** The stop text that ended a choice: vLLM names it. */
const stoppedBy = ({ request }: ProviderCall, choice: Json): { readonly stopSequence?: string } => {
  const stop = stringOf(choice["stop_reason"])
  return stop === undefined || request.stop?.includes(stop) !== true ? {} : { stopSequence: stop }
}

/** xAI counts reasoning apart from the completion: its total shows it. */
const usageIn = (value: unknown): ReportedUsage | undefined => {
  if (!isJson(value)) return undefined
  const details = objectOf(value["completion_tokens_details"])
  const promptDetails = objectOf(value["prompt_tokens_details"])
  const prompt = numberOf(value["prompt_tokens"])
  const completion = numberOf(value["completion_tokens"])
  const reasoning = numberOf(details["reasoning_tokens"])
  const apart = prompt !== undefined && completion !== undefined && reasoning !== undefined && reasoning > 0 &&
    value["total_tokens"] === prompt + completion + reasoning
  return {
    promptTokens: prompt,
    cachedTokens: promptDetails["cached_tokens"] ?? value["prompt_cache_hit_tokens"],
    cacheWriteTokens: promptDetails["cache_write_tokens"],
    completionTokens: apart ? completion + reasoning : completion,
    reasoningTokens: reasoning
  }
}

const answerIn = (call: ProviderCall, body: unknown) => {
  const answer = objectOf(body)
  if (!Array.isArray(answer["choices"])) {
    return isJson(answer["error"]) ? ofEvent(errors, body) : answered("malformed_response", "The provider's answer has no list of choices")
  }
  const choices = listOf(answer["choices"])
  return completionOf(call, {
    upstreamModel: stringOf(answer["model"]),
    upstreamId: stringOf(answer["id"]),
    choices: choices.map(choiceIn(call)),
    usage: usageIn(answer["usage"]),
    logprobs: choices[0]?.["logprobs"]
  })
}

// --- stream in

/** One choice of a stream, so far. */
class OpenChoice {
  readonly parts = new Collector()
  finish: string | undefined
  stop: { readonly stopSequence?: string } | undefined
  logprobs: { readonly content: Array<unknown>; readonly refusal: Array<unknown> } | undefined
  /** Ids of the tool calls, by index. */
  readonly callIds: Array<string> = []
}

const listAt = (value: unknown, field: string): ReadonlyArray<unknown> => {
  const list = objectOf(value)[field]
  return Array.isArray(list) ? list : []
}

/** A new id means a new call, also for vendors that number none of them, or all alike. */
const toolIndex = (ids: ReadonlyArray<string>, numbered: number | undefined, id: string | undefined): number => {
  const taken = numbered === undefined || (id !== undefined && ids[numbered] !== undefined && ids[numbered] !== id)
  if (!taken) return numbered
  if (id === undefined) return Math.max(0, ids.length - 1)
  const known = ids.indexOf(id)
  return known < 0 ? ids.length : known
}

const toolDeltaIn = ({ callIds }: OpenChoice, call: Json): Delta => {
  const made = objectOf(call["function"])
  const given = stringOf(call["id"])
  const name = stringOf(made["name"])
  const index = toolIndex(callIds, numberOf(call["index"]), given)
  const id = callIds[index] === undefined ? given ?? `call_${index}` : undefined
  if (id !== undefined) callIds[index] = id
  return {
    type: "tool_call",
    index,
    ...(id === undefined ? {} : { id }),
    ...(name === undefined ? {} : { name }),
    arguments: argumentsIn(made["arguments"])
  }
}

class ChatReader implements StreamReader {
  private readonly call: ProviderCall
  private readonly choices = new Map<number, OpenChoice>()
  private usage: unknown
  private id: string | undefined
  private model: string | undefined

  constructor(call: ProviderCall) {
    this.call = call
  }

  event({ data, event }: ServerEvent): ReadonlyArray<Delta> | ProviderError {
    const chunk = objectOf(data)
    if (isJson(chunk["error"]) || stringOf(chunk["error"]) !== undefined || event === "error") return ofEvent(errors, data)
    this.id ??= stringOf(chunk["id"])
    this.model ??= stringOf(chunk["model"])
    const usage = isJson(chunk["usage"]) ? chunk["usage"] : objectOf(chunk["x_groq"])["usage"]
    if (isJson(usage)) this.usage = usage
    const told = listOf(chunk["choices"])
    const [only] = told
    // Nearly every chunk has one: flatMap would cost as much as all else that is done with it once it is parsed.
    return only !== undefined && told.length === 1 ? this.deltasOf(only) : told.flatMap((choice) => this.deltasOf(choice))
  }

  end(marked: boolean) {
    const first = this.choices.get(0)
    if (!marked && first?.finish === undefined) return interrupted()
    const logprobs = first?.logprobs
    return endOf(this.call, {
      upstreamModel: this.model,
      upstreamId: this.id,
      choices: [...this.choices].toSorted(([a], [b]) => a - b).map(([, choice]) => closed(choice)),
      usage: usageIn(this.usage),
      logprobs: logprobs === undefined || logprobs.content.length + logprobs.refusal.length === 0
        ? undefined
        : { content: logprobs.content, refusal: logprobs.refusal.length === 0 ? null : logprobs.refusal }
    })
  }

  /** Deltas of the first choice are handed on; the others wait for the end. */
  private deltasOf(choice: Json): ReadonlyArray<Delta> {
    const index = numberOf(choice["index"]) ?? 0
    const open = this.openChoice(index)
    const delta = objectOf(choice["delta"] ?? choice["message"])
    const deltas = textsIn(delta)
    for (const item of listOf(delta["tool_calls"])) deltas.push(toolDeltaIn(open, item))
    for (const item of deltas) open.parts.push(item)
    if (isJson(choice["logprobs"])) {
      open.logprobs ??= { content: [], refusal: [] }
      open.logprobs.content.push(...listAt(choice["logprobs"], "content"))
      open.logprobs.refusal.push(...listAt(choice["logprobs"], "refusal"))
    }
    open.finish = stringOf(choice["finish_reason"]) ?? open.finish
    if ("stop_reason" in choice) open.stop = stoppedBy(this.call, choice)
    return index === 0 ? deltas : []
  }

  private openChoice(index: number): OpenChoice {
    const open = this.choices.get(index)
    if (open !== undefined) return open
    const fresh = new OpenChoice()
    this.choices.set(index, fresh)
    return fresh
  }
}

const closed = ({ finish, parts, stop }: OpenChoice): Choice => {
  const content = parts.parts()
  return { content, finishReason: finishOf(reasonIn(finish ?? "stop"), content), ...stop }
}

// --- errors in

const patterns: ReadonlyArray<Pattern> = [
  { fault: "context_overflow", code: /^(context_length_exceeded|model_max_prompt_tokens_exceeded)$/ },
  // Names and ids may be too long too.
  { fault: "context_overflow", code: /^string_above_max_length$/, param: /^(input|instructions|messages\[\d+\]\.content)\b/ },
  ...[
    /maximum context length|context (length|window|size)( of| is)?.*(exceed|too|overflow)/i,
    /exceed\w*.{0,40}(context|max(imum)? (input|prompt)? ?tokens?)/i,
    /prompt (is )?too (long|large)|too many (input |prompt )?tokens|input is too long|reduce the length of the (messages|prompt)/i,
    /maximum prompt length|\[input_too_large\]|`inputs` tokens \+ `max_new_tokens` must be/i,
    /context (the )?overflows|context length of only/i
  ].map((message): Pattern => ({ fault: "context_overflow", status: [200, 400, 413, 422, 500], message })),
  // Groq calls it a rate limit, which no wait would help.
  { fault: "payload_too_large", status: [413] },
  { fault: "quota_exhausted", code: /^(insufficient_quota|billing_(not_active|hard_limit_reached|error)|insufficient_balance|quota_exceeded)$/ },
  { fault: "quota_exhausted", message: /exceeded your current quota|insufficient (balance|credits?|funds|quota)|payment required/i },
  { fault: "quota_exhausted", message: /used all available credits|monthly spending limit/i },
  { fault: "quota_exhausted", message: /out of call volume quota|credits? (have |has )?(run out|been exhausted)/i },
  { fault: "content_filter", code: /^(content_policy_violation|content_filter|ResponsibleAIPolicyViolation|moderation_blocked)$/ },
  { fault: "content_filter", status: [403], message: /input was flagged/i },
  { fault: "authentication", status: [400, 401, 403], message: /(incorrect|invalid) api key/i },
  { fault: "authentication", code: /^(invalid_api_key|authentication_error|invalid_authentication|account_deactivated)$/ },
  { fault: "model_not_found", status: [400, 404], code: /^(model_not_found|DeploymentNotFound|invalid_model|model_not_available)$/ },
  { fault: "model_not_found", status: [400], message: /model .{1,120}(does not exist|not found|is not (a )?(valid|supported|available))/i },
  { fault: "model_not_found", status: [400], message: /(invalid|unknown|no such) model|is not a valid model|model not exist/i },
  { fault: "overloaded", status: [498, 503, 529], message: /overloaded|(at|over) capacity|capacity exceeded|high demand|too busy/i },
  { fault: "overloaded", code: /^(overloaded|overloaded_error|engine_overloaded|slow_down)$/ },
  { fault: "overloaded", status: [200], message: /overloaded|at capacity/i },
  { fault: "rate_limited", code: /^(rate_limit_exceeded|rate_limit_error|too_many_requests|requests|tokens)$/ }
]

/** `{"error": {…}}` mostly; also a text under `error`, FastAPI's `detail`, and Mistral's and Cohere's bare `message`. */
const readError: ErrorDialect["read"] = (body) => {
  if (!isJson(body)) return Array.isArray(body) ? readError(body[0]) : undefined
  const error = isJson(body["error"]) ? body["error"] : body
  const detail = error["detail"]
  const message = stringOf(error["message"]) ?? stringOf(body["error"]) ?? stringOf(detail) ??
    stringOf(objectOf(error["message"])["detail"]) ?? (detail === undefined ? undefined : JSON.stringify(detail))
  const code = codeOf(error["code"])
  const type = stringOf(error["type"])
  return message === undefined && code === undefined && type === undefined
    ? undefined
    : { message, code: code ?? stringOf(objectOf(error["innererror"])["code"]), type, param: stringOf(error["param"]) }
}

export const errors: ErrorDialect = { read: readError, patterns }

// --- the protocol

const models = (quirks: Quirks, vendor: string): Protocol["models"] => (endpoint, apiKey) =>
  quirks.modelsPath === null
    ? Effect.fail(
      new ProviderError({
        fault: "unsupported",
        message: `${vendor} has no list of models: only a call shows whether the key works`,
        sent: false
      })
    )
    : Effect.map(endpoint.json({ path: quirks.modelsPath, apiKey, errors }), (body) =>
      listOf(Array.isArray(body) ? body : objectOf(body)["data"]).flatMap((model) => stringOf(model["id"]) ?? []))

export const openAiChat = (vendor: string, quirks: Quirks): Protocol => ({
  name: protocol,
  vendor,
  lacks: quirks.lacks,
  lacksAt: ({ request, upstreamModel }) => lacksAt(upstreamModel, request),
  fieldOf,
  request: (call, stream, native) => ({ path: "/chat/completions", body: native ?? bodyOut(call, quirks, stream), apiKey: call.apiKey, errors }),
  rewrite: rewrite(quirks),
  answerIn,
  reader: (call) => () => new ChatReader(call),
  models: models(quirks, vendor)
})
