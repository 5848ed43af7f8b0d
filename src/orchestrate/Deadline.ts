import type { Context } from "effect"
import { Effect, Exit, Fiber } from "effect"

/** Timers that are longer than this fire at once. */
const longestTimerMs = 2 ** 31 - 1

/**
 * Interrupts the work that takes longer than `ms`, and fails with `late` once it has ended. `Effect.timeoutOrElse` keeps a second
 * fiber for the clock and interrupts it at the end, which is a tenth of what a small request costs. The timer is node's own: a
 * clock for tests does not move it.
 */
export const within = <E2>(ms: number, late: () => E2) => <A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback((resume) => {
      const fiber = Effect.runForkWith(context)(work)
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        fiber.interruptUnsafe()
      }, Math.min(Math.max(0, ms), longestTimerMs))
      fiber.addObserver((exit) => {
        clearTimeout(timer)
        resume(isLate && Exit.hasInterrupts(exit) ? Effect.fail(late()) : exit)
      })
      return Fiber.interrupt(fiber)
    }))
