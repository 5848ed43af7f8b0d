/** OpenAI's Responses API. Nothing is stored there (`store: false`): reasoning goes back encrypted, as items of the input. */
import { Effect } from "effect"
import type {
  ChatRequest,
  Delta,
  FinishReason,
  Message,
  Part,
  ResponseFormat,
  Source,
  Tool,
  ToolChoice,
  ToolResultPart
} from "../../domain/Chat.ts"
import { isBreakpoint } from "../../domain/CacheMark.ts"
import { textOf } from "../../domain/Chat.ts"
import * as Signature from "../../domain/Signature.ts"
import type { ReportedUsage } from "../../domain/Usage.ts"
import { answered, ofEvent } from "../Faults.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Feature } from "./Abilities.ts"
import { effortOf } from "./Abilities.ts"
import { callId } from "./CallId.ts"
import type { Answer } from "./Collector.ts"
import { Collector, completionOf, endOf, finishOf, interrupted } from "./Collector.ts"
import { endUser } from "./EndUser.ts"
import type { Json } from "./Json.ts"
import { isJson, listOf, objectOf, present, stringOf } from "./Json.ts"
import { lacksAt, thinks } from "./OpenAiModel.ts"
import { errors } from "./OpenAiChat.ts"
import { fieldNames } from "./OpenAiFields.ts"
import type { Protocol } from "./Protocol.ts"

// --- wire types

/** Also the client protocol whose own JSON and extra fields this one takes. */
const protocol = "openai-responses"

const lacks: ReadonlyArray<Feature> = [
  "top_k",
  "seed",
  "stop",
  "choices",
  "frequency_penalty",
  "presence_penalty",
  "names",
  "audio",
  "prefill"
]

/** OpenAI's limit for the ids of calls here. */
const callIds = { pattern: /^[^]{1,64}$/, longest: 64 }

const encryptedReasoning = "reasoning.encrypted_content"
const logprobsIncluded = "message.output_text.logprobs"

// --- request out

const urlOf = (source: Source): string => (source.type === "url" ? source.url : `data:${source.mediaType};base64,${source.data}`)

/** OpenAI has no mark for another vendor's. */
const markOut = ({ cacheControl }: { readonly cacheControl?: unknown }): Json =>
  isBreakpoint(cacheControl) ? { prompt_cache_breakpoint: cacheControl } : {}

/** A part of an input message or of a tool's result. */
const contentOut = (part: Part): ReadonlyArray<Json> => {
  switch (part.type) {
    case "text":
      return [{ type: "input_text", text: part.text, ...markOut(part) }]
    case "refusal":
      return [{ type: "input_text", text: part.text }]
    case "image":
      return [{ type: "input_image", image_url: urlOf(part.source), detail: part.detail ?? "auto", ...markOut(part) }]
    case "file":
      return part.source.type === "url"
        ? [present({ type: "input_file", file_url: part.source.url, filename: part.filename, ...markOut(part) })]
        : [{ type: "input_file", file_data: urlOf(part.source), filename: part.filename ?? "file", ...markOut(part) }]
    default:
      return []
  }
}

const outputOut = (result: ToolResultPart): unknown => {
  const [only] = result.content
  const failed = result.isError === true && !/error/i.test(textOf(result.content.filter((part) => part.type === "text")))
  const note = failed ? [{ type: "input_text", text: "Error:" }] : []
  if (result.content.length === 1 && only?.type === "text") return failed ? `Error: ${only.text}` : only.text
  return result.content.length === 0 && !failed ? "" : [...note, ...result.content.flatMap(contentOut)]
}

/** A thought goes back only with OpenAI's own encrypted content; another vendor's means nothing to it. */
const reasoningOut = (part: Extract<Part, { type: "reasoning" }>): ReadonlyArray<Json> => {
  const own = Signature.unmarked("openai", part.signature)
  if (own === undefined) return []
  const [id, encrypted] = Signature.split(own)
  const summary = part.text === "" ? [] : [{ type: "summary_text", text: part.text }]
  return [present({ type: "reasoning", id: id || undefined, summary, encrypted_content: encrypted })]
}

/** An assistant's message as items in the order of its parts; neighbouring texts are one message. */
const assistantOut = (content: ReadonlyArray<Part>): ReadonlyArray<Json> => {
  const items: Array<Json> = []
  let said: Array<Json> | undefined
  const say = (part: Json) => {
    if (said === undefined) items.push({ type: "message", role: "assistant", content: said = [] })
    said.push(part)
  }
  for (const part of content) {
    if (part.type === "text") say({ type: "output_text", text: part.text })
    else if (part.type === "refusal") say({ type: "refusal", refusal: part.text })
    else {
      said = undefined
      if (part.type === "reasoning") items.push(...reasoningOut(part))
      else if (part.type === "tool_call") {
        items.push({ type: "function_call", call_id: callId(part.id, callIds), name: part.name, arguments: part.arguments })
      }
    }
  }
  // OpenAI refuses thoughts that led to nothing.
  return items.slice(0, items.findLastIndex(({ type }) => type !== "reasoning") + 1)
}

const messageOut = ({ content, role }: Message): ReadonlyArray<Json> => {
  if (role === "assistant") return assistantOut(content)
  const results = content.filter((part) => part.type === "tool_result")
  const rest = content.filter((part) => part.type !== "tool_result")
  const own = rest.length === 0 && results.length > 0
    ? []
    : [{ type: "message", role: role === "tool" ? "user" : role, content: rest.flatMap(contentOut) }]
  return [
    ...results.map((result) => ({ type: "function_call_output", call_id: callId(result.toolCallId, callIds), output: outputOut(result) })),
    ...own
  ]
}

/** OpenAI takes an absent `strict` for true here, where chat completions take it for false. */
const toolOut = ({ description, name, parameters, strict }: Tool): Json =>
  present({
    type: "function",
    name,
    description,
    parameters: parameters ?? { type: "object", properties: {} },
    strict: strict ?? false
  })

const toolChoiceOut = (choice: ToolChoice | undefined): unknown =>
  typeof choice === "object" ? { type: "function", name: choice.name } : choice

const formatOut = (format: ResponseFormat | undefined): unknown =>
  format?.type === "json_schema"
    ? present({
      type: "json_schema",
      name: format.name,
      description: format.description,
      schema: format.schema,
      strict: format.strict
    })
    : format

const orNothing = (fields: Json): Json | undefined => (Object.keys(fields).length === 0 ? undefined : fields)

const asksToThink = (reasoning: ChatRequest["reasoning"]): boolean =>
  (effortOf(reasoning) ?? "none") !== "none" || reasoning?.thinking === "adaptive"

const includeOut = (call: ProviderCall, given: unknown): ReadonlyArray<unknown> | undefined => {
  const { logprobs, reasoning } = call.request
  const include = new Set<unknown>(Array.isArray(given) ? given : [])
  // Models that don't think refuse to be asked for their thoughts.
  if (asksToThink(reasoning) || thinks(call.upstreamModel)) include.add(encryptedReasoning)
  if (logprobs === true) include.add(logprobsIncluded)
  return include.size === 0 ? undefined : [...include]
}

const bodyOut = (call: ProviderCall, stream: boolean): Json => {
  const { request } = call
  const extra: Json = request.extra?.protocol === protocol ? request.extra.fields : {}
  const tools = toolsOut(request, extra)
  return present({
    ...extra,
    model: call.upstreamModel,
    input: request.messages.flatMap(messageOut),
    max_output_tokens: request.maxTokens,
    temperature: request.temperature,
    top_p: request.topP,
    top_logprobs: request.topLogprobs,
    tools,
    tool_choice: tools === undefined ? undefined : toolChoiceOut(request.toolChoice) ?? extra["tool_choice"],
    parallel_tool_calls: tools === undefined ? undefined : request.parallelToolCalls,
    text: orNothing(present({ ...objectOf(extra["text"]), format: formatOut(request.responseFormat) })),
    reasoning: orNothing(present({
      ...(request.reasoning?.shown === true ? { summary: "auto" } : {}),
      ...objectOf(extra["reasoning"]),
      effort: effortOf(request.reasoning)
    })),
    include: includeOut(call, extra["include"]),
    user: endUser(request.user),
    store: false,
    stream: stream ? true : undefined
  })
}

/** Functions, and the vendor's own tools that the client named. */
const toolsOut = ({ tools }: ChatRequest, extra: Json): ReadonlyArray<Json> | undefined => {
  const all = [...(tools ?? []).map(toolOut), ...listOf(extra["tools"])]
  return all.length === 0 ? undefined : all
}

/**
 * A client's own request. Nothing is stored at OpenAI, since conversations are kept here, so thoughts must come back with the
 * answer.
 */
const rewrite = (call: ProviderCall, body: Json): Json => {
  const { previous_response_id: _, ...rest } = body
  return present({ ...rest, store: false, include: includeOut(call, body["include"]) })
}

/** Fields of the Responses API by their names in chat completions; items are not the client's messages. */
const fieldOf = fieldNames({
  input: "messages",
  instructions: "messages",
  max_output_tokens: "max_tokens",
  text: "response_format",
  reasoning: "reasoning_effort"
})

// --- answer in

const incompleteReasons: { readonly [reason: string]: FinishReason } = {
  max_output_tokens: "length",
  content_filter: "content_filter"
}

const thoughtsOf = (item: Json): string =>
  [...listOf(item["summary"]), ...listOf(item["content"])].map((part) => stringOf(part["text"]) ?? "").join("\n\n")

const signatureOf = (item: Json): { readonly signature?: string } => {
  const encrypted = stringOf(item["encrypted_content"])
  return encrypted === undefined
    ? {}
    : { signature: Signature.marked("openai", Signature.join(stringOf(item["id"]) ?? "", encrypted)) }
}

/** An output item as deltas; those of OpenAI's own tools are none. */
const itemIn = (item: Json, toolIndex: number): ReadonlyArray<Delta> => {
  switch (item["type"]) {
    case "message":
      return listOf(item["content"]).map((part): Delta =>
        part["type"] === "refusal"
          ? { type: "refusal", text: stringOf(part["refusal"]) ?? "" }
          : { type: "text", text: stringOf(part["text"]) ?? "" })
    case "reasoning":
      return [{ type: "reasoning", text: thoughtsOf(item), ...signatureOf(item) }]
    case "function_call":
      return [{
        type: "tool_call",
        index: toolIndex,
        id: stringOf(item["call_id"]) ?? stringOf(item["id"]) ?? `call_${toolIndex}`,
        name: stringOf(item["name"]) ?? "",
        arguments: stringOf(item["arguments"]) ?? ""
      }]
    default:
      return []
  }
}

const usageIn = (value: unknown): ReportedUsage | undefined => {
  if (!isJson(value)) return undefined
  const input = objectOf(value["input_tokens_details"])
  return {
    promptTokens: value["input_tokens"],
    cachedTokens: input["cached_tokens"],
    cacheWriteTokens: input["cache_write_tokens"],
    completionTokens: value["output_tokens"],
    reasoningTokens: objectOf(value["output_tokens_details"])["reasoning_tokens"]
  }
}

const logprobsIn = (items: ReadonlyArray<Json>): unknown => {
  const content = items.flatMap((item) => listOf(item["content"])).flatMap((part) => listOf(part["logprobs"]))
  return content.length === 0 ? undefined : { content, refusal: null }
}

/** An answer of no content that simply ended is no answer (FAULTS.md row 40). */
const finished = (response: Json, content: ReadonlyArray<Part>): Answer => {
  const reason = stringOf(objectOf(response["incomplete_details"])["reason"]) ?? ""
  const incomplete = response["status"] === "incomplete"
  const output = listOf(response["output"])
  return {
    upstreamModel: stringOf(response["model"]),
    upstreamId: stringOf(response["id"]),
    choices: content.length === 0 && output.length === 0 && !incomplete
      ? []
      : [{ content, finishReason: finishOf(incomplete ? incompleteReasons[reason] ?? "other" : "stop", content) }],
    usage: usageIn(response["usage"]),
    logprobs: logprobsIn(output)
  }
}

const answerIn = (call: ProviderCall, body: unknown) => {
  const response = objectOf(body)
  if (isJson(response["error"])) return ofEvent(errors, body)
  if (!Array.isArray(response["output"])) return answered("malformed_response", "The provider's answer has no list of output items")
  if (response["status"] !== "completed" && response["status"] !== "incomplete") {
    return answered("malformed_response", "The provider's answer does not say that it is complete")
  }
  const parts = new Collector()
  let tools = 0
  for (const item of listOf(response["output"])) {
    for (const delta of itemIn(item, tools)) parts.push(delta)
    if (item["type"] === "function_call") tools++
  }
  return completionOf(call, finished(response, parts.parts()))
}

// --- stream in

/** An output item while it comes in. */
interface OpenItem {
  readonly toolIndex: number
  fed: boolean
  part: unknown
}

const reader = (call: ProviderCall) => (): StreamReader => {
  const parts = new Collector()
  const items = new Map<unknown, OpenItem>()
  let tools = 0
  let response: Json = {}

  const emit = (...deltas: ReadonlyArray<Delta>): ReadonlyArray<Delta> => {
    for (const delta of deltas) parts.push(delta)
    return deltas
  }
  const open = (event: Json, item: Json): OpenItem => {
    const known = items.get(event["output_index"])
    const toolIndex = known === undefined && item["type"] === "function_call" ? tools++ : tools
    const made = known ?? { toolIndex, fed: false, part: undefined }
    if (known === undefined) items.set(event["output_index"], made)
    return made
  }
  /** A piece of a text: summaries of one thought are paragraphs. */
  const piece = (event: Json, type: "text" | "refusal" | "reasoning"): ReadonlyArray<Delta> => {
    const text = stringOf(event["delta"])
    if (text === undefined) return []
    const item = open(event, {})
    const part = event["summary_index"] ?? event["content_index"]
    const next = type === "reasoning" && item.fed && item.part !== part
    item.fed = true
    item.part = part
    return emit({ type, text: next ? `\n\n${text}` : text })
  }
  const begin = (event: Json): ReadonlyArray<Delta> => {
    const item = objectOf(event["item"])
    const { toolIndex } = open(event, item)
    return item["type"] === "function_call" ? emit(...itemIn({ ...item, arguments: "" }, toolIndex)) : []
  }
  const toolInput = (event: Json, json: string | undefined): ReadonlyArray<Delta> => {
    const item = items.get(event["output_index"])
    if (item === undefined || json === undefined) return []
    item.fed = true
    return emit({ type: "tool_call", index: item.toolIndex, arguments: json })
  }
  /** What of an item did not come in pieces: all of it, or a thought's signature. */
  const close = (event: Json): ReadonlyArray<Delta> => {
    const item = objectOf(event["item"])
    const started = items.has(event["output_index"])
    const { fed, toolIndex } = open(event, item)
    if (item["type"] === "reasoning" && fed) {
      const { signature } = signatureOf(item)
      return signature === undefined ? [] : emit({ type: "reasoning", text: "", signature })
    }
    if (fed) return []
    return item["type"] === "function_call" && started
      ? toolInput(event, stringOf(item["arguments"]))
      : emit(...itemIn(item, toolIndex))
  }
  const over = (event: Json) => {
    response = { ...response, ...objectOf(event["response"]) }
    const end = endOf(call, finished(response, parts.parts()))
    if ("fault" in end) return end
    const native = call.request.native?.protocol === protocol ? { native: { protocol, body: Buffer.from(JSON.stringify(response)) } } : {}
    return [{ ...end, completion: { ...end.completion, ...native } }]
  }

  return {
    event: ({ data, event: name }) => {
      const event = objectOf(data)
      switch (stringOf(event["type"]) ?? name) {
        case "response.created":
        case "response.in_progress":
          response = objectOf(event["response"])
          return []
        case "response.output_item.added":
          return begin(event)
        case "response.output_text.delta":
          return piece(event, "text")
        case "response.refusal.delta":
          return piece(event, "refusal")
        case "response.reasoning_summary_text.delta":
        case "response.reasoning_text.delta":
          return piece(event, "reasoning")
        case "response.function_call_arguments.delta":
          return toolInput(event, stringOf(event["delta"]))
        case "response.function_call_arguments.done":
          return items.get(event["output_index"])?.fed === true ? [] : toolInput(event, stringOf(event["arguments"]))
        case "response.output_item.done":
          return close(event)
        case "response.completed":
        case "response.incomplete":
          return over(event)
        case "response.failed":
          return ofEvent(errors, objectOf(event["response"]))
        case "error":
          return ofEvent(errors, data)
        default:
          return []
      }
    },
    end: interrupted
  }
}

// --- the protocol

const models: Protocol["models"] = (endpoint, apiKey) =>
  Effect.map(endpoint.json({ path: "/models", apiKey, errors }), (body) =>
    listOf(objectOf(body)["data"]).flatMap((model) => stringOf(model["id"]) ?? []))

export const openAiResponses: Protocol = {
  name: protocol,
  vendor: "OpenAI",
  lacks,
  lacksAt: ({ request, upstreamModel }) => lacksAt(upstreamModel, request),
  fieldOf,
  request: (call, stream, native) => ({ path: "/responses", body: native ?? bodyOut(call, stream), apiKey: call.apiKey, errors }),
  rewrite,
  answerIn,
  reader,
  models
}
