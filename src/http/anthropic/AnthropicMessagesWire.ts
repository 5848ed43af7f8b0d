/** Anthropic's Messages API as a door: its requests raised to the canonical form, and the door that it makes with its answers. */
import { Result, Schema } from "effect"
import type { ChatRequest, Message, Part, Tool } from "../../domain/Chat.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { isMarked } from "../../domain/Signature.ts"
import { isStrict } from "../../domain/StrictSchema.ts"
import { answer } from "./AnthropicMessagesAnswer.ts"
import type * as Api from "./AnthropicMessagesApi.ts"
import { CountTokensRequest, MessagesRequest } from "./AnthropicMessagesApi.ts"
import type { Unraised } from "./AnthropicMessagesBlocks.ts"
import { cacheMark, contentOf, partOf, refuse, resultPartOf, stringAt } from "./AnthropicMessagesBlocks.ts"
import { encoder, hasContent } from "./AnthropicMessagesStream.ts"
import type { HeaderView } from "../Credentials.ts"
import type { Door, DoorCall, Json } from "../Door.ts"
import { defined, isRecord } from "../Json.ts"
import { invalidRequest } from "../Route.ts"

const protocol = "anthropic-messages"

// --- request in

/** Fields that change no answer's content: they go to providers that speak this protocol, and nobody misses them elsewhere. */
const hints: ReadonlySet<string> = new Set([
  "cache_control",
  "diagnostics",
  "service_tier",
  "speed",
  "user_profile_id",
  "workspace_id"
])
const toolHints: ReadonlySet<string> = new Set(["allowed_callers", "cache_control", "defer_loading", "eager_input_streaming"])

const ownFields: ReadonlySet<string> = new Set(["output_format", ...Object.keys(MessagesRequest.fields)])
const toolFields: ReadonlySet<string> = new Set(["name", "type", "description", "input_schema", "strict", ...toolHints])

const messageOf = ({ content, role }: Api.Message, at: string, unraised: Unraised): Message => ({
  role,
  content: contentOf(content, `${at}.content`, (block, at) => partOf(block, at, unraised))
})

const systemOf = (system: unknown, unraised: Unraised): ReadonlyArray<Message> => {
  if (system === undefined || system === null) return []
  const content = contentOf(system, "system", (block, at) => resultPartOf(block, at, unraised))
    .filter((part) => part.type !== "text" || part.text !== "")
  return content.length === 0 ? [] : [{ role: "system", content }]
}

/** The client's own tools. Anthropic's (web search, bash, …) have a type, and no place here. */
const toolOf = (tool: Api.Tool, at: string, unraised: Unraised): ReadonlyArray<Tool> => {
  if (typeof tool.type === "string" && tool.type !== "custom") {
    unraised.push(at)
    return []
  }
  for (const name of Object.keys(tool)) {
    if (!toolFields.has(name) && tool[name] !== null) unraised.push(`${at}.${name}`)
  }
  return [{
    name: stringAt(tool, "name", at),
    ...defined("description", tool.description),
    ...defined("parameters", tool.input_schema),
    ...defined("strict", tool.strict),
    ...cacheMark(tool)
  }]
}

const toolChoiceOf = (choice: Api.CountTokensRequest["tool_choice"]): Pick<ChatRequest, "toolChoice" | "parallelToolCalls"> => {
  if (choice === undefined || choice === null) return {}
  const { disable_parallel_tool_use: serial, name, type } = choice
  return {
    toolChoice: type === "tool" ? { name: name ?? refuse("tool_choice.name", "must be there") } : type === "any" ? "required" : type,
    ...(serial === true ? { parallelToolCalls: false } : {})
  }
}

const shownOf = (display: unknown): { readonly shown?: boolean } =>
  display === "summarized" || display === "omitted" ? { shown: display === "summarized" } : {}

/** Thinking, and the effort, which Anthropic asks for apart from each other. */
const reasoningOf = ({ output_config, thinking }: Api.CountTokensRequest, unraised: Unraised): Pick<ChatRequest, "reasoning"> => {
  const effort = { ...defined("effort", output_config?.effort), ...shownOf(thinking?.["display"]) }
  switch (thinking?.type) {
    case undefined:
      return "effort" in effort ? { reasoning: { ...effort, thinking: "unset" } } : {}
    case "enabled":
      return { reasoning: { ...effort, budgetTokens: thinking?.budget_tokens ?? refuse("thinking.budget_tokens", "must be there") } }
    case "adaptive":
    case "disabled":
      return { reasoning: { ...effort, thinking: thinking?.type } }
    default:
      unraised.push("thinking")
      return {}
  }
}

/** Structured output has no name here; other vendors want one. */
const formatName = "answer"

const formatOf = (wire: Api.CountTokensRequest, body: Json, unraised: Unraised): Pick<ChatRequest, "responseFormat"> => {
  for (const name of Object.keys(wire.output_config ?? {})) {
    if (name !== "effort" && name !== "format") unraised.push(`output_config.${name}`)
  }
  // The name that the field had while it was in beta.
  const early = body["output_format"]
  const schema = wire.output_config?.format?.schema ?? (isRecord(early) ? early["schema"] : undefined)
  if (schema === undefined) return {}
  // Anthropic holds to every schema; others want to be asked for it, where they can.
  return { responseFormat: { type: "json_schema", name: formatName, schema, ...(isStrict(schema) ? { strict: true } : {}) } }
}

/** A last message of the assistant's that speaks is the beginning of the answer. */
const prefillOf = (messages: ReadonlyArray<Message>): Pick<ChatRequest, "prefill"> => {
  const last = messages.at(-1)
  const part = last?.content.at(-1)
  return last?.role === "assistant" && part?.type === "text" && part.text !== "" ? { prefill: true } : {}
}

const promptOf = (wire: Api.CountTokensRequest, body: Json, unraised: Unraised): ChatRequest => {
  const tools = wire.tools?.flatMap((tool, i) => toolOf(tool, `tools[${i}]`, unraised)) ?? []
  const choice = toolChoiceOf(wire.tool_choice)
  const messages = wire.messages.map((message, i) => messageOf(message, `messages[${i}]`, unraised))
  const system = systemOf(wire.system, unraised)
  return {
    messages: [...system, ...messages],
    ...(system.length === 0 ? {} : { unnumbered: system.length }),
    ...prefillOf(messages),
    ...(tools.length === 0 ? {} : { tools, ...choice }),
    ...reasoningOf(wire, unraised),
    ...formatOf(wire, body, unraised)
  }
}

/** Thoughts that are to be forgotten are not sent to other vendors anyway; coding agents ask for that with every request. */
const forgetsThoughts = (management: unknown): boolean =>
  isRecord(management) && Array.isArray(management["edits"])
  && management["edits"].every((edit: unknown) => isRecord(edit) && String(edit["type"]).startsWith("clear_thinking_"))

const isHint = (name: string, value: unknown): boolean => hints.has(name) || (name === "context_management" && forgetsThoughts(value))

const extraOf = (body: Json): Pick<ChatRequest, "extra"> => {
  const fields = Object.entries(body).filter(([name, value]) => !ownFields.has(name) && value !== null)
  const needed = fields.filter(([name, value]) => !isHint(name, value)).map(([name]) => name)
  if (fields.length === 0) return {}
  return { extra: { protocol, fields: Object.fromEntries(fields), ...(needed.length === 0 ? {} : { needed }) } }
}

// --- the client's own JSON

/** A thought that Anthropic did not sign: another vendor's, which it would refuse. */
const isForeign = (block: unknown): boolean => {
  if (!isRecord(block) || block["type"] !== "thinking") return false
  const { signature } = block
  return typeof signature !== "string" || signature === "" || isMarked(signature)
}

/** The messages without other vendors' thoughts; the very same list where there are none. */
const withoutForeign = (messages: unknown): unknown => {
  if (!Array.isArray(messages)) return messages
  const foreign = (message: unknown) => isRecord(message) && Array.isArray(message["content"]) && message["content"].some(isForeign)
  if (!messages.some(foreign)) return messages
  return messages.flatMap((message: unknown) => {
    if (!isRecord(message) || !Array.isArray(message["content"]) || !foreign(message)) return [message]
    const content = message["content"].filter((block) => !isForeign(block))
    return content.length === 0 ? [] : [{ ...message, content }]
  })
}

/** Headers that say what the body means. */
const ownHeaders: ReadonlyArray<string> = ["anthropic-beta", "anthropic-version"]

const nativeOf = (body: Json, headers: HeaderView): NonNullable<ChatRequest["native"]> => {
  const given = ownHeaders.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]] as const]))
  return {
    protocol,
    body: { ...body, messages: withoutForeign(body["messages"]) },
    ...(given.length === 0 ? {} : { headers: Object.fromEntries(given) })
  }
}

// --- the door

const hasBytes = (part: Part): boolean =>
  part.type === "image" || part.type === "file" || (part.type === "tool_result" && part.content.some(hasBytes))

const hasMedia = ({ messages }: ChatRequest): boolean => messages.some(({ content }) => content.some(hasBytes))

/**
 * Anthropic can hold a conversation under its last answer's id. Here each turn may go to another model, and what it costs is
 * reserved by what it says, so that every turn brings the whole conversation; told so, Anthropic's SDK goes on without a thread.
 */
const refuseThread = ({ thread }: Json): void => {
  if (thread === undefined || thread === null) return
  const code = "thread_unsupported_request"
  throw new InvalidRequest({
    message: "thread: TokenHub holds no conversations; send all messages with every request",
    param: "thread",
    code,
    details: { error_code: code, unsupported: ["thread"] }
  })
}

const callOf = (wire: Api.MessagesRequest, body: Json, headers: HeaderView): DoorCall => {
  refuseThread(body)
  const unraised: Unraised = []
  const chat: ChatRequest = {
    ...promptOf(wire, body, unraised),
    maxTokens: wire.max_tokens,
    ...defined("stop", wire.stop_sequences),
    ...defined("temperature", wire.temperature),
    ...defined("topP", wire.top_p),
    ...defined("topK", wire.top_k),
    ...defined("user", wire.metadata?.user_id),
    ...extraOf(body),
    native: nativeOf(body, headers)
  }
  return {
    chat: unraised.length === 0 ? chat : { ...chat, unraised },
    model: wire.model ?? undefined,
    stream: wire.stream === true,
    media: hasMedia(chat)
  }
}

/** A decoder that says what is wrong with a body, by the frame's schema first. */
const decoder = <S extends Schema.Decoder<unknown>, A>(
  schema: S,
  raise: (wire: S["Type"], body: Json, headers: HeaderView) => A
) => {
  const decodeFrame = Schema.decodeUnknownResult(schema)
  return (body: Json, headers: HeaderView): Result.Result<A, InvalidRequest> => {
    const frame = decodeFrame(body)
    if (Result.isFailure(frame)) return Result.fail(invalidRequest(frame.failure))
    return Result.try({
      try: () => raise(frame.success, body, headers),
      catch: (error) => {
        if (error instanceof InvalidRequest) return error
        throw error
      }
    })
  }
}

/** What `/v1/messages/count_tokens` is asked to count. */
export const decodeCount = decoder(CountTokensRequest, (wire, body): Omit<DoorCall, "stream"> => {
  const chat = promptOf(wire, body, [])
  return { chat, model: wire.model ?? undefined, media: hasMedia(chat) }
})

export const anthropicMessages: Door = {
  protocol,
  hasContent,
  decode: decoder(MessagesRequest, callOf),
  answer,
  encoder,
  terminal: []
}
