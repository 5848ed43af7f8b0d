/** Anthropic's Messages API (version 2023-06-01). */
import { Effect } from "effect"
import { isBreakpoint, toCacheControl } from "../../domain/CacheMark.ts"
import type { Delta, FinishReason, Message, Part, Source, Tool, ToolResultPart } from "../../domain/Chat.ts"
import type { ProviderError } from "../../domain/ProviderError.ts"
import { isMarked } from "../../domain/Signature.ts"
import { argumentsOf, inputOf, toolUseId } from "../../domain/ToolUse.ts"
import type { ReportedUsage } from "../../domain/Usage.ts"
import type { ErrorDialect, Pattern } from "../Faults.ts"
import { answered, ofEvent } from "../Faults.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Feature } from "./Abilities.ts"
import { budgetOf, effortOf, isForced } from "./Abilities.ts"
import type { ClaudeModel } from "./ClaudeModel.ts"
import { claudeModel } from "./ClaudeModel.ts"
import { closed } from "./ClosedSchema.ts"
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
  "audio",
  "temperature_above_1",
  "blank_stops"
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
    ...markOut(part)
  })

const isBlank = (words: string): boolean => words.trim() === ""

const markOut = (part: { readonly cacheControl?: unknown }): Json => ({ cache_control: toCacheControl(part.cacheControl) })

/** A part as a content block; blank texts, which Anthropic refuses, and other vendors' thoughts are none. */
const blockOut = (part: Part): ReadonlyArray<Json> => {
  switch (part.type) {
    case "text":
      return isBlank(part.text) ? [] : [present({ type: "text", text: part.text, ...markOut(part) })]
    case "refusal":
      return isBlank(part.text) ? [] : [{ type: "text", text: part.text }]
    case "image":
      return [present({ type: "image", source: sourceOut(part.source), ...markOut(part) })]
    case "file":
      return [present({ type: "document", source: documentSource(part.source), title: part.filename, ...markOut(part) })]
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
        ...markOut(part)
      })]
    case "tool_result":
      return [resultOut(part)]
    case "audio":
      return []
  }
}

const isSystem = ({ role }: Message): boolean => role === "system" || role === "developer"

/** One plain text is a string. */
const contentOut = (blocks: ReadonlyArray<Json>): unknown => {
  const [only] = blocks
  return blocks.length === 1 && only?.["type"] === "text" && !("cache_control" in only) ? only["text"] : blocks
}

interface Turn {
  readonly role: "user" | "assistant" | "system"
  readonly content: Array<Json>
}

/** A conversation in Anthropic's form. */
interface Conversation {
  readonly system: ReadonlyArray<Json>
  readonly turns: ReadonlyArray<Turn>
}

/**
 * Turns alternate: neighbours of one role are one. Instructions in the middle stay near their place where the model takes them
 * there, behind the user's turn that they stand at; all others go to the top.
 */
const conversationOut = (messages: ReadonlyArray<Message>, systemTurns: boolean): Conversation => {
  const system: Array<Json> = []
  const turns: Array<Turn> = []
  let waiting: ReadonlyArray<Json> = []
  const place = (to: ReadonlyArray<Json>, from = turns.at(-1)) => {
    if (waiting.length > 0 && from?.role === "user") turns.push({ role: "system", content: [...to] })
    else system.push(...to)
    waiting = []
  }
  for (const message of messages) {
    const blocks = message.content.flatMap(blockOut)
    if (isSystem(message)) {
      if (systemTurns && turns.length > 0) waiting = [...waiting, ...blocks]
      else system.push(...blocks)
      continue
    }
    if (blocks.length === 0) continue
    const role = message.role === "assistant" ? "assistant" : "user"
    if (role === "assistant") place(waiting)
    const last = turns.at(-1)
    if (last?.role === role) last.content.push(...blocks)
    else turns.push({ role, content: blocks })
  }
  place(waiting)
  // Instructions alone are a question here too.
  return turns.length === 0 ? { system: [], turns: system.length === 0 ? [] : [{ role: "user", content: system }] } : { system, turns }
}

const rank = (block: Json) => (block["type"] === "tool_result" ? 0 : 1)

/** Results of tools come first in their turn; an answer that is begun for the model does not end in a blank. */
const turnOut = ({ content, role }: Turn, at: number, turns: ReadonlyArray<Turn>): Json => {
  const last = content.at(-1)
  const begun = at === turns.length - 1 && role === "assistant" && typeof last?.["text"] === "string"
  const blocks = begun ? [...content.slice(0, -1), { ...last, text: String(last["text"]).trimEnd() }] : content
  return { role, content: contentOut(blocks.toSorted((a, b) => rank(a) - rank(b))) }
}

/** As many blocks may be marked for the cache. */
const mostMarks = 4

/** OpenAI takes any number of its marks and heeds the latest; here the earliest go. */
const withMarks = ({ system, turns }: Conversation, { messages, tools = [] }: ProviderCall["request"]): Conversation => {
  const translated = messages.some(({ content }) => content.some((part) => "cacheControl" in part && isBreakpoint(part.cacheControl)))
  if (!translated) return { system, turns }
  let over = tools.filter(({ cacheControl }) => cacheControl !== undefined).length - mostMarks
  for (const blocks of [system, ...turns.map(({ content }) => content)]) over += blocks.filter((block) => "cache_control" in block).length
  if (over <= 0) return { system, turns }
  const less = (blocks: ReadonlyArray<Json>): Array<Json> =>
    blocks.map(({ cache_control: mark, ...block }) => (mark === undefined || over-- > 0 ? block : { ...block, cache_control: mark }))
  return { system: less(system), turns: turns.map(({ content, role }) => ({ role, content: less(content) })) }
}

// --- tools

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

// --- thinking

type Reasoning = ProviderCall["request"]["reasoning"]

/** Whether thoughts are in the answer: who asks in another protocol's words expects them. */
const displayOf = (reasoning: Reasoning, { quiet }: ClaudeModel): Json => {
  const shown = reasoning?.shown ?? (quiet && reasoning?.thinking === undefined ? true : undefined)
  return shown === undefined ? {} : { display: shown ? "summarized" : "omitted" }
}

/** What of the output limit an effort may spend on thinking: a quarter is left for the answer. */
const shareOf = (maxTokens: number): number => Math.min(Math.max(leastBudget, Math.floor(maxTokens * 0.75)), maxTokens - 1)

/** An effort is cut to its share of the output limit; a budget goes out as it was asked for. */
const budgetedOut = (reasoning: Reasoning, maxTokens: number, model: ClaudeModel): unknown => {
  const asked = budgetOf(reasoning)
  if (asked === undefined) return undefined
  const budget = reasoning?.budgetTokens ?? Math.min(asked, shareOf(maxTokens))
  return budget < leastBudget && reasoning?.budgetTokens === undefined
    ? undefined
    : { type: "enabled", budget_tokens: budget, ...displayOf(reasoning, model) }
}

/** `none`, where the model thinks by itself. */
const offOut = ({ off }: ClaudeModel): unknown => (off === "disabled" || off === "between_tools" ? { type: off } : undefined)

const thinkingOut = (reasoning: Reasoning, maxTokens: number, model: ClaudeModel): unknown => {
  switch (reasoning?.thinking) {
    case "unset":
      return undefined
    case "disabled":
      return { type: "disabled" }
    case "adaptive":
      return model.thinking === "budget" && model.known
        ? budgetedOut({ effort: "medium", ...reasoning }, maxTokens, model)
        : { type: "adaptive", ...displayOf(reasoning, model) }
    default:
      if (reasoning?.effort === "none") return offOut(model)
      if (model.thinking === "budget") return budgetedOut(reasoning, maxTokens, model)
      // Without an effort the model thinks as it does by itself.
      return effortOf(reasoning) === undefined && (reasoning?.shown !== true || model.off === "absent")
        ? undefined
        : { type: "adaptive", ...displayOf(reasoning, model) }
  }
}

/** An effort in Anthropic's words; one that the model does not know is the next lower. */
const effortName = (effort: string, { efforts }: ClaudeModel): string =>
  effort === "minimal" || effort === "none" ? "low" : (effort === "xhigh" || effort === "max") && !efforts.has(effort) ? "high" : effort

/** The effort as it was asked for apart from thinking; else as the measure of a model that has no budgets. */
const effortOut = (reasoning: Reasoning, model: ClaudeModel): string | undefined => {
  if (reasoning?.thinking !== undefined) return model.thinking === "budget" && reasoning.thinking === "adaptive" && model.known ? undefined : reasoning.effort
  if (model.thinking === "budget") return reasoning?.budgetTokens === undefined ? undefined : reasoning.effort
  const effort = effortOf(reasoning)
  return effort === undefined || (effort === "none" && model.off !== "never") ? undefined : effortName(effort, model)
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
  const parts = collector()
  let tools = 0
  for (const block of listOf(message["content"])) {
    const delta = blockIn(block, tools)
    if (delta?.type === "tool_call") tools++
    if (delta !== undefined) parts.push(delta)
  }
  return completionOf(call, finished(message, message, objectOf(message["usage"]), parts.parts()))
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
