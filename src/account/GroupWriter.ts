/**
 * Group commit: everything that waits is written in one transaction, armed by `setImmediate`, so that all requests of one turn
 * of the event loop share a commit. What must not be lost stays queued while the database is unavailable.
 */
import type { Scope } from "effect"
import { Clock, Effect, Option, Schedule } from "effect"
import { StoreUnavailable } from "../domain/RequestError.ts"
import { StoreError } from "../store/StoreError.ts"

/** How long to wait before an unavailable database is tried again: 25 ms, doubling to 1 s. */
const retryWrites = Schedule.min([Schedule.exponential("25 millis"), Schedule.spaced("1 second")])

/** Rows of one transaction: small, so that a synchronous driver does not hold the event loop. */
const groupSize = 200

/** Writes that may wait. */
const capacity = 10_000

/** How long a caller may wait for an unavailable database before it is told so. */
const patienceMs = 2000

/** How long closing may take; a second SIGTERM must end the process within 2 s. */
const closingTime = "1500 millis"

type Resume = (result: Effect.Effect<void, StoreUnavailable>) => void

interface Entry<W> {
  /** undefined: the mark of a `flush`. */
  readonly write: W | undefined
  /** Whoever waits for the commit; without one the write is kept until it is written. */
  readonly resume: Resume | undefined
  cancelled: boolean
}

export interface GroupWriter<in W> {
  /** Returns when the write is committed; fails when the queue is full or the database stays unavailable. */
  readonly commit: (write: W) => Effect.Effect<void, StoreUnavailable>
  /** Queues a write that is kept until it is committed. */
  readonly enqueue: (write: W) => void
  /** Writes that wait. */
  readonly pending: () => number
  /** True when the queue has no room for writes that may be refused. */
  readonly full: () => boolean
  /** Returns when all that was queued before is committed. */
  readonly flush: Effect.Effect<void>
}

const nextTurn = Effect.callback<void>((resume) => {
  const handle = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(handle))
})

/**
 * A writer whose fiber lives as long as the scope; closing the scope writes what is left.
 * `write` gets up to 200 writes, in order, and commits all or none.
 */
export const make = Effect.fnUntraced(function*<W>(
  write: (writes: ReadonlyArray<W>) => Effect.Effect<void, StoreError>
): Effect.fn.Return<GroupWriter<W>, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
  let queue: Array<Entry<W>> = []
  let writing: ReadonlyArray<Entry<W>> = []
  let failingSince: number | undefined
  let failure = ""
  let wake: (() => void) | undefined

  const impatient = () => failingSince !== undefined && now() - failingSince >= patienceMs
  const pending = () => queue.length + writing.length
  const full = () => pending() >= capacity
  const refusal = (message: string) => Effect.fail(new StoreUnavailable({ message }))

  const push = (entry: Entry<W>) => {
    queue.push(entry)
    if (wake !== undefined) {
      setImmediate(wake)
      wake = undefined
    }
  }

  const work = Effect.callback<void>((resume) => {
    if (queue.length > 0) return resume(Effect.void)
    wake = () => resume(Effect.void)
  })

  /** One transaction; a defect of the store counts as a failure, so that the writer outlives it. */
  const attempt = (entries: ReadonlyArray<Entry<W>>): Effect.Effect<void, StoreError> => {
    const writes = entries.flatMap((entry) => (entry.write === undefined ? [] : [entry.write]))
    if (writes.length === 0) return Effect.void
    return write(writes).pipe(
      Effect.catchDefect((cause) =>
        Effect.fail(new StoreError({ kind: "other", message: "The database failed unexpectedly", cause }))),
      Effect.tap(() => {
        if (failingSince === undefined) return Effect.void
        failingSince = undefined
        return Effect.logInfo("The ledger is written again")
      })
    )
  }

  const tell = (entries: ReadonlyArray<Entry<W>>, result: Effect.Effect<void, StoreUnavailable>) => {
    for (const entry of entries) entry.resume?.(result)
  }

  /** Keeps what must be written, and what may still wait; tells the rest. `began`: the write that failed. True if nothing is left to write. */
  const keepForLater = (entries: ReadonlyArray<Entry<W>>, error: StoreError, began: number): boolean => {
    // A lock was waited for already while this was tried.
    failingSince ??= began
    failure = error.message
    writing = []
    queue = [...entries, ...queue]
    if (impatient()) {
      const waiting = queue
      queue = waiting.filter((entry) => !mayBeRefused(entry))
      tell(waiting.filter(mayBeRefused), refusal(error.message))
    }
    return queue.length === 0
  }

  /** A row that the database refuses must not hold up the others: each is tried alone. */
  const separately = Effect.fnUntraced(function*(entries: ReadonlyArray<Entry<W>>, error: StoreError, began: number) {
    const marks = entries.filter(isMark)
    const rows = entries.filter((entry) => !isMark(entry))
    const failed: Array<{ readonly entry: Entry<W>; readonly error: StoreError }> = []
    for (const entry of rows) {
      yield* Effect.match(attempt([entry]), {
        onFailure: (error) => void failed.push({ entry, error }),
        onSuccess: () => tell([entry], Effect.void)
      })
    }
    const later: Array<Entry<W>> = []
    for (const { entry, error } of failed) {
      if (isOutage(error)) later.push(entry)
      else if (entry.resume !== undefined) entry.resume(refusal(error.message))
      else if (failed.length === rows.length) later.push(entry)
      else yield* Effect.logError("The database refuses a row; it is not logged", { reason: error.message, row: entry.write })
    }
    if (later.length > 0) return keepForLater([...later, ...marks], error, began)
    writing = []
    tell(marks, Effect.void)
    return true
  })

  /** Writes the first group of the queue; false if something of it is left. */
  const writeGroup = Effect.uninterruptible(Effect.suspend(() => {
    const group = queue.slice(0, groupSize).filter((entry) => !entry.cancelled)
    queue = queue.slice(groupSize)
    writing = group
    const began = now()
    return Effect.matchEffect(attempt(group), {
      onSuccess: () => {
        writing = []
        tell(group, Effect.void)
        return Effect.succeed(true)
      },
      onFailure: (error) => {
        if (!isOutage(error)) return separately(group, error, began)
        return Effect.succeed(keepForLater(group, error, began))
      }
    })
  }))

  const drain = Effect.gen(function*() {
    while (queue.length > 0) {
      const before = failingSince
      if (!(yield* writeGroup)) {
        if (before === undefined) {
          yield* Effect.logWarning("The ledger can't be written; writes wait", { reason: failure, pending: pending() })
        }
        return yield* Effect.fail("unavailable")
      }
      yield* nextTurn
    }
  }).pipe(Effect.retry(retryWrites), Effect.orDie)

  yield* Effect.addFinalizer(() =>
    drain.pipe(
      Effect.interruptible,
      Effect.timeoutOption(closingTime),
      Effect.flatMap(Option.match({
        onNone: () => Effect.logError("The ledger could not be written before the end", { lost: pending() }),
        onSome: () => Effect.void
      }))
    )
  )
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(work, drain)))

  return {
    commit: (write) =>
      Effect.callback((resume) => {
        if (full()) return resume(refusal("Too many writes wait for the database"))
        if (impatient() && pending() > 0) return resume(refusal(failure))
        const entry = { write, resume, cancelled: false }
        push(entry)
        return Effect.sync(() => entry.cancelled = true)
      }),
    enqueue: (write) => push({ write, resume: undefined, cancelled: false }),
    pending,
    full,
    flush: Effect.callback((resume) => push({ write: undefined, resume: () => resume(Effect.void), cancelled: false }))
  }
})

/** Nothing is wrong with the rows; the same write may work later. */
const isOutage = (error: StoreError): boolean => error.kind === "unavailable" || error.kind === "corrupt"

const isMark = (entry: Entry<unknown>): boolean => entry.write === undefined

const mayBeRefused = (entry: Entry<unknown>): boolean => !isMark(entry) && entry.resume !== undefined
