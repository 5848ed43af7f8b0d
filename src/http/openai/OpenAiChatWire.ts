/** The door of OpenAI's chat completions: requests are raised by `OpenAiChatRequest.ts`, answers and streams lowered here. */
import { Result, Schema } from "effect"
import type { Choice, Delta, Frame, Part } from "../../domain/Chat.ts"
import { textOf, toolCallsOf } from "../../domain/Chat.ts"
import type { InvalidRequest } from "../../domain/RequestError.ts"
import type { Usage } from "../../domain/Usage.ts"
import { totalTokens } from "../../domain/Usage.ts"
import type { RunResult } from "../../orchestrate/Run.ts"
import type { AnswerFacts, Door, DoorCall, Json, StreamEncoder, WireEvent } from "../Door.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { defined, isRecord } from "../Json.ts"
import { ChatFields } from "./OpenAiChatApi.ts"
import { putAside } from "./OpenAiChatOthers.ts"
import { hasMedia, protocol, raise } from "./OpenAiChatRequest.ts"
import { invalidRequest } from "../Route.ts"

// --- request in

const ownFields: ReadonlySet<string> = new Set(Object.keys(ChatFields.fields))

const decodeFields = Schema.decodeUnknownResult(ChatFields)

const decode = (body: Json): Result.Result<DoorCall, InvalidRequest> => {
  const { media, paths, rest } = putAside(body)
  return Result.flatMap(Result.mapError(decodeFields(rest), invalidRequest), (wire) =>
    Result.map(raise(wire, rest, ownFields, paths), (chat) => ({
      chat: { ...chat, native: { protocol, body } },
      model: wire.model ?? undefined,
      stream: wire.stream === true,
      media: media || hasMedia(chat)
    })))
}

// --- answer out

const usageOf = (usage: Usage) => ({
  prompt_tokens: usage.promptTokens,
  completion_tokens: usage.completionTokens,
  total_tokens: totalTokens(usage),
  prompt_tokens_details: {
    cached_tokens: usage.cachedTokens,
    ...(usage.cacheWriteTokens === 0 ? {} : { cache_write_tokens: usage.cacheWriteTokens })
  },
  completion_tokens_details: { reasoning_tokens: usage.reasoningTokens }
})

/** A refusal that has words is an ordinary end here; one without is the filter's. */
const reasonOf = ({ content, finishReason }: Choice): string => {
  switch (finishReason) {
    case "refusal":
      return content.some((part) => part.type === "refusal") ? "stop" : "content_filter"
    case "other":
      return "stop"
    default:
      return finishReason
  }
}

/** The texts of the parts of one type, joined; undefined: there are none. */
const joined = (content: ReadonlyArray<Part>, type: "refusal" | "reasoning"): string | undefined =>
  content.flatMap((part) => (part.type === type ? [part.text] : [])).join("") || undefined

/** Thoughts that their vendor signed, as OpenRouter shows them: a client that sends them back lets the model go on thinking. */
const detailsOf = (content: ReadonlyArray<Part>): ReadonlyArray<Json> | undefined => {
  const details = content.flatMap((part): ReadonlyArray<Json> => {
    if (part.type !== "reasoning") return []
    if (part.redacted !== undefined) return [{ type: "reasoning.encrypted", data: part.redacted }]
    return part.signature === undefined ? [] : [{ type: "reasoning.text", text: part.text, signature: part.signature }]
  })
  return details.length === 0 ? undefined : details
}

/** Pictures that the model made, as OpenRouter shows them. */
const imagesOf = (content: ReadonlyArray<Part>): ReadonlyArray<Json> | undefined => {
  const images = content.flatMap((part): ReadonlyArray<Json> =>
    part.type === "image"
      ? [{
        type: "image_url",
        image_url: { url: part.source.type === "url" ? part.source.url : `data:${part.source.mediaType};base64,${part.source.data}` }
      }]
      : [])
  return images.length === 0 ? undefined : images
}

const callsOf = (content: ReadonlyArray<Part>): ReadonlyArray<Json> | undefined => {
  const calls = toolCallsOf(content)
  return calls.length === 0
    ? undefined
    : calls.map(({ arguments: json, id, name }) => ({ id, type: "function", function: { name, arguments: json } }))
}

const messageOf = ({ content }: Choice): Json => {
  const calls = callsOf(content)
  const refusal = joined(content, "refusal")
  const text = textOf(content)
  return {
    role: "assistant",
    content: text === "" && (calls !== undefined || refusal !== undefined) ? null : text,
    refusal: refusal ?? null,
    ...defined("reasoning_content", joined(content, "reasoning")),
    ...defined("reasoning_details", detailsOf(content)),
    ...defined("tool_calls", calls),
    ...defined("images", imagesOf(content))
  }
}

const idOf = ({ requestId }: AnswerFacts): string => `chatcmpl-${requestId}`

const answer = ({ completion, usage }: RunResult, facts: AnswerFacts): Json => ({
  id: idOf(facts),
  object: "chat.completion",
  created: facts.created,
  model: facts.model,
  choices: [completion, ...(completion.alternatives ?? [])].map((choice, index) => ({
    index,
    message: messageOf(choice),
    logprobs: (index === 0 ? completion.logprobs : undefined) ?? null,
    finish_reason: reasonOf(choice)
  })),
  usage: usageOf(usage)
})

// --- stream out

const done: WireEvent = { data: "[DONE]" }

const wantsUsage = (body: Json): boolean => isRecord(body["stream_options"]) && body["stream_options"]["include_usage"] === true

/** Another answer than the first has no pieces of its own: it comes whole. */
const wholeOf = (choice: Choice): Json => {
  const { refusal, tool_calls: _, ...message } = messageOf(choice)
  return {
    ...message,
    ...defined("refusal", refusal),
    ...defined("tool_calls", callsOf(choice.content)?.map((call, index) => ({ index, ...call })))
  }
}

const encoder = (facts: AnswerFacts, body: Json): StreamEncoder => {
  let opened = false
  let step: string | undefined
  /** The thought that no signature has closed yet. */
  let thought = ""

  const chunk = (choices: ReadonlyArray<Json>, more: Json = {}): WireEvent => ({
    data: JSON.stringify({
      id: idOf(facts),
      object: "chat.completion.chunk",
      created: facts.created,
      model: facts.model,
      choices,
      ...more
    })
  })

  const piece = (delta: Json, index = 0): WireEvent => chunk([{ index, delta, finish_reason: null }])

  const opening = (): ReadonlyArray<WireEvent> => {
    if (opened) return []
    opened = true
    return [piece({ role: "assistant", content: "" })]
  }

  const content = (delta: Json): ReadonlyArray<WireEvent> => [...opening(), piece(delta)]

  const reasoning = ({ redacted, signature, text }: Extract<Delta, { type: "reasoning" }>): ReadonlyArray<WireEvent> => {
    if (redacted !== undefined) return content({ reasoning_details: [{ type: "reasoning.encrypted", data: redacted }] })
    thought += text
    const words = text === "" ? [] : content({ reasoning_content: text })
    if (signature === undefined) return words
    const signed = [{ type: "reasoning.text", text: thought, signature }]
    thought = ""
    return [...words, ...content({ reasoning_details: signed })]
  }

  const finish = (choice: Choice, index: number, logprobs?: unknown): WireEvent =>
    chunk([{ index, delta: {}, ...defined("logprobs", logprobs), finish_reason: reasonOf(choice) }])

  return {
    delta: (delta) => {
      switch (delta.type) {
        case "text":
          return delta.text === "" ? [] : content({ content: delta.text })
        case "refusal":
          return delta.text === "" ? [] : content({ refusal: delta.text })
        case "reasoning":
          return reasoning(delta)
        case "tool_call": {
          const { arguments: json, id, index, name } = delta
          return content({
            tool_calls: [{
              index,
              ...(id === undefined ? {} : { id, type: "function" }),
              function: { ...defined("name", name), arguments: json }
            }]
          })
        }
      }
    },
    step: (event) => {
      if (event.type !== "step.delta" || event.delta.type !== "text" || event.delta.text === "") return []
      const gap = step === undefined || step === event.step ? "" : "\n\n"
      step = event.step
      return content({ reasoning_content: gap + event.delta.text })
    },
    end: ({ completion, usage }) => {
      const images = imagesOf(completion.content)
      return [
        ...opening(),
        ...(images === undefined ? [] : [piece({ images })]),
        finish(completion, 0, completion.logprobs),
        ...(completion.alternatives ?? []).flatMap((choice, i) => [piece(wholeOf(choice), i + 1), finish(choice, i + 1)]),
        ...(wantsUsage(body) ? [chunk([], { usage: usageOf(usage) })] : []),
        done
      ]
    },
    fail: (failure) => [{ data: JSON.stringify(ErrorEnvelope.bodyOf(failure, facts.requestId)) }]
  }
}

// --- the provider's own stream

const parsed = ({ data }: Frame): Json => {
  try {
    const value: unknown = JSON.parse(data)
    return isRecord(value) ? value : {}
  } catch {
    return {}
  }
}

const isSomething = (value: unknown): boolean =>
  value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0)

/** A delta that says more than whose turn it is, in fields known or not. */
const hasContent = (frame: Frame): boolean => {
  const { choices } = parsed(frame)
  return Array.isArray(choices) && choices.some((choice: unknown) => {
    const delta = isRecord(choice) ? choice["delta"] : undefined
    return isRecord(delta) && Object.entries(delta).some(([name, value]) => name !== "role" && isSomething(value))
  })
}

/** The usage comes in an event without choices, which clients that did not ask for it may not expect. */
const unasked = (frame: Frame, body: Json): boolean => {
  if (wantsUsage(body) || !/"choices"\s*:\s*\[\s*\]/.test(frame.data)) return false
  const { choices, usage } = parsed(frame)
  return Array.isArray(choices) && choices.length === 0 && isRecord(usage)
}

export const openAiChat: Door = { protocol, decode, answer, encoder, hasContent, unasked, terminal: [done] }
