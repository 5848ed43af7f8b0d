/** One upstream call of a run, as the answer and the ledger show it. */
import type { ModelName, ProviderName } from "./Ids.ts"
import type { NanoDollars } from "./Money.ts"
import type { Fault } from "./ProviderError.ts"
import type { Usage } from "./Usage.ts"

/** `context_overflow` without a call: the estimate did not fit. `unknown`: the process died before the call was settled. */
export type Outcome = "ok" | "cancelled" | "unknown" | Fault

export interface Attempt {
  /** From 0, in the order of the calls of one run. */
  readonly index: number
  /** What the mode asked for: `answer`, `plan`, `critique`, `refine`, … */
  readonly step: string
  readonly model: ModelName
  readonly provider: ProviderName
  readonly outcome: Outcome
  /** Why it failed, scrubbed of secrets; absent when it did not. */
  readonly reason?: string
  /** Unix time in milliseconds. */
  readonly startedAt: number
  readonly durationMs: number
  readonly timeToFirstTokenMs?: number
  readonly usage: Usage
  readonly cost: NanoDollars
}
