/** How every model at its provider has been doing: circuit breaker, cool-downs, latency and error rate. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { ModelCard } from "../domain/Catalog.ts"
import type { Fault } from "../domain/ProviderError.ts"

export type CircuitState = "closed" | "open" | "half_open"

export interface Health {
  readonly circuit: CircuitState
  /** Milliseconds until it may be called again: 0 now. `reason` is set while it is more. */
  readonly retryAfterMs: number
  readonly reason?: "circuit_open" | "cooling_down"
  /** True where it cools because of a rate limit or a quota. */
  readonly rateLimited: boolean
  /** Moving averages. */
  readonly latencyMs: number
  readonly errorRate: number
}

export interface CallOutcome {
  readonly ok: boolean
  readonly fault?: Fault
  /** Counts for the circuit breaker (FAULTS.md, B). */
  readonly breaks: boolean
  /** How long to leave it alone; 0: not at all. */
  readonly coolDownMs: number
  readonly durationMs: number
}

export class HealthBoard extends Context.Service<HealthBoard, {
  /** State now; no I/O: the router asks for every candidate. */
  readonly of: (model: ModelCard) => Health
  /**
   * Asks to call the model now. False while its circuit is open, while it cools, or while another call is the one probe of
   * a half-open circuit; a true must be followed by one `record`.
   */
  readonly admit: (model: ModelCard) => Effect.Effect<boolean>
  readonly record: (model: ModelCard, outcome: CallOutcome) => Effect.Effect<void>
  /** A credential that was changed by an admin gets a fresh start. */
  readonly forget: (provider: string) => Effect.Effect<void>
}>()("tokenhub/HealthBoard") {}
