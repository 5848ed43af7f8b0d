/**
 * Group commit: what somebody waits for is written in one transaction at its stage of the turn, so that all requests of one turn
 * of the event loop share a commit. What nobody waits for is written in groups of its own, a moment later. What must not be lost
 * stays queued while the database is unavailable.
 */
import type { Scope } from "effect"
import { Clock, Effect, Option, Schedule } from "effect"
import { StoreUnavailable } from "../domain/RequestError.ts"
import { retryAfterFailure } from "../domain/Retry.ts"
import { inStage } from "../domain/Stages.ts"
import { StoreError } from "../store/StoreError.ts"

/** How long to wait before an unavailable database is tried again: 5 ms, doubling to 1 s. */
const retryWrites = Schedule.min([Schedule.exponential("5 millis"), Schedule.spaced("1 second")])

/** Another program's lock of less than this is nobody's business, in milliseconds. */
const unremarkableMs = 250

/** Rows of one transaction: few, so that a synchronous driver does not hold the event loop. */
const groupSize = 200

/** A transaction costs as much as ten rows: a group of fewer waits for more of them, as long as each turn brings some, so many turns. */
const worthwhile = { rows: 8, turns: 3 }

/** How long what nobody waits for gathers, in milliseconds. */
const idleMs = 25

/** Writes that may wait. */
const capacity = 10_000

/** How long a caller may wait for an unavailable database before it is told so. */
const patienceMs = 2000

/** How long closing may take; a second SIGTERM must end the process within 2 s. */
const closingTime = "1 second"

type Resume = (result: Effect.Effect<void, StoreUnavailable>) => void

interface Entry<W> {
  /** undefined: the mark of a `flush`. */
  readonly write: W | undefined
  /** Whoever waits for the commit; without one the write is kept until it is written. */
  readonly resume: Resume | undefined
  cancelled: boolean
  /** How many rows had been written when the database refused this one. */
  refusedAfter?: number
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

const nextTurn = Effect.callback<void>((resume) => inStage("commits", () => resume(Effect.void)))

/**
 * A writer whose fiber lives as long as the scope; closing the scope writes what is left.
 * `write` gets up to 200 writes, those of `commit` first and else in order, and commits all or none.
 */
export const make = Effect.fnUntraced(function*<W>(
  write: (writes: ReadonlyArray<W>) => Effect.Effect<void, StoreError>
): Effect.fn.Return<GroupWriter<W>, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
  /** What somebody waits for. */
  let commits: Array<Entry<W>> = []
  /** What is written later, and the marks of flushes. */
  let queue: Array<Entry<W>> = []
  let writing: ReadonlyArray<Entry<W>> = []
  let failingSince: number | undefined
  let failure = ""
  let remarked = false
  let written = 0
  let due: "nothing" | "commits" | "everything" = "nothing"
  let wake: (() => void) | undefined
  let idle: NodeJS.Timeout | undefined

  const impatient = () => failingSince !== undefined && now() - failingSince >= patienceMs
  const pending = () => commits.length + queue.length + writing.length
  const full = () => pending() >= capacity
  const refusal = (message: string) => Effect.fail(new StoreUnavailable({ message }))

  const rouse = (what: "commits" | "everything") => {
    if (due !== "everything") due = what
    if (wake === undefined) return
    const begin = wake
    wake = undefined
    const gather = (seen: number, turns: number) => {
      const { length } = commits
      const isEnough = length === seen || length >= worthwhile.rows || turns === worthwhile.turns
      if (isEnough || due === "everything") begin()
      else inStage("commits", () => gather(length, turns + 1))
    }
    inStage("commits", () => gather(0, 0))
  }

  const later = (entry: Entry<W>) => {
    queue.push(entry)
    if (isMark(entry) || queue.length >= groupSize) return rouse("everything")
    idle ??= setTimeout(() => {
      idle = undefined
      if (queue.length > 0) rouse("everything")
    }, idleMs)
  }

  const work = Effect.callback<void>((resume) => {
    if (due !== "nothing") return resume(Effect.void)
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
        written += writes.length
        failingSince = undefined
        if (!remarked) return Effect.void
        remarked = false
        return Effect.logInfo("The ledger is written again")
      })
    )
  }

  const tell = (entries: ReadonlyArray<Entry<W>>, result: Effect.Effect<void, StoreUnavailable>) => {
    for (const entry of entries) entry.resume?.(result)
  }

  /** Keeps what must be written, and what may still wait; tells the rest. `began`: the write that failed. True if nothing is left to write. */
  const keepForLater = (entries: ReadonlyArray<Entry<W>>, error: StoreError, began: number): boolean => {
    failingSince ??= began
    failure = error.message
    writing = []
    // The next try shows by whatever waits whether the database is back.
    due = "everything"
    commits = [...entries.filter(mayBeRefused), ...commits]
    queue = [...entries.filter((entry) => !mayBeRefused(entry)), ...queue]
    if (impatient()) {
      const refused = commits
      commits = []
      tell(refused, refusal(error.message))
    }
    return commits.length + queue.length === 0
  }

  /**
   * A row that the database refuses must not hold up the others: each is tried alone. One that nobody waits for is given up once
   * others were taken that came after its first refusal: then it is not the database.
   */
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
      else if (failed.length === rows.length && (entry.refusedAfter ??= written) === written) later.push(entry)
      else yield* Effect.logError("The database refuses a row; it is not logged", { reason: error.message, row: entry.write })
    }
    if (later.length > 0) return keepForLater([...later, ...marks], error, began)
    writing = []
    tell(marks, Effect.void)
    return true
  })

  /** Takes a group of what is due out of the queues. */
  const nextGroup = (): ReadonlyArray<Entry<W>> => {
    const group = commits.splice(0, groupSize)
    if (due === "everything") group.push(...queue.splice(0, groupSize - group.length))
    return group.filter((entry) => !entry.cancelled)
  }

  /** Writes one group; false if something of it is left. */
  const writeGroup = Effect.uninterruptible(Effect.suspend(() => {
    const group = nextGroup()
    writing = group
    const began = now()
    return Effect.matchEffect(attempt(group), {
      onSuccess: () => {
        writing = []
        if (due === "commits" || queue.length === 0) due = commits.length > 0 ? "commits" : "nothing"
        tell(group, Effect.void)
        return Effect.succeed(true)
      },
      onFailure: (error) => {
        if (!isOutage(error)) return separately(group, error, began)
        return Effect.succeed(keepForLater(group, error, began))
      }
    })
  }))

  /** Writes what is due, a group a turn of the event loop. */
  const writeDue: Effect.Effect<void, "unavailable"> = Effect.suspend(() => {
    if (due === "nothing") return Effect.void
    return Effect.flatMap(writeGroup, (done) => {
      if (done) return due === "nothing" ? Effect.void : Effect.andThen(nextTurn, writeDue)
      const failed = Effect.fail("unavailable" as const)
      if (remarked || failingSince === undefined || now() - failingSince < unremarkableMs) return failed
      remarked = true
      return Effect.andThen(Effect.logWarning("The ledger can't be written; writes wait", { reason: failure, pending: pending() }), failed)
    })
  })

  const drain = Effect.orDie(retryAfterFailure(writeDue, { schedule: retryWrites, while: () => true }))

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      clearTimeout(idle)
      due = "everything"
      return drain
    }).pipe(
      Effect.interruptible,
      Effect.timeoutOption(closingTime),
      Effect.flatMap(Option.match({
        onNone: () => Effect.logError("The ledger could not be written before the end", { lost: [...writing, ...commits, ...queue].filter((entry) => !isMark(entry)).length }),
        onSome: () => Effect.void
      }))
    )
  )
  // Without a yield it waits for work in the same turn, and all that comes in the next one is one group.
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(work, drain), { disableYield: true }))

  return {
    commit: (write) =>
      Effect.callback((resume) => {
        if (full()) return resume(refusal("Too many writes wait for the database"))
        if (impatient() && pending() > 0) return resume(refusal(failure))
        const entry = { write, resume, cancelled: false }
        commits.push(entry)
        rouse("commits")
        return Effect.sync(() => entry.cancelled = true)
      }),
    enqueue: (write) => later({ write, resume: undefined, cancelled: false }),
    pending,
    full,
    flush: Effect.callback((resume) => {
      const entry = { write: undefined, resume: () => resume(Effect.void), cancelled: false }
      later(entry)
      return Effect.sync(() => entry.cancelled = true)
    })
  }
})

/** Nothing is wrong with the rows; the same write may work later. */
const isOutage = (error: StoreError): boolean => error.kind === "unavailable" || error.kind === "corrupt"

const isMark = (entry: Entry<unknown>): boolean => entry.write === undefined

const mayBeRefused = (entry: Entry<unknown>): boolean => !isMark(entry) && entry.resume !== undefined
