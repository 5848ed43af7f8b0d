/** Anthropic's Messages API (version 2023-06-01). */
import { Effect } from "effect"
import { toCacheControl } from "../../domain/CacheMark.ts"
import type { Delta, FinishReason, Message, Part, Tool } from "../../domain/Chat.ts"
import type { ProviderError } from "../../domain/ProviderError.ts"
import { argumentsOf } from "../../domain/ToolUse.ts"
import type { ReportedUsage } from "../../domain/Usage.ts"
import type { ErrorDialect, Pattern } from "../Faults.ts"
import { answered, ofEvent } from "../Faults.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Feature } from "./Abilities.ts"
import { isForced } from "./Abilities.ts"
import { contentOut, conversationOut, turnOut, withMarks } from "./AnthropicConversation.ts"
import { effortOut, thinkingOut } from "./AnthropicThinking.ts"
import type { ClaudeModel } from "./ClaudeModel.ts"
import { claudeModel } from "./ClaudeModel.ts"
import { closed } from "./ClosedSchema.ts"
import { Collector, completionOf, endOf, finishOf, interrupted } from "./Collector.ts"
import type { Json } from "./Json.ts"
import { isJson, listOf, numberOf, objectOf, present, stringOf } from "./Json.ts"
import type { Protocol } from "./Protocol.ts"

// --- wire types

/** The client protocol whose extra fields this one takes. */
const protocol = "anthropic-messages"

const headers = { "anthropic-version": "2023-06-01" }

const lacks: ReadonlyArray<Feature> = [
  "seed",
  "choices",
  "logprobs",
  "frequency_penalty",
  "presence_penalty",
  "json_object",
  "names",
  "audio",
  "temperature_above_1",
  "blank_stops"
]

// --- request out

/** Anthropic wants to be told that an input is an object, as it is for everyone. */
const inputSchema = (parameters: unknown): unknown =>
  isJson(parameters) ? { type: "object", ...parameters } : parameters ?? { type: "object", properties: {} }

const toolOut = ({ cacheControl, description, name, parameters, strict }: Tool): Json =>
  present({
    name,
    description,
    input_schema: inputSchema(parameters),
    strict,
    cache_control: toCacheControl(cacheControl)
  })

/** Anthropic wants to know the tools of a conversation that has calls, also where none may be called any more. */
const calledTools = (messages: ReadonlyArray<Message>): ReadonlyArray<Tool> => {
  const names = messages.flatMap(({ content }) => content.flatMap((part) => (part.type === "tool_call" ? [part.name] : [])))
  return [...new Set(names)].map((name) => ({ name }))
}

const toolsOut = ({ messages, tools = [] }: ProviderCall["request"]): Json => {
  if (tools.length > 0) return { tools: tools.map(toolOut) }
  const called = calledTools(messages)
  return called.length === 0 ? {} : { tools: called.map(toolOut), tool_choice: { type: "none" } }
}

const toolChoiceOut = ({ parallelToolCalls, toolChoice, tools }: ProviderCall["request"]): unknown => {
  const serial = parallelToolCalls === false ? true : undefined
  if (tools === undefined || tools.length === 0) return undefined
  if (toolChoice === "none") return { type: "none" }
  if (toolChoice === undefined) return serial && { type: "auto", disable_parallel_tool_use: true }
  const choice = typeof toolChoice === "object"
    ? { type: "tool", name: toolChoice.name }
    : { type: toolChoice === "required" ? "any" : "auto" }
  return present({ ...choice, disable_parallel_tool_use: serial })
}

/** The form of the answer, and its effort. */
const outputOut = ({ reasoning, responseFormat }: ProviderCall["request"], model: ClaudeModel): unknown => {
  const fields = present({
    effort: effortOut(reasoning, model),
    format: responseFormat?.type === "json_schema" ? { type: "json_schema", schema: closed(responseFormat.schema) } : undefined
  })
  return Object.keys(fields).length === 0 ? undefined : fields
}

const bodyOut = (call: ProviderCall, stream: boolean): Json => {
  const { request } = call
  const maxTokens = request.maxTokens ?? call.maxOutputTokens
  const model = claudeModel(call.upstreamModel)
  const { system, turns } = withMarks(conversationOut(request.messages, model.systemTurns), request)
  return present({
    ...(request.extra?.protocol === protocol ? request.extra.fields : {}),
    model: call.upstreamModel,
    max_tokens: maxTokens,
    system: system.length === 0 ? undefined : contentOut(system),
    messages: turns.map(turnOut),
    temperature: request.temperature,
    top_p: request.topP,
    top_k: request.topK,
    stop_sequences: request.stop,
    tool_choice: toolChoiceOut(request),
    ...toolsOut(request),
    thinking: thinkingOut(request.reasoning, maxTokens, model),
    output_config: outputOut(request, model),
    metadata: request.user === undefined ? undefined : { user_id: request.user },
    stream: stream ? true : undefined
  })
}

/** What single models refuse (`ClaudeModel.ts`), and what none takes beside thinking. */
const lacksAt = (call: ProviderCall): ReadonlyArray<Feature> => {
  const { request } = call
  const model = claudeModel(call.upstreamModel)
  const thinks = objectOf(thinkingOut(request.reasoning, request.maxTokens ?? call.maxOutputTokens, model))
  const on = thinks["type"] === "enabled" || thinks["type"] === "adaptive"
  const forced = isForced(request)
  return [
    ...(model.sampling === "none" || (on && !forced) ? ["temperature", "top_k"] as const : []),
    ...(model.sampling === "none" || (on && !forced) || (model.sampling === "one" && request.temperature !== undefined) ? ["top_p"] as const : []),
    ...(model.forcedTools ? [] : ["forced_tools"] as const),
    ...(on && forced && model.forcedTools ? ["reasoning", "thinking"] as const : [])
  ]
}

/** Fields of the Messages API by their names in chat completions; places in messages are not the client's. */
const fieldOf = (param: string): string => {
  const [head = "", second = ""] = param.split(/[.[]/)
  switch (head) {
    case "system":
    case "messages":
      return "messages"
    case "stop_sequences":
      return "stop"
    case "thinking":
      return "reasoning_effort"
    case "output_config":
      return second === "format" ? "response_format" : "reasoning_effort"
    case "metadata":
      return "user"
    case "tools":
      return /^\d+$/.test(second) ? `tools[${second}]` : "tools"
    default:
      return head
  }
}

const rewrite: NonNullable<Protocol["rewrite"]> = ({ maxOutputTokens }, body) => ({ ...body, max_tokens: body["max_tokens"] ?? maxOutputTokens })

// --- answer in

const finishReasons: { readonly [reason: string]: FinishReason } = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  model_context_window_exceeded: "length",
  tool_use: "tool_calls",
  refusal: "refusal"
}

/** What a block is when it comes whole, or begins. Blocks of Anthropic's own server tools are left out. */
const blockIn = (block: Json, toolIndex: number): Delta | undefined => {
  switch (block["type"]) {
    case "text":
      return { type: "text", text: stringOf(block["text"]) ?? "" }
    case "thinking": {
      const signature = stringOf(block["signature"])
      return { type: "reasoning", text: stringOf(block["thinking"]) ?? "", ...(signature === undefined ? {} : { signature }) }
    }
    case "redacted_thinking":
      return { type: "reasoning", text: "", redacted: stringOf(block["data"]) ?? "" }
    case "tool_use":
      return {
        type: "tool_call",
        index: toolIndex,
        id: stringOf(block["id"]) ?? `toolu_${toolIndex}`,
        name: stringOf(block["name"]) ?? "",
        arguments: argumentsOf(block["input"])
      }
    default:
      return undefined
  }
}

/** Anthropic counts prompt tokens that a cache took or gave apart from the rest. */
const usageIn = (usage: Json): ReportedUsage => {
  const input = numberOf(usage["input_tokens"])
  const cached = numberOf(usage["cache_read_input_tokens"]) ?? 0
  const written = numberOf(usage["cache_creation_input_tokens"]) ?? 0
  return {
    promptTokens: input === undefined || input < 0 ? undefined : input + Math.max(0, cached) + Math.max(0, written),
    cachedTokens: cached,
    cacheWriteTokens: written,
    completionTokens: usage["output_tokens"],
    reasoningTokens: objectOf(usage["output_tokens_details"])["thinking_tokens"]
  }
}

/** An answer of no blocks that simply ended is no answer (FAULTS.md row 40). `end`: what has `stop_reason` and `stop_sequence`. */
const finished = (message: Json, end: Json, usage: Json, content: ReadonlyArray<Part>) => {
  const reason = stringOf(end["stop_reason"]) ?? ""
  const stopSequence = stringOf(end["stop_sequence"])
  return {
    upstreamModel: stringOf(message["model"]),
    upstreamId: stringOf(message["id"]),
    choices: content.length === 0 && (reason === "end_turn" || reason === "") ? [] : [{
      content,
      finishReason: finishOf(finishReasons[reason] ?? "other", content),
      ...(stopSequence === undefined ? {} : { stopSequence })
    }],
    usage: usageIn(usage)
  }
}

const answerIn = (call: ProviderCall, body: unknown) => {
  const message = objectOf(body)
  if (!Array.isArray(message["content"])) {
    return isJson(message["error"]) ? ofEvent(errors, body) : answered("malformed_response", "The provider's answer has no content blocks")
  }
  const parts = new Collector()
  let tools = 0
  for (const block of listOf(message["content"])) {
    const delta = blockIn(block, tools)
    if (delta?.type === "tool_call") tools++
    if (delta !== undefined) parts.push(delta)
  }
  const content = parts.parts()
  if (content.length > 0 && stringOf(message["stop_reason"]) === undefined) {
    return answered("malformed_response", "The provider's answer does not say why it ended")
  }
  return completionOf(call, finished(message, message, objectOf(message["usage"]), content))
}

// --- stream in

/** A tool's block while its input comes in. */
interface OpenTool {
  readonly index: number
  readonly input: string
  fed: boolean
}

const deltaIn = (delta: Json): Delta | undefined => {
  switch (delta["type"]) {
    case "text_delta":
      return { type: "text", text: stringOf(delta["text"]) ?? "" }
    case "thinking_delta":
      return { type: "reasoning", text: stringOf(delta["thinking"]) ?? "" }
    case "signature_delta": {
      const signature = stringOf(delta["signature"])
      return signature === undefined ? undefined : { type: "reasoning", text: "", signature }
    }
    default:
      return undefined
  }
}

const isEmpty = (delta: Delta): boolean =>
  delta.type === "text"
    ? delta.text === ""
    : delta.type === "reasoning" && delta.text === "" && delta.signature === undefined && delta.redacted === undefined

const reader = (call: ProviderCall) => (): StreamReader => {
  const parts = new Collector()
  const tools = new Map<unknown, OpenTool>()
  let message: Json = {}
  let usage: Json = {}
  let stop: Json = {}

  const emit = (delta: Delta | undefined): ReadonlyArray<Delta> => {
    if (delta === undefined || isEmpty(delta)) return []
    parts.push(delta)
    return [delta]
  }

  const blockStart = (event: Json): ReadonlyArray<Delta> => {
    const at = event["index"]
    const delta = blockIn(objectOf(event["content_block"]), tools.size)
    if (delta?.type !== "tool_call") return emit(delta)
    if (tools.has(at)) return []
    tools.set(at, { index: tools.size, input: delta.arguments, fed: false })
    return emit({ ...delta, arguments: "" })
  }
  const inputDelta = (tool: OpenTool | undefined, json: string | undefined): ReadonlyArray<Delta> => {
    if (tool === undefined || json === undefined) return []
    tool.fed = true
    return emit({ type: "tool_call", index: tool.index, arguments: json })
  }
  const over = () => endOf(call, finished(message, stop, usage, parts.parts()))

  return {
    event: ({ data }) => {
      const event = objectOf(data)
      switch (event["type"]) {
        case "message_start":
          message = objectOf(event["message"])
          usage = objectOf(message["usage"])
          return []
        case "content_block_start":
          return blockStart(event)
        case "content_block_delta": {
          const delta = objectOf(event["delta"])
          return delta["type"] === "input_json_delta"
            ? inputDelta(tools.get(event["index"]), stringOf(delta["partial_json"]))
            : emit(deltaIn(delta))
        }
        // A tool without arguments sends no input: the block's own stands.
        case "content_block_stop": {
          const tool = tools.get(event["index"])
          return tool === undefined || tool.fed ? [] : inputDelta(tool, tool.input)
        }
        case "message_delta":
          stop = { ...stop, ...present(objectOf(event["delta"])) }
          usage = { ...usage, ...present(objectOf(event["usage"])) }
          return []
        case "message_stop": {
          const end = over()
          return "fault" in end ? end : [end]
        }
        case "error":
          return ofEvent(errors, data)
        default:
          return []
      }
    },
    end: (): ReturnType<StreamReader["end"]> => (stringOf(stop["stop_reason"]) === undefined ? interrupted() : over())
  }
}

// --- errors in

const patterns: ReadonlyArray<Pattern> = [
  {
    fault: "context_overflow",
    message: /prompt is too long|exceeds? the (maximum )?context|context (window|limit).*exceed|input length and `?max_tokens`? exceed/i
  },
  { fault: "quota_exhausted", message: /credit balance is too low|usage limits?.*(reached|exceeded)|reached your specified API usage limits/i },
  { fault: "quota_exhausted", code: /^billing_error$/ },
  { fault: "content_filter", message: /blocked by content filtering/i },
  { fault: "permission", message: /organization has been disabled/i },
  { fault: "model_not_found", status: [400], message: /^model: /i },
  { fault: "authentication", code: /^authentication_error$/ },
  { fault: "overloaded", code: /^overloaded_error$/ },
  { fault: "rate_limited", code: /^rate_limit_error$/ }
]

/** A message begins with its field, with a colon behind it or in quotes. */
const namedFirst = /^(?:([a-z_]+(?:\.\w+)*): |[`"]([a-z_]+(?:\.\w+)*)[`"])/

/** `{"type": "error", "error": {"type", "message"}}` */
const readError: ErrorDialect["read"] = (body) => {
  const error = objectOf(body)["error"]
  if (!isJson(error)) return undefined
  const message = stringOf(error["message"])
  const [, before, quoted] = namedFirst.exec(message ?? "") ?? []
  return { message, type: stringOf(error["type"]), code: stringOf(error["type"]), param: before ?? quoted }
}

const errors: ErrorDialect = { read: readError, patterns }

// --- the protocol

/** Pages of models that are read at most. */
const mostPages = 20

const models: Protocol["models"] = (endpoint, apiKey) =>
  Effect.gen(function*(): Effect.fn.Return<ReadonlyArray<string>, ProviderError> {
    const names: Array<string> = []
    let after = ""
    for (let page = 0; page < mostPages; page++) {
      const answer = objectOf(yield* endpoint.json({ path: `/v1/models?limit=1000${after}`, headers, apiKey, errors }))
      names.push(...listOf(answer["data"]).flatMap((model) => stringOf(model["id"]) ?? []))
      const last = stringOf(answer["last_id"])
      if (answer["has_more"] !== true || last === undefined) break
      after = `&after_id=${encodeURIComponent(last)}`
    }
    return names
  })

export const anthropicMessages: Protocol = {
  name: protocol,
  vendor: "Anthropic",
  lacks,
  lacksAt,
  fieldOf,
  request: (call, stream, native) => ({
    path: "/v1/messages",
    headers: native === undefined ? headers : { ...headers, ...call.request.native?.headers },
    body: native ?? bodyOut(call, stream),
    apiKey: call.apiKey,
    errors
  }),
  rewrite,
  answerIn,
  reader,
  models
}
