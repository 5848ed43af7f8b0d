/** Messages and parameters in the words of OpenAI's chat completions, raised to the canonical request. Pure functions. */
import { Result } from "effect"
import type { ChatRequest, FilePart, ImagePart, Message, Part, ResponseFormat, Source, TextPart, Tool, ToolResultPart } from "../../domain/Chat.ts"
import { text } from "../../domain/Chat.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import * as Signature from "../../domain/Signature.ts"
import type { Json } from "../Door.ts"
import { defined, mapped } from "../Json.ts"
import type * as OpenAiChatApi from "./OpenAiChatApi.ts"

type Wire = OpenAiChatApi.ChatFields

/** Also the name of the provider protocol that takes the client's JSON as it is. */
export const protocol = "openai-chat"

/** Whether a part with bytes stands in the messages. */
export const hasMedia = ({ messages }: ChatRequest): boolean =>
  messages.some(({ content }) => content.some((part) => part.type === "image" || part.type === "file" || part.type === "audio"))

const none: ReadonlySet<string> = new Set()

/**
 * The canonical request of decoded fields; `own` are the names of the body's fields that are not handed on as they are, `aside`
 * the paths of what was put aside and left a blank.
 */
export const raise = (
  wire: Wire,
  body: Json,
  own: ReadonlySet<string>,
  aside: ReadonlySet<string> = none
): Result.Result<ChatRequest, InvalidRequest> =>
  Result.try({
    try: () => ({
      messages: wire.messages.flatMap((message, i) => (aside.has(`messages[${i}]`) ? [] : [messageOf(message, `messages[${i}]`, aside)])),
      ...parametersOf(wire, aside),
      ...extraOf(body, own),
      ...(aside.size === 0 ? {} : { unraised: [...aside] })
    }),
    catch: (error) => {
      if (error instanceof InvalidRequest) return error
      throw error
    }
  })

/** Fields of OpenAI's that change no answer's content: nobody misses them at another vendor. */
const hints: ReadonlySet<string> = new Set([
  "metadata",
  "prediction",
  "prompt_cache_key",
  "prompt_cache_options",
  "prompt_cache_retention",
  "safety_identifier",
  "service_tier",
  "store"
])

/** OpenAI's own defaults, which ask for nothing. */
const isUsual = (name: string, value: unknown): boolean =>
  (name === "modalities" && Array.isArray(value) && value.length === 1 && value[0] === "text")
  || (name === "verbosity" && value === "medium")
  || (name === "logit_bias" && typeof value === "object" && value !== null && Object.keys(value).length === 0)

const extraOf = (body: Json, own: ReadonlySet<string>): Pick<ChatRequest, "extra"> => {
  const fields = Object.entries(body).filter(([name, value]) => !own.has(name) && value !== null)
  if (fields.length === 0) return {}
  return {
    extra: {
      protocol,
      fields: Object.fromEntries(fields),
      needed: fields.filter(([name, value]) => !hints.has(name) && !isUsual(name, value)).map(([name]) => name)
    }
  }
}

const parametersOf = (wire: Wire, aside: ReadonlySet<string>): Omit<ChatRequest, "messages"> => ({
  ...defined("maxTokens", wire.max_completion_tokens ?? wire.max_tokens),
  ...defined("temperature", wire.temperature),
  ...defined("topP", wire.top_p),
  ...defined("topK", wire.top_k),
  ...defined("stop", typeof wire.stop === "string" ? [wire.stop] : someOf(wire.stop)),
  ...defined("seed", wire.seed),
  ...defined("frequencyPenalty", wire.frequency_penalty),
  ...defined("presencePenalty", wire.presence_penalty),
  ...defined("logprobs", wire.logprobs),
  ...defined("topLogprobs", wire.top_logprobs),
  ...defined("n", wire.n),
  ...defined("tools", someOf(wire.tools?.filter((_, i) => !aside.has(`tools[${i}]`)).map(toolOf))),
  ...defined("toolChoice", typeof wire.tool_choice === "object" ? wire.tool_choice?.function : wire.tool_choice),
  ...defined("parallelToolCalls", wire.parallel_tool_calls),
  ...defined("responseFormat", mapped(wire.response_format, formatOf)),
  ...defined("reasoning", mapped(wire.reasoning_effort, (effort) => ({ effort }))),
  ...defined("user", wire.user)
})

/** An empty list is as good as none, and vendors refuse it. */
const someOf = <A>(list: ReadonlyArray<A> | null | undefined): ReadonlyArray<A> | undefined => (list?.length ?? 0) === 0 ? undefined : list ?? undefined

const toolOf = ({ function: { description, name, parameters, strict } }: NonNullable<Wire["tools"]>[number]): Tool => ({
  name,
  ...defined("description", description),
  ...defined("parameters", parameters),
  ...defined("strict", strict)
})

const formatOf = (format: NonNullable<Wire["response_format"]>): ResponseFormat => {
  if (format.type !== "json_schema") return { type: format.type }
  const { description, name, schema, strict } = format.json_schema
  return { type: "json_schema", name, schema: schema ?? {}, ...defined("strict", strict), ...defined("description", description) }
}

const messageOf = (message: OpenAiChatApi.Message, at: string, aside: ReadonlySet<string>): Message => {
  switch (message.role) {
    case "system":
    case "developer":
    case "user":
      return { role: message.role, content: partsOf(message.content, at, aside), ...defined("name", message.name) }
    case "assistant":
      return {
        role: "assistant",
        content: [
          ...thoughtsOf(message),
          ...partsOf(message.content ?? [], at, aside),
          ...(mapped(message.refusal, (refusal) => [{ type: "refusal", text: refusal } as const]) ?? []),
          ...(message.tool_calls ?? []).filter((_, i) => !aside.has(`${at}.tool_calls[${i}]`)).map((
            { function: { arguments: json, name }, id }
          ) => ({ type: "tool_call", id, name, arguments: json }) as const)
        ],
        ...defined("name", message.name)
      }
    case "tool":
      return { role: "tool", content: [resultOf(message, at, aside)] }
  }
}

/** A mark for a cache is the result's: no vendor has one within it. */
const resultOf = (
  { content, tool_call_id }: Extract<OpenAiChatApi.Message, { role: "tool" }>,
  at: string,
  aside: ReadonlySet<string>
): ToolResultPart => {
  const parts = partsOf(content, at, aside).filter((part): part is TextPart | ImagePart => part.type === "text" || part.type === "image")
  return {
    type: "tool_result",
    toolCallId: tool_call_id,
    content: parts.map(({ cacheControl: _, ...part }) => part),
    ...defined("cacheControl", parts.findLast((part) => part.cacheControl !== undefined)?.cacheControl)
  }
}

type AssistantMessage = Extract<OpenAiChatApi.Message, { role: "assistant" }>

/** A detail as the canonical form has it: OpenRouter says with `format` whose the encrypted ones are. */
const detailOf = (detail: NonNullable<AssistantMessage["reasoning_details"]>[number]): ReadonlyArray<Part> => {
  const { data, format, id, signature, summary, text: words, type } = detail
  switch (type) {
    case "reasoning.text":
      return [{ type: "reasoning", text: words ?? "", ...defined("signature", signature) }]
    case "reasoning.summary":
      return [{ type: "reasoning", text: summary ?? "" }]
    case "reasoning.encrypted":
      if (typeof data !== "string") return []
      if (format?.startsWith("openai") === true) {
        return [{ type: "reasoning", text: "", signature: Signature.marked("openai", Signature.join(id ?? "", data)) }]
      }
      if (format?.startsWith("google") === true) return [{ type: "reasoning", text: "", signature: Signature.marked("gemini", data) }]
      return [{ type: "reasoning", text: "", redacted: data }]
    default:
      return []
  }
}

/** Details tell all that `reasoning_content` does, and the signatures. */
const thoughtsOf = ({ reasoning_content, reasoning_details }: AssistantMessage): ReadonlyArray<Part> =>
  reasoning_details !== undefined && reasoning_details !== null && reasoning_details.length > 0
    ? reasoning_details.flatMap(detailOf)
    : reasoning_content === undefined || reasoning_content === null || reasoning_content === ""
    ? []
    : [{ type: "reasoning", text: reasoning_content }]

type WirePart = Exclude<Extract<OpenAiChatApi.Message, { role: "user" }>["content"] | NonNullable<Extract<OpenAiChatApi.Message, { role: "assistant" }>["content"]>, string>[number]

const partsOf = (content: string | ReadonlyArray<WirePart>, at: string, aside: ReadonlySet<string>): ReadonlyArray<Part> =>
  typeof content === "string"
    ? [text(content)]
    : content.flatMap((part, i) => {
      const path = `${at}.content[${i}]`
      return aside.has(path) ? [] : [partOf(part, path)]
    })

/** Anthropic's mark for a cache, which OpenRouter took over, or OpenAI's own. */
const markOf = ({ cache_control, prompt_cache_breakpoint }: { readonly cache_control?: unknown; readonly prompt_cache_breakpoint?: unknown }) =>
  defined("cacheControl", cache_control ?? prompt_cache_breakpoint)

const partOf = (part: WirePart, at: string): Part => {
  switch (part.type) {
    case "text":
      return { ...text(part.text), ...markOf(part) }
    case "refusal":
      return { type: "refusal", text: part.refusal }
    case "image_url":
      return {
        type: "image",
        source: sourceOf(part.image_url.url, `${at}.image_url.url`),
        ...defined("detail", part.image_url.detail),
        ...markOf(part)
      } satisfies ImagePart
    case "input_audio":
      return { type: "audio", data: part.input_audio.data, format: part.input_audio.format }
    case "file":
      return {
        type: "file",
        source: sourceOf(part.file.file_data, `${at}.file.file_data`),
        ...defined("filename", part.file.filename),
        ...markOf(part)
      } satisfies FilePart
  }
}

/** The head of a data URL with base64 (RFC 2397): its media type, without parameters. */
const dataUrl = /^data:([^;,]{1,127})(?:;[^;,]{0,127}){0,8};base64,/i

export const sourceOf = (url: string, param: string): Source => {
  const head = dataUrl.exec(url)
  if (head !== null) return { type: "data", mediaType: (head[1] ?? "").toLowerCase(), data: url.slice(head[0].length) }
  if (/^https?:\/\/[^/]/i.test(url)) return { type: "url", url }
  throw new InvalidRequest({ message: `${param}: must be an http or https URL, or a data URL with base64`, param })
}
