/** The ways to ask an adapter: for a completion, whole or streamed, and for embeddings. `Attempts.ts` takes them alike. */
import { Effect } from "effect"
import type { Need } from "../domain/Candidate.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ChatRequest, Completion, Delta, Frame, StreamEvent } from "../domain/Chat.ts"
import type { EmbeddingRequest, Embeddings } from "../domain/Embedding.ts"
import { ProviderError } from "../domain/ProviderError.ts"
import type { Receive } from "../provider/ProviderAdapter.ts"
import type { ReadyProvider } from "../provider/ProviderRegistry.ts"
import { defaultOutputTokens } from "../route/Ranking.ts"
import { embeddingTokens, mostEmbeddingTokens, mostPromptTokens } from "../route/TokenEstimator.ts"
import * as GenAi from "../telemetry/GenAi.ts"

/** What is told of a stream while it comes. */
export interface Receiver {
  readonly onFrame: (frame: Frame) => Effect.Effect<void>
  readonly onDelta: (delta: Delta) => Effect.Effect<void>
}

/** A question, and what it weighs. */
export interface Asking<A> {
  readonly need: Need
  /** Estimated prompt tokens of the whole call; `need` has those that share one context window. */
  readonly promptTokens: number
  /** The most that they can be. */
  readonly mostPromptTokens: number
  readonly ask: (ready: ReadyProvider, model: ModelCard, receiver: Receiver) => Effect.Effect<A, ProviderError>
}

/** Asks for a completion. `streamed`: the receiver gets it piece by piece as well. */
export const forCompletion = (
  request: ChatRequest,
  need: Need,
  { streamed, tracePrompts }: { readonly streamed: boolean; readonly tracePrompts: boolean }
): Asking<Completion> => ({
  need,
  promptTokens: need.promptTokens,
  mostPromptTokens: Math.max(need.promptTokens, mostPromptTokens(request)),
  ask: ({ adapter, apiKey, card }, model, receiver) => {
    const call = {
      upstreamModel: model.upstreamName,
      request,
      apiKey,
      estimatedPromptTokens: need.promptTokens,
      maxOutputTokens: defaultOutputTokens(model)
    }
    return GenAi.traced(
      { providerType: card.providerType, model: model.upstreamName, request, tracePrompts },
      streamed ? drain((receive) => adapter.stream(call, receive), receiver) : adapter.complete(call)
    )
  }
})

/** Asks for embeddings. */
export const forEmbeddings = (request: EmbeddingRequest): Asking<Embeddings> => {
  const { longest, total } = embeddingTokens(request)
  return {
    need: { promptTokens: longest, maxTokens: 0, capabilities: ["embeddings"] },
    promptTokens: total,
    mostPromptTokens: mostEmbeddingTokens(request),
    ask: ({ adapter, apiKey, card }, model) =>
      adapter.embed === undefined
        ? Effect.fail(noEmbeddings(card.name))
        : GenAi.tracedEmbeddings(
          { providerType: card.providerType, model: model.upstreamName, request },
          adapter.embed({ upstreamModel: model.upstreamName, request, apiKey, estimatedPromptTokens: total })
        )
  }
}

const noEmbeddings = (provider: string): ProviderError =>
  new ProviderError({
    fault: "unsupported",
    message: `The provider '${provider}' makes no embeddings`,
    param: "model",
    sent: false
  })

/** Hands every frame and delta of a stream on and gives the whole answer at the end. */
const drain = (
  stream: (receive: Receive) => Effect.Effect<void, ProviderError>,
  receiver: Receiver
): Effect.Effect<Completion, ProviderError> =>
  Effect.suspend(() => {
    let completion: Completion | undefined
    const receive = (event: StreamEvent): Effect.Effect<void> => {
      if (event.type === "frame") return receiver.onFrame(event)
      if (event.type !== "end") return receiver.onDelta(event)
      completion = event.completion
      return Effect.void
    }
    return Effect.flatMap(stream(receive), () =>
      completion === undefined
        ? Effect.fail(new ProviderError({ fault: "stream_interrupted", message: "The stream ended too early", sent: true }))
        : Effect.succeed(completion))
  })
