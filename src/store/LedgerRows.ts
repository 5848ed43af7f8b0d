/** The ledger's rows and their columns, both ways. Plain functions: they run for every request. */
import type { Attempt, Outcome } from "../domain/Attempt.ts"
import { ModelName, ProviderName } from "../domain/Ids.ts"
import type { NanoDollars } from "../domain/Money.ts"
import type { Usage } from "../domain/Usage.ts"

/**
 * A client or admin request, as the log keeps it: the architecture's six fields (timestamp, event type, model, tokens,
 * duration, mode) and more.
 */
export interface RequestRow {
  readonly id: string
  /** Unix milliseconds. */
  readonly at: number
  /** `chat`, `admin`, … */
  readonly event: string
  readonly endpoint: string
  readonly mode: string | null
  /** The model and provider that gave the answer, or were asked for. */
  readonly model: string | null
  readonly provider: string | null
  readonly clientKey: string | null
  /** null while the request runs; 499: the client left. */
  readonly status: number | null
  readonly errorCode: string | null
  readonly durationMs: number | null
  /** The most that the request can cost, reserved when it opened. */
  readonly reserved: NanoDollars
  readonly usage: Usage
  readonly cost: NanoDollars
}

/** A billion dollars: sums of amounts stay inside the database's 64 bits. */
const mostNanos = 1_000_000_000_000_000_000n

/** An amount as a column takes it. */
export const nanos = (amount: NanoDollars): bigint => (amount < 0n ? 0n : amount > mostNanos ? mostNanos : amount)

/** One senseless figure must not keep a whole group of writes out of the database. */
export const whole = (value: number): number =>
  Number.isFinite(value) ? Math.min(Math.max(0, Math.round(value)), Number.MAX_SAFE_INTEGER) : 0

const wholeOrNull = (value: number | null | undefined): number | null =>
  value === null || value === undefined ? null : whole(value)

/** A row as the database gives it with `SafeIntegers`. */
export interface UsageColumns {
  readonly prompt_tokens: bigint
  readonly cached_tokens: bigint
  readonly cache_write_tokens: bigint
  readonly completion_tokens: bigint
  readonly reasoning_tokens: bigint
  readonly estimated: bigint
}

export interface RequestColumns extends UsageColumns {
  readonly id: string
  readonly at: bigint
  readonly event: string
  readonly endpoint: string
  readonly mode: string | null
  readonly model: string | null
  readonly provider: string | null
  readonly client_key: string | null
  readonly status: bigint | null
  readonly error_code: string | null
  readonly duration_ms: bigint | null
  readonly reserved: bigint
  readonly cost: bigint
}

export interface AttemptColumns extends UsageColumns {
  readonly request_id: string
  readonly number: bigint
  readonly step: string
  readonly model: string
  readonly provider: string
  readonly outcome: string | null
  readonly reason: string | null
  readonly started_at: bigint
  readonly duration_ms: bigint
  readonly first_token_ms: bigint | null
  readonly reserved: bigint
  readonly cost: bigint
}

/** The columns of `Usage`. */
export const tokenColumns = [
  "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens", "estimated"
] as const

/** The columns in the order of `requestValues`. */
export const requestColumns = [
  "id", "at", "event", "endpoint", "mode", "model", "provider", "client_key", "status", "error_code", "duration_ms",
  "reserved", "cost", ...tokenColumns
] as const satisfies ReadonlyArray<keyof RequestColumns>

/** The columns in the order of `attemptValues`. */
export const attemptColumns = [
  "request_id", "number", "step", "model", "provider", "outcome", "reason", "started_at", "duration_ms",
  "first_token_ms", "reserved", "cost", ...tokenColumns
] as const satisfies ReadonlyArray<keyof AttemptColumns>

/** What a column of the ledger takes. */
type Value = string | number | bigint | null

/** The columns in the order of `openValues`; those that begin with `of_` are the request's. */
export const openColumns = [
  "request_id", "number", "step", "model", "provider", "started_at", "reserved", "of_at", "of_event", "of_endpoint",
  "of_mode", "of_model", "of_provider", "of_client_key", "of_reserved"
] as const

const usageValues = (usage: Usage): ReadonlyArray<number> => [
  whole(usage.promptTokens),
  whole(usage.cachedTokens),
  whole(usage.cacheWriteTokens),
  whole(usage.completionTokens),
  whole(usage.reasoningTokens),
  usage.estimated ? 1 : 0
]

/** A settled request, whatever its status says. */
export const requestValues = (row: RequestRow): ReadonlyArray<Value> => [
  row.id,
  whole(row.at),
  row.event,
  row.endpoint,
  row.mode,
  row.model,
  row.provider,
  row.clientKey,
  whole(row.status ?? 0),
  row.errorCode,
  wholeOrNull(row.durationMs),
  nanos(row.reserved),
  nanos(row.cost),
  ...usageValues(row.usage)
]

/** A settled call. */
export const attemptValues = (requestId: string, attempt: Attempt, reserved: NanoDollars): ReadonlyArray<Value> => [
  requestId,
  whole(attempt.index),
  attempt.step,
  attempt.model,
  attempt.provider,
  attempt.outcome,
  attempt.reason ?? null,
  whole(attempt.startedAt),
  whole(attempt.durationMs),
  wholeOrNull(attempt.timeToFirstTokenMs),
  nanos(reserved),
  nanos(attempt.cost),
  ...usageValues(attempt.usage)
]

/** A call that leaves, and its request: how they end is not known yet. */
export const openValues = (row: RequestRow, attempt: Attempt, reserved: NanoDollars): ReadonlyArray<Value> => [
  row.id,
  whole(attempt.index),
  attempt.step,
  attempt.model,
  attempt.provider,
  whole(attempt.startedAt),
  nanos(reserved),
  whole(row.at),
  row.event,
  row.endpoint,
  row.mode,
  row.model,
  row.provider,
  row.clientKey,
  nanos(row.reserved)
]

const toUsage = (row: UsageColumns): Usage => ({
  promptTokens: Number(row.prompt_tokens),
  cachedTokens: Number(row.cached_tokens),
  cacheWriteTokens: Number(row.cache_write_tokens),
  completionTokens: Number(row.completion_tokens),
  reasoningTokens: Number(row.reasoning_tokens),
  estimated: row.estimated !== 0n
})

export const toRequest = (row: RequestColumns): RequestRow => ({
  id: row.id,
  at: Number(row.at),
  event: row.event,
  endpoint: row.endpoint,
  mode: row.mode,
  model: row.model,
  provider: row.provider,
  clientKey: row.client_key,
  status: row.status === null ? null : Number(row.status),
  errorCode: row.error_code,
  durationMs: row.duration_ms === null ? null : Number(row.duration_ms),
  reserved: row.reserved,
  usage: toUsage(row),
  cost: row.cost
})

/** An attempt that is still open shows as `unknown`. */
export const toAttempt = (row: AttemptColumns): Attempt => ({
  index: Number(row.number),
  step: row.step,
  model: ModelName.make(row.model),
  provider: ProviderName.make(row.provider),
  // Written by `attemptValues` or `recover` only.
  outcome: (row.outcome ?? "unknown") as Outcome,
  ...(row.reason === null ? {} : { reason: row.reason }),
  startedAt: Number(row.started_at),
  durationMs: Number(row.duration_ms),
  ...(row.first_token_ms === null ? {} : { timeToFirstTokenMs: Number(row.first_token_ms) }),
  usage: toUsage(row),
  cost: row.cost
})
