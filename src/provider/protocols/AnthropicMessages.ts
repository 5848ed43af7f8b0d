/** Anthropic's Messages API (version 2023-06-01). */
import { Effect } from "effect"
import type { Delta, FinishReason, Message, Part, Source, ToolResultPart } from "../../domain/Chat.ts"
import type { ProviderError } from "../../domain/ProviderError.ts"
import { isMarked } from "../../domain/Signature.ts"
import { argumentsOf, inputOf, toolUseId } from "../../domain/ToolUse.ts"
import type { ReportedUsage } from "../../domain/Usage.ts"
import type { ErrorDialect, Pattern } from "../Faults.ts"
import { answered, ofEvent } from "../Faults.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Feature } from "./Abilities.ts"
import { budgetOf } from "./Abilities.ts"
import { collector, completionOf, endOf, finishOf, interrupted } from "./Collector.ts"
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
  "audio"
]

/** The least that Anthropic takes as a thinking budget, in tokens. */
const leastBudget = 1024

// --- request out

const sourceOut = (source: Source): Json =>
  source.type === "url" ? { type: "url", url: source.url } : { type: "base64", media_type: source.mediaType, data: source.data }

/** Text files go as text; PDF and the rest as base64. */
const documentSource = (source: Source): Json =>
  source.type === "data" && source.mediaType.startsWith("text/")
    ? { type: "text", media_type: "text/plain", data: Buffer.from(source.data, "base64").toString("utf8") }
    : sourceOut(source)

const resultOut = (part: ToolResultPart): Json =>
  present({
    type: "tool_result",
    tool_use_id: toolUseId(part.toolCallId),
    content: part.content.flatMap(blockOut),
    is_error: part.isError,
    cache_control: part.cacheControl
  })

/** A part as a content block; empty texts, which Anthropic refuses, and other vendors' thoughts are none. */
const blockOut = (part: Part): ReadonlyArray<Json> => {
  switch (part.type) {
    case "text":
      return part.text === "" ? [] : [present({ type: "text", text: part.text, cache_control: part.cacheControl })]
    case "refusal":
      return part.text === "" ? [] : [{ type: "text", text: part.text }]
    case "image":
      return [present({ type: "image", source: sourceOut(part.source), cache_control: part.cacheControl })]
    case "file":
      return [present({ type: "document", source: documentSource(part.source), title: part.filename, cache_control: part.cacheControl })]
    case "reasoning":
      if (part.redacted !== undefined) return [{ type: "redacted_thinking", data: part.redacted }]
      return part.signature === undefined || isMarked(part.signature)
        ? []
        : [{ type: "thinking", thinking: part.text, signature: part.signature }]
    case "tool_call":
      return [present({
        type: "tool_use",
        id: toolUseId(part.id),
        name: part.name,
        input: inputOf(part.arguments),
        cache_control: part.cacheControl
      })]
    case "tool_result":
      return [resultOut(part)]
    case "audio":
      return []
  }
}

const isSystem = ({ role }: Message): boolean => role === "system" || role === "developer"

/** All system messages, in order, as blocks; one plain text as a string. */
const systemOut = (messages: ReadonlyArray<Message>): unknown => {
  const blocks = messages.filter(isSystem).flatMap(({ content }) => content.flatMap(blockOut))
  const [only] = blocks
  return only === undefined ? undefined : blocks.length === 1 && !("cache_control" in only) ? only["text"] : blocks
}

/** Turns alternate: neighbours of one role are one message, and tool results come first in it. */
const messagesOut = (messages: ReadonlyArray<Message>): ReadonlyArray<Json> => {
  const turns: Array<{ readonly role: string; readonly content: Array<Json> }> = []
  for (const message of messages) {
    if (isSystem(message)) continue
    const role = message.role === "assistant" ? "assistant" : "user"
    const blocks = message.content.flatMap(blockOut)
    const last = turns.at(-1)
    if (last?.role === role) last.content.push(...blocks)
    else turns.push({ role, content: blocks })
  }
  const rank = (block: Json) => (block["type"] === "tool_result" ? 0 : 1)
  return turns.filter(({ content }) => content.length > 0).map(({ content, role }) => {
    const [only] = content
    const plain = content.length === 1 && only?.["type"] === "text" && !("cache_control" in only)
    return { role, content: plain ? only["text"] : content.toSorted((a, b) => rank(a) - rank(b)) }
  })
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

type Reasoning = ProviderCall["request"]["reasoning"]

/** An effort is cut to what the output limit leaves; a budget goes out as it was asked for. */
const thinkingOut = (reasoning: Reasoning, maxTokens: number): unknown => {
  if (reasoning?.thinking !== undefined) return reasoning.thinking === "unset" ? undefined : { type: reasoning.thinking }
  const asked = budgetOf(reasoning)
  if (asked === undefined) return undefined
  const budget = reasoning?.budgetTokens ?? Math.min(asked, maxTokens - 1)
  return budget < leastBudget && reasoning?.budgetTokens === undefined ? undefined : { type: "enabled", budget_tokens: budget }
}

/** The form of the answer, and its effort where thinking is asked for apart from that. */
const outputOut = ({ reasoning, responseFormat }: ProviderCall["request"]): unknown => {
  const apart = reasoning?.thinking !== undefined || reasoning?.budgetTokens !== undefined
  const fields = present({
    effort: apart ? reasoning?.effort : undefined,
    format: responseFormat?.type === "json_schema" ? { type: "json_schema", schema: responseFormat.schema } : undefined
  })
  return Object.keys(fields).length === 0 ? undefined : fields
}

const bodyOut = (call: ProviderCall, stream: boolean): Json => {
  const { request } = call
  const maxTokens = request.maxTokens ?? call.maxOutputTokens
  return present({
    ...(request.extra?.protocol === protocol ? request.extra.fields : {}),
    model: call.upstreamModel,
    max_tokens: maxTokens,
    system: systemOut(request.messages),
    messages: messagesOut(request.messages),
    temperature: request.temperature,
    top_p: request.topP,
    top_k: request.topK,
    stop_sequences: request.stop,
    tools: request.tools?.map(({ cacheControl, description, name, parameters, strict }) =>
      present({ name, description, input_schema: parameters ?? { type: "object", properties: {} }, strict, cache_control: cacheControl })
    ),
    tool_choice: toolChoiceOut(request),
    thinking: thinkingOut(request.reasoning, maxTokens),
    output_config: outputOut(request),
    metadata: request.user === undefined ? undefined : { user_id: request.user },
    stream: stream ? true : undefined
  })
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
  const parts = collector()
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
  const parts = collector()
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

/** `{"type": "error", "error": {"type", "message"}}`; the field is what stands before the first colon. */
const readError: ErrorDialect["read"] = (body) => {
  const error = objectOf(body)["error"]
  if (!isJson(error)) return undefined
  const message = stringOf(error["message"])
  return { message, type: stringOf(error["type"]), code: stringOf(error["type"]), param: /^([a-z_]+(\.[\w]+)*): /.exec(message ?? "")?.[1] }
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
