/** The ledger: every request and every upstream call as rows, written in groups, settled once. */
import { Clock, Context, Effect, Layer, Schedule, Semaphore } from "effect"
import type { Attempt } from "../domain/Attempt.ts"
import type { NanoDollars } from "../domain/Money.ts"
import { StoreUnavailable } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import type { LedgerWrite, Payer, RequestFilter, RequestRow, Spending, UsageQuery, UsageRow } from "../store/LedgerStore.ts"
import { LedgerStore } from "../store/LedgerStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import * as GroupWriter from "./GroupWriter.ts"

export type { RequestFilter, RequestRow, UsageQuery, UsageRow } from "../store/LedgerStore.ts"

/** How long to wait before the recovery of an unclean stop is tried again. */
const retryRecovery = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("30 seconds")])

/** How often rows past their retention are looked for. */
const pruneTurns = Schedule.spaced("1 hour")

/** The pause between two batches of one turn, in which the ledger's own writes go through. */
const pruneBatches = Schedule.spaced("50 millis")

/** How long who wants to know what was spent waits for writes that an unavailable database holds up. */
const spentPatience = "2 seconds"

/** Gives up what asks for what was spent once it has waited for so long. */
export const impatiently = <A, E, R>(asking: Effect.Effect<A, E, R>): Effect.Effect<A, E | StoreUnavailable, R> =>
  Effect.timeoutOrElse(asking, {
    duration: spentPatience,
    orElse: () => Effect.fail(new StoreUnavailable({ message: "What was spent can't be read now" }))
  })

/** How long who reads the log waits likewise; then it is read as it is. */
const readPatience = "250 millis"

/** Requests that one batch deletes. */
const pruneBatch = 200

const dayMs = 86_400_000

export class Ledger extends Context.Service<Ledger, {
  /** Returns when the call and its request are committed as open: before the call leaves. */
  readonly open: (request: RequestRow, attempt: Attempt, reserved: NanoDollars) => Effect.Effect<void, StoreUnavailable>
  /** Queued; committed with the next group. Never lost by a failing database: it stays queued until it is written. */
  readonly settleAttempt: (requestId: string, attempt: Attempt, payer: Payer) => Effect.Effect<void>
  /** Queued likewise. Also for requests that were never opened (refused ones, admin ones): one event row. */
  readonly settle: (row: RequestRow) => Effect.Effect<void>
  /** Called with the row of every request as it is settled; returns how to stop it. */
  readonly onSettle: (listener: (row: RequestRow) => void) => () => void
  /** Writes that wait. */
  readonly pending: () => number
  /** Returns when all that was queued before is committed. */
  readonly flush: Effect.Effect<void>
  readonly requests: (filter: RequestFilter) => Effect.Effect<ReadonlyArray<RequestRow>, StoreUnavailable>
  readonly request: (id: string) => Effect.Effect<{ readonly row: RequestRow; readonly attempts: ReadonlyArray<Attempt> } | undefined, StoreUnavailable>
  readonly usage: (query: UsageQuery) => Effect.Effect<ReadonlyArray<UsageRow>, StoreUnavailable>
  /** What the calls that began in these hours cost, all that was settled before this included; calls of an unclean stop too. */
  readonly spent: (spending: Spending) => Effect.Effect<NanoDollars, StoreUnavailable>
}>()("tokenhub/Ledger") {
  static readonly layer: Layer.Layer<Ledger, never, LedgerStore | Settings> = Layer.effect(
    Ledger,
    Effect.gen(function*() {
      const store = yield* LedgerStore
      const { retentionDays } = yield* Settings

      /** Settles what an unclean stop left open; what is open later is open rightly, so nothing is written before. */
      let recovered = false
      const recover = Effect.gen(function*() {
        if (recovered) return
        const requests = yield* store.recover(yield* Clock.currentTimeMillis)
        recovered = true
        if (requests > 0) yield* Effect.logWarning("Requests of an unclean stop were settled as unknown", { requests })
      }).pipe((yield* Semaphore.make(1)).withPermits(1))

      const writer = yield* GroupWriter.make<LedgerWrite>((writes) =>
        recovered ? store.write(writes) : Effect.andThen(recover, store.write(writes)))
      yield* Metrics.ledgerPending(writer.pending)

      const prune = Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        return yield* store.prune(now - retentionDays * dayMs, pruneBatch)
      }).pipe(
        Effect.repeat({ schedule: pruneBatches, while: (deleted) => deleted >= pruneBatch }),
        Effect.catchTag("StoreError", (error) =>
          Effect.logWarning("Old ledger rows could not be deleted", { reason: error.message }))
      )

      yield* Effect.forkScoped(Effect.andThen(Effect.retry(recover, retryRecovery), Effect.repeat(prune, pruneTurns)))

      /** Requests with a row that waits to be settled; their settlements get in however long the queue is. */
      const opened = new Set<string>()
      const listeners = new Set<(row: RequestRow) => void>()
      let unlogged = 0

      /** A read after what was queued before, unless an unavailable database holds that up. */
      const upToDate = <A>(read: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreUnavailable> =>
        Effect.andThen(Effect.timeoutOption(writer.flush, readPatience), Effect.mapError(read, toStoreUnavailable))

      return Ledger.of({
        open: (row, attempt, reserved) =>
          Effect.map(writer.commit({ type: "open", row, attempt, reserved }), () => void opened.add(row.id)),
        settleAttempt: (requestId, attempt, { clientKey, mode }) => {
          writer.enqueue({ type: "settle_attempt", requestId, attempt, clientKey, mode })
          return Effect.void
        },
        settle: (row) =>
          Effect.suspend(() => {
            for (const listener of listeners) listener(row)
            if (opened.delete(row.id) || !writer.full()) {
              writer.enqueue({ type: "settle", row })
              return Effect.void
            }
            return unlogged++ % 1000 === 0
              ? Effect.logWarning("The ledger's queue is full; requests that cost nothing are not logged", { unlogged })
              : Effect.void
          }),
        onSettle: (listener) => {
          listeners.add(listener)
          return () => void listeners.delete(listener)
        },
        pending: writer.pending,
        flush: writer.flush,
        requests: (filter) => upToDate(store.requests(filter)),
        request: (id) => upToDate(store.request(id)),
        usage: (query) => upToDate(store.usage(query)),
        spent: (spending) =>
          Effect.andThen(recover, store.spent(spending)).pipe(
            Effect.mapError(toStoreUnavailable),
            (read) => Effect.andThen(writer.flush, read),
            impatiently
          )
      })
    })
  )
}
