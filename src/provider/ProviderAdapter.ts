/** The port that every provider's adapter implements: chat completion, embeddings, list of models, check of the key. */
import type { Effect, Redacted, Scope } from "effect"
import type { ProviderCard } from "../domain/Catalog.ts"
import type { ChatRequest, Completion, StreamEvent } from "../domain/Chat.ts"
import type { EmbeddingRequest, Embeddings } from "../domain/Embedding.ts"
import type { ProviderError } from "../domain/ProviderError.ts"

interface CallOf<Request> {
  /** The model as the provider names it. */
  readonly upstreamModel: string
  readonly request: Request
  /** The credential for this call; undefined where the provider needs none. */
  readonly apiKey: Redacted.Redacted | undefined
  /** Estimated by the router; stands in where the provider reports no usage. */
  readonly estimatedPromptTokens: number
}

/** One upstream call for a completion. */
export interface ProviderCall extends CallOf<ChatRequest> {
  /** The room that routing left for the answer where the request names none, for vendors that want a number. */
  readonly maxOutputTokens: number
}

/** One upstream call for embeddings. */
export interface EmbeddingCall extends CallOf<EmbeddingRequest> {}

/** Takes a stream's events, one after the other: while it waits, so does the upstream. */
export type Receive = (event: StreamEvent) => Effect.Effect<void>

/**
 * One provider instance, ready to be called. Implementations never retry and never follow redirects; interruption closes the
 * upstream's socket. Every failure is a classified `ProviderError`.
 */
export interface ProviderAdapter {
  /** The whole answer in one piece. */
  readonly complete: (call: ProviderCall) => Effect.Effect<Completion, ProviderError>
  /** Hands on deltas, then exactly one `end`. A stream that breaks off fails; it never ends as if all were well. */
  readonly stream: (call: ProviderCall, receive: Receive) => Effect.Effect<void, ProviderError>
  /** As many vectors as there are inputs, in their order; absent: the provider makes no embeddings. */
  readonly embed?: (call: EmbeddingCall) => Effect.Effect<Embeddings, ProviderError>
  /** The models that the provider offers to this key, by its own names. */
  readonly models: (apiKey: Redacted.Redacted | undefined) => Effect.Effect<ReadonlyArray<string>, ProviderError>
}

/** A kind of provider: what makes an adapter out of an instance's card. */
export interface ProviderType {
  /** As in `provider_type`. */
  readonly name: string
  /** The vendor's own base URL; null: the instance must give one; empty: there is no network behind it. */
  readonly defaultBaseUrl: string | null
  readonly needsKey: boolean
  /** A local server (Ollama, vLLM, …), which may be on a private address without a switch. */
  readonly local: boolean
  /** Environment variables that may hold a key besides `{TYPE}_API_KEY`, in this order. */
  readonly keyVariables?: ReadonlyArray<string>
  /** Instances are made by admins only: a key in the environment alone, which is another type's too, makes none. */
  readonly onRequest?: true
  /** Adapters live as long as the instance's card stays as it is; then their scope is closed. */
  readonly make: (card: ProviderCard) => Effect.Effect<ProviderAdapter, never, Scope.Scope>
}
