/** `POST /v1/chat` on the wire: from its JSON to the canonical request. What goes back is `ChatAnswer.ts`. */
import { Result, Schema } from "effect"
import type { ChatRequest as CanonicalRequest, FilePart, ImagePart, Message, Part, ResponseFormat, Source, TextPart, Tool } from "../domain/Chat.ts"
import { text } from "../domain/Chat.ts"
import { rateFromDollarsPer1k } from "../domain/Money.ts"
import type { RoutingPolicy } from "../domain/Policy.ts"
import { defaultPolicy } from "../domain/Policy.ts"
import { InvalidRequest } from "../domain/RequestError.ts"
import type { RunRequest } from "../orchestrate/Run.ts"
import { ChatRequest, chatPath, Options, Policy } from "./ChatApi.ts"
import type * as ChatApi from "./ChatApi.ts"
import { defined } from "./Json.ts"
import { invalidRequest } from "./Route.ts"

type Wire = ChatApi.ChatRequest

/** A run as a client asked for it, and how it wants the answer. */
export interface ChatCall extends Omit<RunRequest, "id" | "clientKey"> {
  readonly stream: boolean
  /** Whether a message has an image, a file or a recording: only then may a body be very large. */
  readonly media: boolean
}

/** Top-level fields whose content is JSON Schema, the client's own data. */
export const schemaFields: ReadonlySet<string> = new Set(["tools", "response_format"])

/** Fields that TokenHub reads itself; every other one is handed on. */
const ownFields: ReadonlySet<string> = new Set(Object.keys(ChatRequest.fields))

const protocol = "openai-chat"

const isRecord = (value: unknown): value is { readonly [name: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Policies and options are TokenHub's own: a field that it does not know is a mistake. */
const unknownField = (value: unknown, path: string, known: { readonly [name: string]: unknown }): InvalidRequest | undefined => {
  const name = isRecord(value) ? Object.keys(value).find((key) => !Object.hasOwn(known, key)) : undefined
  return name === undefined
    ? undefined
    : new InvalidRequest({
      message: `${path}.${name}: is not known; there are: ${Object.keys(known).join(", ")}`,
      param: `${path}.${name}`
    })
}

const unknownOwnField = (body: { readonly [name: string]: unknown }): InvalidRequest | undefined => {
  const options = body["tokenhub"]
  return unknownField(body["policy"], "policy", Policy.fields)
    ?? unknownField(options, "tokenhub", Options.fields)
    ?? (isRecord(options) ? unknownField(options["policy"], "tokenhub.policy", Policy.fields) : undefined)
}

const decodeFrame = Schema.decodeUnknownResult(ChatRequest)

/** The canonical request of a parsed body, or the first thing that is wrong with it. */
export const decode = (value: unknown): Result.Result<ChatCall, InvalidRequest> => {
  const frame = decodeFrame(value)
  if (Result.isFailure(frame)) return Result.fail(invalidRequest(frame.failure))
  const body = isRecord(value) ? value : {}
  const unknown = unknownOwnField(body)
  if (unknown !== undefined) return Result.fail(unknown)
  return Result.try({
    try: () => callOf(frame.success, body),
    catch: (error) => {
      if (error instanceof InvalidRequest) return error
      throw error
    }
  })
}

const callOf = (wire: Wire, body: { readonly [name: string]: unknown }): ChatCall => {
  const options = wire.tokenhub ?? {}
  const model = wire.model === "auto" ? undefined : wire.model ?? undefined
  const messages = wire.messages.map(messageOf)
  const refinements = options.refinements ?? (wire.enable_refinement === true ? wire.max_refinement_iterations ?? 1 : 0)
  return {
    endpoint: chatPath,
    chat: { messages, ...parametersOf(wire), ...extraOf(body) },
    model,
    mode: options.mode ?? wire.orchestration_mode ?? "simple",
    options: {
      ...defined("planner", options.planner ?? wire.planner_model),
      ...defined("critic", options.critic ?? wire.critic_model),
      refinements
    },
    policy: policyOf(options.policy ?? wire.policy ?? {}),
    ...defined("deadlineMs", options.deadline_ms),
    stream: wire.stream === true,
    media: messages.some(({ content }) => content.some((part) => part.type === "image" || part.type === "file" || part.type === "audio"))
  }
}

const mapped = <A, B>(value: A | null | undefined, f: (value: A) => B): B | undefined =>
  value === null || value === undefined ? undefined : f(value)

const policyOf = (policy: typeof Policy.Type): RoutingPolicy => ({
  ...defaultPolicy,
  ...defined("maxRate", mapped(policy.max_cost_per_1k_tokens, rateFromDollarsPer1k)),
  ...defined("minContextSize", policy.min_context_size),
  ...defined("preferHigherWeight", policy.prefer_higher_weight),
  ...defined("allowEscalation", policy.allow_escalation)
})

const parametersOf = (wire: Wire): Omit<CanonicalRequest, "messages"> => ({
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

const extraOf = (body: { readonly [name: string]: unknown }): Pick<CanonicalRequest, "extra"> => {
  const fields = Object.entries(body).filter(([name]) => !ownFields.has(name))
  return fields.length === 0 ? {} : { extra: { protocol, fields: Object.fromEntries(fields) } }
}

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

const messageOf = (message: ChatApi.Message, index: number): Message => {
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

type WirePart = Exclude<Extract<ChatApi.Message, { role: "user" }>["content"] | NonNullable<Extract<ChatApi.Message, { role: "assistant" }>["content"]>, string>[number]

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

const sourceOf = (url: string, param: string): Source => {
  const head = dataUrl.exec(url)
  if (head !== null) return { type: "data", mediaType: (head[1] ?? "").toLowerCase(), data: url.slice(head[0].length) }
  if (/^https?:\/\/[^/]/i.test(url)) return { type: "url", url }
  throw new InvalidRequest({ message: `${param}: must be an http or https URL, or a data URL with base64`, param })
}
