/** What a request needs of a model, which models meet it, and why the others do not. */
import type { Capability, ModelCard } from "./Catalog.ts"
import type { ModelName } from "./Ids.ts"

export interface Need {
  /** Estimated, never exact. */
  readonly promptTokens: number
  /** What the client asked for; absent: each model's own default output counts. */
  readonly maxTokens: number | undefined
  readonly capabilities: ReadonlyArray<Capability>
}

/** In the order in which the filters look. */
export const dropReasons = [
  "not_allowed",
  "disabled",
  "no_credential",
  "vault_locked",
  "missing_capability",
  "context_too_small",
  "too_expensive",
  "unpriced",
  "circuit_open",
  "cooling_down",
  "already_tried",
  "not_an_escalation"
] as const
export type DropReason = (typeof dropReasons)[number]

export interface Drop {
  readonly model: ModelName
  readonly reason: DropReason
  /** One sentence with the figures. */
  readonly detail: string
  /** Milliseconds until the model may be called again, where time is all that stands in the way. */
  readonly retryAfterMs?: number
  /** True where a rate limit or a quota, and not a failure, is what it waits for. */
  readonly rateLimited?: boolean
}

/** What a caller may ask; every function answers without I/O. */
export interface CallerRules {
  readonly allows: (model: ModelCard) => boolean
  /** A budget has to pay: models without a price are left out. */
  readonly priced: boolean
  /** Milliseconds until the model's own limits a minute let a call pass; 0: now. */
  readonly waitMs: (model: ModelCard) => number
}

/** Ordered candidates, best first, and every model that was left out. */
export interface Ranking {
  readonly candidates: ReadonlyArray<ModelCard>
  readonly drops: ReadonlyArray<Drop>
}
