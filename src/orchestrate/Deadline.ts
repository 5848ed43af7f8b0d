import type { Context } from "effect"
import { Effect, Exit, Fiber } from "effect"

/** Timers that are longer than this fire at once. */
const longestTimerMs = 2 ** 31 - 1

/** Calls back with why work must end, at once if it must already; returns how to stop listening. */
export type Cut<E> = (end: (error: E) => void) => () => void

/**
 * Interrupts the work that takes longer than `ms`, or that is cut, and fails with `late` or the cut's error once it has ended.
 * `Effect.timeoutOrElse` keeps a second fiber for the clock and interrupts it at the end, which is a tenth of what a small request
 * costs, and `Effect.raceFirst` two for a cut. The timer is node's own: a clock for tests does not move it.
 */
export const within = <E2>(ms: number, late: () => E2, cut?: Cut<E2>) => <A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback((resume) => {
      const fiber = Effect.runForkWith(context)(work)
      let ended: { readonly error: E2 } | undefined
      const end = (error: E2) => {
        ended ??= { error }
        fiber.interruptUnsafe()
      }
      const timer = setTimeout(() => end(late()), Math.min(Math.max(0, ms), longestTimerMs))
      const forget = cut?.(end)
      fiber.addObserver((exit) => {
        clearTimeout(timer)
        forget?.()
        resume(ended !== undefined && Exit.hasInterrupts(exit) ? Effect.fail(ended.error) : exit)
      })
      return Fiber.interrupt(fiber)
    }))
