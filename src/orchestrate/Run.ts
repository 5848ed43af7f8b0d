/** One run: a client's request on its way through a mode, with all its upstream calls. */
import type { Effect } from "effect"
import type { Attempt } from "../domain/Attempt.ts"
import type { ChatRequest, Completion, Delta, Frame } from "../domain/Chat.ts"
import type { EmbeddingRequest, Embeddings } from "../domain/Embedding.ts"
import type { ModelName, ProviderName, RequestId } from "../domain/Ids.ts"
import type { NanoDollars } from "../domain/Money.ts"
import type { RoutingPolicy } from "../domain/Policy.ts"
import type { RequestError } from "../domain/RequestError.ts"
import type { Usage } from "../domain/Usage.ts"
import type { Cut } from "./Deadline.ts"

/** What the modes may be told, the same for every mode. */
export interface ModeOptions {
  /** Exact models for the roles; absent: the router chooses. */
  readonly planner?: string
  readonly critic?: string
  /** How many rounds of refinement may follow the first draft; 0: none. */
  readonly refinements: number
}

/** What a door hands to the orchestrator. */
export interface RunRequest {
  readonly id: RequestId
  readonly endpoint: string
  /** The client key's id; null for a caller without one. */
  readonly clientKey: string | null
  readonly chat: ChatRequest
  /** An exact name or alias; undefined: the router chooses. */
  readonly model: string | undefined
  readonly mode: string
  readonly options: ModeOptions
  readonly policy: RoutingPolicy
  /** Milliseconds that the run may take; undefined: Settings' whole run. */
  readonly deadlineMs?: number
  /** When TokenHub must end, and the run with it. */
  readonly cut?: Cut<RequestError>
  /** The most that the run may cost: a call whose ceiling would pass what is left is not made. */
  readonly maxCost?: NanoDollars
  /** Whether an event of the provider's own stream without deltas holds content; the first with any commits the answer. Absent: deltas alone do. */
  readonly hasContent?: (frame: Frame) => boolean
}

/** What the door of embeddings hands to the orchestrator. */
export interface EmbedRequest extends Pick<RunRequest, "id" | "endpoint" | "clientKey" | "model" | "policy" | "deadlineMs" | "maxCost" | "cut"> {
  readonly embedding: EmbeddingRequest
}

/** What a streaming client is told while the run goes on. `final` marks the pieces of the answer itself. */
export type RunEvent =
  | { readonly type: "step.started"; readonly step: string }
  /** A call leaves; what came of an earlier call of this step counts for nothing. */
  | {
    readonly type: "call.started"
    readonly step: string
    readonly model: ModelName
    readonly provider: ProviderName
    readonly estimatedPromptTokens: number
  }
  /**
   * An event of the provider's own stream; only in a mode that hands one answer through. `content`: from here on the client
   * sees a piece of the answer.
   */
  | { readonly type: "step.frame"; readonly step: string; readonly frame: Frame; readonly content: boolean }
  | { readonly type: "step.delta"; readonly step: string; readonly delta: Delta; readonly final: boolean }
  | { readonly type: "step.completed"; readonly step: string; readonly result: CallResult }

/** Where events go; undefined where the client wants the whole answer at once. */
export type EventSink = (event: RunEvent) => Effect.Effect<void>

/** The outcome of one step: the answer, who gave it, and what this step's calls used in all. */
export interface CallResult {
  readonly completion: Completion
  readonly model: ModelName
  readonly provider: ProviderName
  readonly usage: Usage
  readonly cost: NanoDollars
}

/** The outcome of a call for embeddings, likewise. */
export interface EmbeddingResult extends Omit<CallResult, "completion"> {
  readonly embeddings: Embeddings
}

/** A whole request for embeddings: usage and cost sum every call. */
export interface EmbedResult extends EmbeddingResult {
  readonly id: RequestId
  readonly attempts: ReadonlyArray<Attempt>
}

export interface RunResult {
  readonly id: RequestId
  readonly mode: string
  readonly completion: Completion
  readonly model: ModelName
  readonly provider: ProviderName
  /** Sums over every upstream call of the run, failed and discarded ones included. */
  readonly usage: Usage
  readonly cost: NanoDollars
  /** In the order in which they left. */
  readonly attempts: ReadonlyArray<Attempt>
  /** Why the answer is less than the mode promises; null: it is not. */
  readonly degraded: string | null
  /** What the mode wants to show beside the answer, under the mode's name. */
  readonly details: { readonly [name: string]: unknown }
}
