/**
 * How TokenHub stops (FAULTS.md rows 46 to 47a): not ready at once, no new work, what runs may end within the drain's time, then
 * it is cut. The listener stays open meanwhile, so that whoever asks is told 503 rather than refused.
 */
import type { Server } from "node:http"
import { Clock, Context, Effect, Latch, Layer } from "effect"
import { inStage } from "../domain/Stages.ts"
import { Settings } from "../Settings.ts"

/** Two signals closer than this are one: npm and the shell both pass it on. */
const sameSignalMs = 1000

/** How long requests that were cut may take to say so to their clients. */
const farewell = "500 millis"

/** How long connections may stay open after their last answer. */
const lingerMs = 500

export class Drain extends Context.Service<Drain, {
  readonly draining: () => boolean
  /** A request came in; `leave` follows when its answer has ended. */
  readonly enter: () => void
  readonly leave: () => void
  /** Requests being served. */
  readonly inFlight: () => number
  /** Returns when stopping has begun: for streams without an end of their own. */
  readonly begun: Effect.Effect<void>
  /** Calls back when what still runs must end now, at once if it must already; returns how to stop listening. */
  readonly onCut: (listener: () => void) => () => void
  /** Stops taking work, waits for what runs, cuts the rest. */
  readonly close: Effect.Effect<void>
}>()("tokenhub/Drain") {
  static readonly layer = Layer.effect(
    Drain,
    Effect.gen(function*() {
      const { drainTimeoutMs } = yield* Settings
      const clock = yield* Clock.Clock
      const idle = Latch.makeUnsafe(true)
      const hurry = Latch.makeUnsafe(false)
      const begun = Latch.makeUnsafe(false)
      const listening: Array<Listening> = []
      let isCut = false
      let requests = 0
      let firstSignalAt: bigint | undefined

      const onSignal = () => {
        const now = clock.monotonicTimeNanosUnsafe()
        firstSignalAt ??= now
        if (Number(now - firstSignalAt) / 1e6 >= sameSignalMs) hurry.openUnsafe()
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal)
        }),
        () =>
          Effect.sync(() => {
            for (const signal of ["SIGTERM", "SIGINT"] as const) process.off(signal, onSignal)
          })
      )

      const close = Effect.gen(function*() {
        begun.openUnsafe()
        yield* allBegun
        if (requests > 0) yield* Effect.logInfo(`Stopping: ${requests} requests may end within ${drainTimeoutMs} ms`)
        yield* Effect.timeoutOption(Effect.raceFirst(idle.await, hurry.await), drainTimeoutMs)
        isCut = true
        // One at a time: who is told may make another leave.
        for (let next = listening.pop(); next !== undefined; next = listening.pop()) next.listener()
        yield* Effect.timeoutOption(idle.await, farewell)
        // Finalizers are uninterruptible, and so would be the losers of these races.
      }).pipe(Effect.interruptible)

      return Drain.of({
        draining: () => begun.isOpen(),
        enter: () => {
          requests++
          idle.closeUnsafe()
        },
        leave: () => {
          requests--
          if (requests === 0) idle.openUnsafe()
        },
        inFlight: () => requests,
        begun: begun.await,
        onCut: (listener) => {
          if (isCut) {
            listener()
            return () => {}
          }
          const own = { listener, place: listening.length }
          listening.push(own)
          return () => leave(listening, own)
        },
        close
      })
    })
  )

  /** Stands on top of the server, so that it is the first to close. */
  static readonly onClose = (server: Server): Layer.Layer<never, never, Drain> =>
    Layer.effectDiscard(
      Effect.flatMap(Drain, ({ close }) =>
        Effect.addFinalizer(() =>
          Effect.andThen(
            close,
            // `server.close` waits for connections that never sent a request.
            Effect.sync(() => setTimeout(() => server.closeAllConnections(), lingerMs).unref())
          )))
    )
}

/** Returns when all requests that were let in before have begun. */
const allBegun = Effect.callback<void>((resume) => inStage("requests", () => resume(Effect.void)))

/** Who is told when what runs is cut, and its place in the list. */
interface Listening {
  readonly listener: () => void
  place: number
}

/**
 * The last one takes the place of the one that leaves. In a `Set` with so much coming and going each table that was outgrown points
 * to the next one: once one of them is old, all that ever listened lives until a full collection, a fifth of what a stream cost.
 */
const leave = (listening: Array<Listening>, own: Listening): void => {
  if (listening[own.place] !== own) return
  const last = listening.pop()
  if (last === undefined || last === own) return
  listening[own.place] = last
  last.place = own.place
}
