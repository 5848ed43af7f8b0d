/**
 * What to do after a failed upstream call: a pure decision on plain facts (FAULTS.md rows 1 to 42). Waiting is done by
 * `Schedules.ts`, choosing the next model by the router.
 */
import type { Fault, ProviderError } from "../domain/ProviderError.ts"

/** How one fault is treated. */
interface Rule {
  /** How often the same model is asked again. */
  readonly retries: number
  /** Where the run may go next: any better model, only a larger context window, or nowhere. */
  readonly escalate: "any" | "larger_context" | "no"
  /** How many hops of one call this fault may cause. */
  readonly hops: number
  /** Counts for the circuit breaker. */
  readonly breaks: boolean
  /** How long the model is left alone; a Retry-After of the upstream stands before it. */
  readonly coolDownMs: number
  /** Whether the upstream may have billed the call, so that the ledger books an estimate. */
  readonly billed: boolean
}

const rule = (given: Partial<Rule>): Rule => ({
  retries: 0,
  escalate: "no",
  hops: 3,
  breaks: false,
  coolDownMs: 0,
  billed: false,
  ...given
})

const minute = 60_000

/** One row a fault. */
const rules: { readonly [F in Fault]: Rule } = {
  invalid_request: rule({}),
  unsupported: rule({}),
  unprocessable: rule({}),
  content_filter: rule({}),
  context_overflow: rule({ escalate: "larger_context", hops: 1 }),
  payload_too_large: rule({ escalate: "larger_context" }),
  authentication: rule({ escalate: "any", coolDownMs: 5 * minute }),
  permission: rule({ escalate: "any" }),
  model_not_found: rule({ escalate: "any", coolDownMs: minute }),
  request_timeout: rule({ retries: 1, escalate: "any", breaks: true }),
  conflict: rule({ retries: 1 }),
  rate_limited: rule({ escalate: "any", coolDownMs: 5_000 }),
  quota_exhausted: rule({ escalate: "any", coolDownMs: 5 * minute }),
  server_error: rule({ retries: 1, escalate: "any", breaks: true }),
  unavailable: rule({ retries: 2, escalate: "any", breaks: true }),
  overloaded: rule({ escalate: "any", breaks: true }),
  redirected: rule({}),
  malformed_response: rule({ escalate: "any", hops: 1, billed: true }),
  truncated_response: rule({ escalate: "any", hops: 1, breaks: true, billed: true }),
  unexpected_body: rule({}),
  bad_encoding: rule({ billed: true }),
  response_too_large: rule({ billed: true }),
  connection_reset: rule({ retries: 1, breaks: true, billed: true }),
  stream_interrupted: rule({ breaks: true, billed: true }),
  stream_error: rule({ escalate: "any", billed: true }),
  first_token_timeout: rule({ escalate: "any", breaks: true, billed: true }),
  stream_stalled: rule({ billed: true }),
  call_timeout: rule({ billed: true }),
  name_not_resolved: rule({ escalate: "any", breaks: true }),
  connection_refused: rule({ escalate: "any", breaks: true }),
  connect_timeout: rule({ escalate: "any", breaks: true }),
  tls_error: rule({}),
  egress_refused: rule({}),
  empty_completion: rule({ escalate: "any", hops: 1, billed: true }),
  queue_full: rule({ escalate: "any" }),
  credential_missing: rule({ escalate: "any" }),
  credential_locked: rule({ escalate: "any" }),
  credential_corrupt: rule({ escalate: "any" }),
  circuit_open: rule({ escalate: "any" }),
  cooling_down: rule({ escalate: "any" })
}

/** What a call has been through when it fails. */
export interface History {
  /** Earlier tries of this model. */
  readonly retries: number
  /** The faults that led to the hops so far. */
  readonly hops: ReadonlyArray<Fault>
  /** The client has seen a part of this answer. */
  readonly committed: boolean
  readonly allowEscalation: boolean
  /** Milliseconds until the run's deadline. */
  readonly timeLeftMs: number
}

export type Decision =
  /** Ask the same model again; `waitMs` where the upstream named a time, else the retry schedule's own delay. */
  | { readonly type: "retry"; readonly waitMs?: number }
  | { readonly type: "escalate"; readonly to: "any" | "larger_context" }
  | { readonly type: "stop" }

/** The most models after the first that one call may ask. */
const maxHops = 3

/** Waits for a named time are taken at most so often. */
const maxWaits = 2

const stop: Decision = { type: "stop" }

export const decide = (error: ProviderError, history: History): Decision => {
  if (history.committed) return stop
  const { retries, escalate, hops } = rules[error.fault]
  const wait = error.fault === "rate_limited" ? error.retryAfterMs : undefined
  if (wait !== undefined && wait < history.timeLeftMs && history.retries < maxWaits) return { type: "retry", waitMs: wait }
  if (history.retries < retries) {
    return error.retryAfterMs === undefined || error.retryAfterMs >= history.timeLeftMs
      ? { type: "retry" }
      : { type: "retry", waitMs: error.retryAfterMs }
  }
  const caused = history.hops.filter((fault) => fault === error.fault).length
  return escalate !== "no" && history.allowEscalation && history.hops.length < maxHops && caused < hops
    ? { type: "escalate", to: escalate }
    : stop
}

/** What the health board is to remember of a fault. `spread` in 0…1 is the jitter of a cool-down that nobody named. */
export const consequence = (error: ProviderError, spread: number): { readonly breaks: boolean; readonly coolDownMs: number } => {
  const { breaks, coolDownMs } = rules[error.fault]
  const named = error.fault === "rate_limited" ? error.retryAfterMs : undefined
  return { breaks, coolDownMs: named ?? Math.round(coolDownMs * (1 + spread / 4)) }
}

/** Whether the upstream may bill a call that failed so. */
export const maybeBilled = (error: ProviderError): boolean => error.sent && rules[error.fault].billed

/** A fault that says "later", not "never". */
export const isRateLimit = (fault: Fault): boolean => fault === "rate_limited" || fault === "quota_exhausted"
