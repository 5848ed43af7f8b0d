import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import type { Statement } from "effect/sql"
import type { Attempt } from "../domain/Attempt.ts"
import { requestIdsFrom } from "../domain/Ids.ts"
import type { NanoDollars } from "../domain/Money.ts"
import { LedgerBatch, LedgerSqlClient } from "./Database.ts"
import { settleUnknown } from "./LedgerRecovery.ts"
import type { AttemptColumns, RequestColumns, RequestRow } from "./LedgerRows.ts"
import { attemptValues, openValues, requestValues, toAttempt, toRequest } from "./LedgerRows.ts"
import { ledgerStatements } from "./LedgerStatements.ts"
import type { Run } from "./SqliteClient.ts"
import type { StoreError } from "./StoreError.ts"
import { toStoreError } from "./StoreError.ts"
import { snapshot, statement, transaction } from "./Transaction.ts"
import { isUsage, UsageTally } from "./UsageTally.ts"

export type { RequestRow } from "./LedgerRows.ts"

/** Whose usage a call is, beside its model's and provider's. */
export interface Payer {
  readonly clientKey: string | null
  readonly mode: string | null
}

export type LedgerWrite =
  /** A call that is about to leave, and its request. */
  | { readonly type: "open"; readonly row: RequestRow; readonly attempt: Attempt; readonly reserved: NanoDollars }
  | ({ readonly type: "settle_attempt"; readonly requestId: string; readonly attempt: Attempt } & Payer)
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
  /** Unix milliseconds, inclusive and exclusive; whole hours count that begin in between, and the hour of `since`. */
  readonly since?: number
  readonly until?: number
}

export interface UsageRow {
  /** Empty where there was none. */
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

/** Calls of one client key, or of everyone; Unix milliseconds of whole hours, inclusive and exclusive (it may be Infinity). */
export interface Spending {
  readonly clientKey?: string
  readonly since: number
  readonly until: number
}

const groupColumns = { model: "model", provider: "provider", key: "client_key", mode: "mode" } as const

/** `at` has no index: ids sort by time. A request has its id before its body has come in and `at` after that, at most this later. */
const arrivalMs = 600_000

/** How far the clock may have been set back in between. */
const clockMs = 60_000

const bucketMs = { hour: 3_600_000, day: 86_400_000 } as const

/**
 * The values that the partial indexes of `requests` leave out; a search for another one must repeat the index's
 * condition.
 */
const unindexed: ReadonlyMap<string, { readonly value: string | number; readonly condition: string }> = new Map([
  ["event", { value: "chat", condition: "event <> 'chat'" }],
  ["status", { value: 200, condition: "status <> 200" }],
  ["mode", { value: "simple", condition: "mode <> 'simple'" }]
])

interface SummedUsage {
  readonly name: string
  readonly bucket: bigint
  readonly requests: bigint
  readonly attempts: bigint
  readonly prompt_tokens: bigint
  readonly cached_tokens: bigint
  readonly completion_tokens: bigint
  readonly cost: bigint
}

const make = Effect.gen(function*() {
  const batch = yield* LedgerBatch
  const sql = yield* LedgerSqlClient
  const text = ledgerStatements(sql)
  const safely = Effect.provideService(SqlClient.SafeIntegers, true)

  const addUsage = (run: Run, tally: UsageTally) => {
    for (const row of tally.rows()) run(text.usage, row)
  }

  const writeAll = (writes: ReadonlyArray<LedgerWrite>) => (run: Run) => {
    const tally = new UsageTally()
    for (const write of writes) {
      switch (write.type) {
        case "open":
          run(text.open, openValues(write.row, write.attempt, write.reserved))
          break
        case "settle_attempt": {
          const { attempt, clientKey, mode, requestId } = write
          if (run(text.settleAttempt, attemptValues(requestId, attempt, attempt.cost)) === 0) break
          const { cost, model, provider, startedAt, usage } = attempt
          tally.add({ at: startedAt, model, provider, clientKey, mode }, { attempts: 1, usage, cost })
          break
        }
        case "settle":
          run(text.close, [write.row.id])
          if (run(text.settle, requestValues(write.row)) === 0) break
          if (isUsage(write.row.event)) tally.add(write.row, { requests: 1 })
          break
      }
    }
    addUsage(run, tally)
  }

  /** Requests that run, as rows of the log: by their first call. */
  const running = sql`(
    SELECT request_id AS id, of_at AS at, of_event AS event, of_endpoint AS endpoint, of_mode AS mode, of_model AS model,
      of_provider AS provider, of_client_key AS client_key, NULL AS status, NULL AS error_code, NULL AS duration_ms, of_reserved AS reserved,
      0 AS prompt_tokens, 0 AS cached_tokens, 0 AS cache_write_tokens, 0 AS completion_tokens, 0 AS reasoning_tokens, 0 AS estimated, 0 AS cost
    FROM open_calls WHERE number = 0)`

  /** Calls that run, as rows of `attempts`. */
  const runningCalls = sql`(
    SELECT request_id, number, step, model, provider, NULL AS outcome, NULL AS reason, started_at, 0 AS duration_ms, NULL AS first_token_ms,
      reserved, 0 AS prompt_tokens, 0 AS cached_tokens, 0 AS cache_write_tokens, 0 AS completion_tokens, 0 AS reasoning_tokens,
      0 AS estimated, 0 AS cost
    FROM open_calls AS one
    WHERE NOT EXISTS (SELECT 1 FROM attempts WHERE request_id = one.request_id AND number = one.number))`

  const requests = (filter: RequestFilter) => {
    const equals = (column: string, value: string | number | undefined) => {
      if (value === undefined) return []
      const most = unindexed.get(column)
      return [
        sql`${sql(column)} = ${value}`,
        ...(most === undefined || most.value === value ? [] : [sql.literal(most.condition)])
      ]
    }
    const conditions = [
      ...(filter.before === undefined ? [] : [sql`id < ${filter.before}`]),
      ...equals("model", filter.model),
      ...equals("provider", filter.provider),
      ...equals("mode", filter.mode),
      ...equals("client_key", filter.key),
      ...equals("status", filter.status),
      ...equals("event", filter.event),
      ...(filter.since === undefined ? [] : [sql`at >= ${filter.since}`, sql`id >= ${requestIdsFrom(filter.since - arrivalMs)}`]),
      ...(filter.until === undefined ? [] : [sql`at < ${filter.until}`, sql`id < ${requestIdsFrom(filter.until + clockMs)}`])
    ]
    const from = (table: Statement.Fragment) =>
      sql<RequestColumns>`SELECT * FROM ${table} WHERE ${sql.and(conditions)} ORDER BY id DESC LIMIT ${filter.limit}`
    return Effect.map(Effect.all([from(sql`requests`), from(running)]), ([settled, open]) =>
      [...settled, ...open].toSorted((a, b) => (a.id < b.id ? 1 : -1)).slice(0, filter.limit).map(toRequest))
  }

  const request = Effect.fnUntraced(function*(id: string) {
    const [row] = yield* sql<RequestColumns>`
      SELECT * FROM requests WHERE id = ${id} UNION ALL SELECT * FROM ${running} WHERE id = ${id}`
    if (row === undefined) return undefined
    const attempts = yield* sql<AttemptColumns>`
      SELECT * FROM attempts WHERE request_id = ${id} UNION ALL SELECT * FROM ${runningCalls} WHERE request_id = ${id} ORDER BY number`
    return { row: toRequest(row), attempts: attempts.map(toAttempt) }
  })

  const usage = (query: UsageQuery) => {
    const size = query.bucket === undefined ? undefined : bucketMs[query.bucket]
    const bucket = size === undefined ? sql.literal("0") : sql`hour - hour % ${size}`
    const conditions = [
      ...(query.since === undefined ? [] : [sql`hour > ${query.since - bucketMs.hour}`]),
      ...(query.until === undefined ? [] : [sql`hour < ${query.until}`])
    ]
    return Effect.map(
      sql<SummedUsage>`
        SELECT ${sql(groupColumns[query.groupBy])} AS name, ${bucket} AS bucket,
          sum(requests) AS requests, sum(attempts) AS attempts, sum(prompt_tokens) AS prompt_tokens,
          sum(cached_tokens) AS cached_tokens, sum(completion_tokens) AS completion_tokens, sum(cost) AS cost
        FROM usage_hourly WHERE ${sql.and(conditions)} GROUP BY 1, 2 ORDER BY 2, 1`,
      (rows) =>
        rows.map((row): UsageRow => ({
          group: row.name,
          ...(size === undefined ? {} : { bucket: Number(row.bucket) }),
          requests: Number(row.requests),
          attempts: Number(row.attempts),
          promptTokens: Number(row.prompt_tokens),
          cachedTokens: Number(row.cached_tokens),
          completionTokens: Number(row.completion_tokens),
          cost: row.cost
        }))
    )
  }

  const spent = ({ clientKey, since, until }: Spending) => {
    const conditions = [
      sql`hour >= ${since}`,
      ...(Number.isFinite(until) ? [sql`hour < ${until}`] : []),
      ...(clientKey === undefined ? [] : [sql`client_key = ${clientKey}`])
    ]
    return Effect.map(
      sql<{ readonly cost: bigint }>`SELECT coalesce(sum(cost), 0) AS cost FROM usage_hourly WHERE ${sql.and(conditions)}`,
      ([sum]) => sum?.cost ?? 0n
    )
  }

  const recover = Effect.fnUntraced(function*(now: number) {
    const tally = new UsageTally()
    const requests = yield* settleUnknown(sql, now, tally)
    for (const row of tally.rows()) yield* sql.unsafe(text.usage, row)
    return requests
  })

  const prune = Effect.fnUntraced(function*(before: number, batch: number) {
    const old = sql`SELECT id FROM requests WHERE id < ${requestIdsFrom(before)} ORDER BY id LIMIT ${batch}`
    yield* sql`DELETE FROM attempts WHERE request_id IN (${old})`
    const gone = yield* sql`DELETE FROM requests WHERE id IN (${old}) RETURNING 1`
    return gone.length
  })

  return LedgerStore.of({
    write: (writes) => writes.length === 0 ? Effect.void : Effect.mapError(batch.transaction(writeAll(writes)), toStoreError),
    requests: (filter) => statement(safely(requests(filter))),
    request: (id) => snapshot(sql)(safely(request(id))),
    usage: (query) => statement(safely(usage(query))),
    spent: (spending) => statement(safely(spent(spending))),
    recover: (now) => transaction(sql)(safely(recover(now))),
    prune: (before, batch) => transaction(sql)(prune(before, batch))
  })
})

/** The rows of `requests`, `attempts` and `usage_hourly`. */
export class LedgerStore extends Context.Service<LedgerStore, {
  /**
   * All writes in one transaction, in order. In the same transaction a settled request adds one to `usage_hourly`
   * (admin events do not), a settled attempt its tokens and cost; what is settled already stays as it is and is not
   * counted again. Does not wait where another program locks the database.
   */
  readonly write: (writes: ReadonlyArray<LedgerWrite>) => Effect.Effect<void, StoreError>
  readonly requests: (filter: RequestFilter) => Effect.Effect<ReadonlyArray<RequestRow>, StoreError>
  readonly request: (
    id: string
  ) => Effect.Effect<{ readonly row: RequestRow; readonly attempts: ReadonlyArray<Attempt> } | undefined, StoreError>
  readonly usage: (query: UsageQuery) => Effect.Effect<ReadonlyArray<UsageRow>, StoreError>
  /** What the settled calls that began in these hours cost. */
  readonly spent: (spending: Spending) => Effect.Effect<NanoDollars, StoreError>
  /**
   * After an unclean stop, before anything new is written: calls still open are settled at their reserved maximum as
   * `unknown`, their requests at the sum of their calls; the number of requests.
   */
  readonly recover: (now: number) => Effect.Effect<number, StoreError>
  /** Deletes up to `batch` settled requests, with their attempts, that came in before `before`; the number deleted. */
  readonly prune: (before: number, batch: number) => Effect.Effect<number, StoreError>
}>()("tokenhub/LedgerStore") {
  static readonly layer: Layer.Layer<LedgerStore, never, LedgerBatch | LedgerSqlClient> = Layer.effect(LedgerStore, make)
}
