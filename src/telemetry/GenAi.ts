/** Spans of model calls, after OpenTelemetry's semantic conventions for generative AI. */
import { Effect, References } from "effect"
import type { Tracer } from "effect"
import { addGenAIAnnotations } from "effect/ai/Telemetry"
import type { ChatRequest, Completion, Part } from "../domain/Chat.ts"
import type { EmbeddingRequest, Embeddings } from "../domain/Embedding.ts"
import type { ProviderError } from "../domain/ProviderError.ts"

export interface ModelCall {
  /** A row of the vendors' table. */
  readonly providerType: string
  readonly model: string
  readonly request: ChatRequest
  /** Whether prompt and answer are put on the span. */
  readonly tracePrompts: boolean
}

interface EmbeddingsCall extends Pick<ModelCall, "providerType" | "model"> {
  readonly request: EmbeddingRequest
}

/** Where the conventions' name of a provider is not TokenHub's own. */
const providerNames: { readonly [providerType: string]: string } = {
  "azure-openai": "azure.ai.openai",
  gemini: "gcp.gemini",
  mistral: "mistral_ai",
  "openai-responses": "openai",
  xai: "x_ai"
}

/** Parts in the shape of `gen_ai.input.messages` and `gen_ai.output.messages`; pictures and files are only named. */
const partOf = (part: Part): object => {
  switch (part.type) {
    case "text":
    case "reasoning":
      return { type: part.type, content: part.text }
    case "tool_call":
      return { type: "tool_call", id: part.id, name: part.name, arguments: part.arguments }
    case "tool_result":
      return { type: "tool_call_response", id: part.toolCallId, response: part.content.map(partOf) }
    default:
      return { type: part.type }
  }
}

const onRequest = (span: Tracer.Span, { model, providerType, request, tracePrompts }: ModelCall): void => {
  addGenAIAnnotations(span, {
    operation: { name: "chat" },
    provider: { name: providerNames[providerType] ?? providerType },
    request: {
      model,
      maxTokens: request.maxTokens,
      temperature: request.temperature,
      topP: request.topP,
      topK: request.topK,
      seed: request.seed,
      stopSequences: request.stop,
      frequencyPenalty: request.frequencyPenalty,
      presencePenalty: request.presencePenalty
    }
  })
  if (!tracePrompts) return
  const messages = request.messages.map(({ content, role }) => ({ role, parts: content.map(partOf) }))
  span.attribute("gen_ai.input.messages", JSON.stringify(messages))
}

const onCompletion = (span: Tracer.Span, { tracePrompts }: ModelCall, completion: Completion): void => {
  const choices = [completion, ...(completion.alternatives ?? [])]
  const { cacheWriteTokens, cachedTokens, completionTokens, promptTokens } = completion.usage
  addGenAIAnnotations(span, {
    response: {
      id: completion.upstreamId,
      model: completion.upstreamModel,
      finishReasons: choices.map((choice) => choice.finishReason)
    },
    usage: { inputTokens: promptTokens, outputTokens: completionTokens }
  })
  span.attribute("gen_ai.usage.cache_read.input_tokens", cachedTokens)
  span.attribute("gen_ai.usage.cache_creation.input_tokens", cacheWriteTokens)
  if (!tracePrompts) return
  const messages = choices.map(({ content, finishReason }) =>
    ({ role: "assistant", parts: content.map(partOf), finish_reason: finishReason }))
  span.attribute("gen_ai.output.messages", JSON.stringify(messages))
}

/** Runs a call in a client span of this name; without an exporter there is no span, and it costs nothing. */
const inSpan = <A>(
  name: string,
  effect: Effect.Effect<A, ProviderError>,
  told: { readonly onRequest: (span: Tracer.Span) => void; readonly onAnswer: (span: Tracer.Span, answer: A) => void }
): Effect.Effect<A, ProviderError> =>
  Effect.withFiber((fiber) => {
    if (!fiber.getRef(References.TracerEnabled)) return effect
    return Effect.useSpan(name, { kind: "client" }, (span) => {
      told.onRequest(span)
      return Effect.withParentSpan(effect, span).pipe(
        Effect.tap((answer) => Effect.sync(() => told.onAnswer(span, answer))),
        Effect.tapError((error) => Effect.sync(() => span.attribute("error.type", error.fault)))
      )
    })
  })

/** Runs a model call in a client span named `chat {model}`. */
export const traced = (call: ModelCall, effect: Effect.Effect<Completion, ProviderError>): Effect.Effect<Completion, ProviderError> =>
  inSpan(`chat ${call.model}`, effect, {
    onRequest: (span) => onRequest(span, call),
    onAnswer: (span, completion) => onCompletion(span, call, completion)
  })

/** Runs a call for embeddings in a client span named `embeddings {model}`. */
export const tracedEmbeddings = (
  { model, providerType, request }: EmbeddingsCall,
  effect: Effect.Effect<Embeddings, ProviderError>
): Effect.Effect<Embeddings, ProviderError> =>
  inSpan(`embeddings ${model}`, effect, {
    onRequest: (span) => {
      addGenAIAnnotations(span, {
        operation: { name: "embeddings" },
        provider: { name: providerNames[providerType] ?? providerType },
        request: { model }
      })
      if (request.dimensions !== undefined) span.attribute("gen_ai.embeddings.dimension.count", request.dimensions)
      span.attribute("gen_ai.request.encoding_formats", [request.encoding])
    },
    onAnswer: (span, { upstreamModel, usage }) => {
      addGenAIAnnotations(span, { response: { model: upstreamModel }, usage: { inputTokens: usage.promptTokens } })
    }
  })
