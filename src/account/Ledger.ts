/** The ledger: every request and every upstream call as rows, written in groups, settled once. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { Attempt } from "../domain/Attempt.ts"
import type { NanoDollars } from "../domain/Money.ts"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import type { RequestFilter, RequestRow, UsageQuery, UsageRow } from "../store/LedgerStore.ts"

export type { RequestFilter, RequestRow, UsageGroup, UsageQuery, UsageRow } from "../store/LedgerStore.ts"

export class Ledger extends Context.Service<Ledger, {
  /** Returns when the row is committed: before the first upstream call leaves. */
  readonly open: (row: RequestRow) => Effect.Effect<void, StoreUnavailable>
  /** Returns when the row is committed: before the call leaves. */
  readonly openAttempt: (requestId: string, attempt: Attempt, reserved: NanoDollars) => Effect.Effect<void, StoreUnavailable>
  /** Queued; committed with the next group. Never lost by a failing database: it stays queued until it is written. */
  readonly settleAttempt: (requestId: string, attempt: Attempt) => Effect.Effect<void>
  /** Queued likewise. Also for requests that were never opened (refused ones, admin ones): one event row. */
  readonly settle: (row: RequestRow) => Effect.Effect<void>
  /** Writes that wait. */
  readonly pending: () => number
  /** Returns when all that was queued before is committed. */
  readonly flush: Effect.Effect<void>
  readonly requests: (filter: RequestFilter) => Effect.Effect<ReadonlyArray<RequestRow>, StoreUnavailable>
  readonly request: (id: string) => Effect.Effect<{ readonly row: RequestRow; readonly attempts: ReadonlyArray<Attempt> } | undefined, StoreUnavailable>
  readonly usage: (query: UsageQuery) => Effect.Effect<ReadonlyArray<UsageRow>, StoreUnavailable>
}>()("tokenhub/Ledger") {}
