import type { Effect } from "effect"
import { Context } from "effect"
import type { Attempt } from "../domain/Attempt.ts"
import type { NanoDollars } from "../domain/Money.ts"
import type { Usage } from "../domain/Usage.ts"
import type { StoreError } from "./StoreError.ts"

/** A client or admin request, as the log keeps it: the architecture's six fields (timestamp, event type, model, tokens, duration, mode) and more. */
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

export type LedgerWrite =
  | { readonly type: "open"; readonly row: RequestRow }
  | { readonly type: "attempt_open"; readonly requestId: string; readonly attempt: Attempt; readonly reserved: NanoDollars }
  | { readonly type: "attempt_settle"; readonly requestId: string; readonly attempt: Attempt }
  | { readonly type: "settle"; readonly row: RequestRow }

export interface RequestFilter {
  readonly limit: number
  /** Rows before this id (newest first): the last id of the page before. */
  readonly before?: string
  readonly model?: string
  readonly provider?: string
  readonly mode?: string
  readonly key?: string
  readonly status?: number
  readonly event?: string
  /** Unix milliseconds, inclusive and exclusive. */
  readonly since?: number
  readonly until?: number
}

export type UsageGroup = "model" | "provider" | "key" | "mode"

export interface UsageQuery {
  readonly groupBy: UsageGroup
  readonly bucket?: "hour" | "day"
  readonly since?: number
  readonly until?: number
}

export interface UsageRow {
  readonly group: string
  /** Start of the bucket, Unix milliseconds; absent without a bucket. */
  readonly bucket?: number
  readonly requests: number
  readonly attempts: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
  readonly cost: NanoDollars
}

/** The rows of `requests`, `attempts` and `usage_hourly`. */
export class LedgerStore extends Context.Service<LedgerStore, {
  /** All writes in one transaction, in order; a settled attempt or request adds to `usage_hourly` in the same transaction. */
  readonly write: (writes: ReadonlyArray<LedgerWrite>) => Effect.Effect<void, StoreError>
  readonly requests: (filter: RequestFilter) => Effect.Effect<ReadonlyArray<RequestRow>, StoreError>
  readonly request: (id: string) => Effect.Effect<{ readonly row: RequestRow; readonly attempts: ReadonlyArray<Attempt> } | undefined, StoreError>
  readonly usage: (query: UsageQuery) => Effect.Effect<ReadonlyArray<UsageRow>, StoreError>
  /** After an unclean stop: rows still open are settled at their reserved maximum and marked `unknown`; the number of requests. */
  readonly recover: (now: number) => Effect.Effect<number, StoreError>
  /** Deletes up to `batch` requests, with their attempts, older than `before`; the number deleted. */
  readonly prune: (before: number, batch: number) => Effect.Effect<number, StoreError>
}>()("tokenhub/LedgerStore") {}
