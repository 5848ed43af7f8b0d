/**
 * OpenAI's Responses API as a door. What a request goes on from stands in its input by the time it is decoded
 * (`OpenAiResponsesHttp.ts`).
 */
import { Result, Schema } from "effect"
import type { ChatRequest, Frame, Message, ResponseFormat, Tool, ToolChoice } from "../../domain/Chat.ts"
import { text } from "../../domain/Chat.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { isStrict } from "../../domain/StrictSchema.ts"
import type { Door, DoorCall, Json } from "../Door.ts"
import { defined, mapped } from "../Json.ts"
import type { Format, Tool as WireTool } from "./OpenAiResponsesApi.ts"
import { ResponseRequest } from "./OpenAiResponsesApi.ts"
import type { Raised } from "./OpenAiResponsesInput.ts"
import { nativeItems, raise } from "./OpenAiResponsesInput.ts"
import { answerOf } from "./OpenAiResponsesOutput.ts"
import { encoder } from "./OpenAiResponsesStream.ts"
import { invalidRequest } from "../Route.ts"

const protocol = "openai-responses"

// --- request in

/** The input as items; a bare string is the user's. */
export const itemsOf = ({ input }: Json): ReadonlyArray<Json> =>
  typeof input === "string" ? [{ type: "message", role: "user", content: input }] : Array.isArray(input) ? input : []

const decodeFrame = Schema.decodeUnknownResult(ResponseRequest)

const decode = (body: Json): Result.Result<DoorCall, InvalidRequest> => {
  const frame = decodeFrame(body)
  if (Result.isFailure(frame)) return Result.fail(invalidRequest(frame.failure))
  return Result.try({
    try: () => callOf(frame.success, body),
    catch: (error) => {
      if (error instanceof InvalidRequest) return error
      throw error
    }
  })
}

/** Fields that change no answer's content: nobody misses them at another vendor. */
const hints: ReadonlySet<string> = new Set([
  "access_programs",
  "include",
  "metadata",
  "prompt_cache_key",
  "prompt_cache_options",
  "prompt_cache_retention",
  "safety_identifier",
  "service_tier",
  "text",
  "truncation",
  "reasoning"
])

const callOf = (wire: ResponseRequest, body: Json): DoorCall => {
  const items = itemsOf(body)
  if (items.length === 0 && (body["prompt"] ?? null) === null) {
    throw new InvalidRequest({ message: "input: is required", param: "input" })
  }
  const raised = raise(items)
  const instructions = wire.instructions ?? undefined
  const system: ReadonlyArray<Message> = instructions === undefined ? [] : [{ role: "system", content: [text(instructions)] }]
  return {
    chat: {
      messages: [...system, ...raised.messages],
      ...parametersOf(wire),
      unraised: unraisedOf(wire, raised),
      native: { protocol, body: { ...body, input: nativeItems(items) } },
      ...neededOf(extraOf(wire, body))
    },
    model: wire.model ?? undefined,
    stream: wire.stream === true,
    media: raised.messages.some(({ content }) => content.some((part) => part.type === "image" || part.type === "file"))
  }
}

const parametersOf = (wire: ResponseRequest): Omit<ChatRequest, "messages"> => {
  const functions = wire.tools?.filter(({ type }) => type === "function")
  return {
    ...defined("maxTokens", wire.max_output_tokens),
    ...defined("temperature", wire.temperature),
    ...defined("topP", wire.top_p),
    // Without that they are not in the answer, however many are asked for.
    ...(wire.include?.includes("message.output_text.logprobs") === true ? { logprobs: true, ...defined("topLogprobs", wire.top_logprobs) } : {}),
    ...defined("tools", mapped(functions, (tools) => (tools.length === 0 ? undefined : tools.map(toolOf)))),
    ...defined("toolChoice", mapped(wire.tool_choice, choiceOf)),
    ...defined("parallelToolCalls", wire.parallel_tool_calls),
    ...defined("responseFormat", mapped(wire.text?.format, formatOf)),
    ...reasoningOf(wire.reasoning),
    ...defined("user", wire.user)
  }
}

const reasoningOf = (reasoning: ResponseRequest["reasoning"]): Pick<ChatRequest, "reasoning"> => {
  const asked = { ...defined("effort", reasoning?.effort), ...((reasoning?.summary ?? null) === null ? {} : { shown: true }) }
  return Object.keys(asked).length === 0 ? {} : { reasoning: asked }
}

const nameOf = (name: string | null | undefined, param: string): string => {
  if (typeof name === "string" && name !== "") return name
  throw new InvalidRequest({ message: `${param}: is required`, param })
}

/** Unsaid, `strict` is true here for a schema that can be kept to. */
const toolOf = ({ description, name, parameters, strict }: WireTool): Tool => ({
  name: nameOf(name, "tools.name"),
  ...defined("description", description),
  ...defined("parameters", parameters),
  ...defined("strict", strict ?? (isStrict(parameters) ? true : undefined))
})

const choiceOf = (choice: NonNullable<ResponseRequest["tool_choice"]>): ToolChoice | undefined =>
  typeof choice === "string" ? choice : choice.type === "function" ? { name: nameOf(choice.name, "tool_choice.name") } : undefined

const formatOf = (format: Format): ResponseFormat =>
  format.type === "json_schema"
    ? {
      type: "json_schema",
      name: format.name,
      schema: format.schema,
      ...defined("strict", format.strict),
      ...defined("description", format.description)
    }
    : { type: format.type }

/** What the canonical form has no place for, by its path: other kinds of items and tools, a style, a cut of the input. */
const unraisedOf = (wire: ResponseRequest, { unraised }: Raised): ReadonlyArray<string> => [
  ...unraised,
  ...(wire.tools ?? []).flatMap(({ type }, i) => (type === "function" ? [] : [`tools[${i}]`])),
  ...(mapped(wire.tool_choice, choiceOf) === undefined && (wire.tool_choice ?? null) !== null ? ["tool_choice"] : []),
  ...((wire.text?.verbosity ?? "medium") === "medium" ? [] : ["text.verbosity"]),
  ...(wire.truncation === "auto" ? ["truncation"] : [])
]

/** Fields that the canonical form has a name for, or that are TokenHub's to serve. */
const raisedFields: ReadonlySet<string> = new Set([
  "input", "model", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "temperature", "top_p",
  "top_logprobs", "user", "store", "previous_response_id", "background", "conversation", "stream", "stream_options", "text",
  "reasoning", "tokenhub"
])

const neededOf = (fields: Json): Pick<ChatRequest, "extra"> => {
  const needed = Object.keys(fields).filter((name) => (fields[name] ?? null) !== null && !hints.has(name))
  return { extra: { protocol, fields, ...(needed.length === 0 ? {} : { needed }) } }
}

/** The rest, for a provider of this protocol that is sent the canonical form. */
const extraOf = ({ reasoning, text }: ResponseRequest, body: Json): Json => ({
  ...Object.fromEntries(Object.entries(body).filter(([name]) => !raisedFields.has(name))),
  ...defined("text", mapped(text?.verbosity, (verbosity) => ({ verbosity }))),
  ...defined("reasoning", mapped(reasoning?.summary, (summary) => ({ summary })))
})

// --- frames

/** Events that come before there is anything to see. */
const opening: ReadonlySet<string> = new Set([
  "response.created",
  "response.queued",
  "response.in_progress",
  "response.output_item.added",
  "response.content_part.added",
  "response.reasoning_summary_part.added",
  "response.failed",
  "error"
])

/** Some servers leave the event's name to its data. */
const hasContent = ({ data, event }: Frame): boolean => {
  const name = event ?? /"type"\s*:\s*"([\w.]+)"/.exec(data)?.[1]
  return name !== undefined && !opening.has(name)
}

export const openAiResponses: Door = { protocol, hasContent, decode, answer: answerOf, encoder, terminal: [] }
