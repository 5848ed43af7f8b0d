/** Messages and parameters in the words of OpenAI's chat completions, raised to the canonical request. Pure functions. */
import { Result } from "effect"
import type { ChatRequest, FilePart, ImagePart, Message, Part, ResponseFormat, Source, TextPart, Tool } from "../../domain/Chat.ts"
import { text } from "../../domain/Chat.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import type { Json } from "../Door.ts"
import { defined, mapped } from "../Json.ts"
import type * as OpenAiChatApi from "./OpenAiChatApi.ts"

type Wire = OpenAiChatApi.ChatFields

/** Also the name of the provider protocol that takes the client's JSON as it is. */
export const protocol = "openai-chat"

/** Whether a part with bytes stands in the messages. */
export const hasMedia = ({ messages }: ChatRequest): boolean =>
  messages.some(({ content }) => content.some((part) => part.type === "image" || part.type === "file" || part.type === "audio"))

/** The canonical request of decoded fields; `own` are the names of the body's fields that are not handed on as they are. */
export const raise = (wire: Wire, body: Json, own: ReadonlySet<string>): Result.Result<ChatRequest, InvalidRequest> =>
  Result.try({
    try: () => ({ messages: wire.messages.map(messageOf), ...parametersOf(wire), ...extraOf(body, own) }),
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
  "prompt_cache_retention",
  "safety_identifier",
  "service_tier",
  "store"
])

const extraOf = (body: Json, own: ReadonlySet<string>): Pick<ChatRequest, "extra"> => {
  const fields = Object.entries(body).filter(([name, value]) => !own.has(name) && value !== null)
  if (fields.length === 0) return {}
  return {
    extra: {
      protocol,
      fields: Object.fromEntries(fields),
      needed: fields.map(([name]) => name).filter((name) => !hints.has(name))
    }
  }
}

const parametersOf = (wire: Wire): Omit<ChatRequest, "messages"> => ({
  ...defined("maxTokens", wire.max_completion_tokens ?? wire.max_tokens),
  ...defined("temperature", wire.temperature),
  ...defined("topP", wire.top_p),
  ...defined("topK", wire.top_k),
  ...defined("stop", typeof wire.stop === "string" ? [wire.stop] : wire.stop),
  ...defined("seed", wire.seed),
  ...defined("frequencyPenalty", wire.frequency_penalty),
  ...defined("presencePenalty", wire.presence_penalty),
  ...defined("logprobs", wire.logprobs),
  ...defined("topLogprobs", wire.top_logprobs),
  ...defined("n", wire.n),
  ...defined("tools", wire.tools?.map(toolOf)),
  ...defined("toolChoice", typeof wire.tool_choice === "object" ? wire.tool_choice?.function : wire.tool_choice),
  ...defined("parallelToolCalls", wire.parallel_tool_calls),
  ...defined("responseFormat", mapped(wire.response_format, formatOf)),
  ...defined("reasoning", mapped(wire.reasoning_effort, (effort) => ({ effort }))),
  ...defined("user", wire.user)
})

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

const messageOf = (message: OpenAiChatApi.Message, index: number): Message => {
  const at = `messages[${index}]`
  switch (message.role) {
    case "system":
    case "developer":
    case "user":
      return { role: message.role, content: partsOf(message.content, at), ...defined("name", message.name) }
    case "assistant":
      return {
        role: "assistant",
        content: [
          ...thoughtsOf(message),
          ...partsOf(message.content ?? [], at),
          ...(mapped(message.refusal, (refusal) => [{ type: "refusal", text: refusal } as const]) ?? []),
          ...(message.tool_calls ?? []).map(({ function: { arguments: json, name }, id }) =>
            ({ type: "tool_call", id, name, arguments: json }) as const
          )
        ],
        ...defined("name", message.name)
      }
    case "tool":
      return {
        role: "tool",
        content: [{
          type: "tool_result",
          toolCallId: message.tool_call_id,
          content: partsOf(message.content, at).filter((part): part is TextPart | ImagePart => part.type === "text" || part.type === "image")
        }]
      }
  }
}

/** Details tell all that `reasoning_content` does, and the signatures. */
const thoughtsOf = ({ reasoning_content, reasoning_details }: Extract<OpenAiChatApi.Message, { role: "assistant" }>): ReadonlyArray<Part> =>
  reasoning_details !== undefined && reasoning_details !== null && reasoning_details.length > 0
    ? reasoning_details.map((detail) =>
      detail.type === "reasoning.encrypted"
        ? { type: "reasoning", text: "", redacted: detail.data }
        : { type: "reasoning", text: detail.text ?? "", ...defined("signature", detail.signature) })
    : reasoning_content === undefined || reasoning_content === null || reasoning_content === ""
    ? []
    : [{ type: "reasoning", text: reasoning_content }]

type WirePart = Exclude<Extract<OpenAiChatApi.Message, { role: "user" }>["content"] | NonNullable<Extract<OpenAiChatApi.Message, { role: "assistant" }>["content"]>, string>[number]

const partsOf = (content: string | ReadonlyArray<WirePart>, at: string): ReadonlyArray<Part> =>
  typeof content === "string" ? [text(content)] : content.map((part, i) => partOf(part, `${at}.content[${i}]`))

const partOf = (part: WirePart, at: string): Part => {
  switch (part.type) {
    case "text":
      return { ...text(part.text), ...defined("cacheControl", part.cache_control) }
    case "refusal":
      return { type: "refusal", text: part.refusal }
    case "image_url":
      return {
        type: "image",
        source: sourceOf(part.image_url.url, `${at}.image_url.url`),
        ...defined("detail", part.image_url.detail),
        ...defined("cacheControl", part.cache_control)
      } satisfies ImagePart
    case "input_audio":
      return { type: "audio", data: part.input_audio.data, format: part.input_audio.format }
    case "file":
      return {
        type: "file",
        source: sourceOf(part.file.file_data, `${at}.file.file_data`),
        ...defined("filename", part.file.filename),
        ...defined("cacheControl", part.cache_control)
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
