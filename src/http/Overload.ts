/**
 * Whether this process can take more work: how late its event loop is, and how full its heap (FAULTS.md rows 67 and 70). Looked
 * at by a timer, so that asking costs a request nothing.
 */
import { Context, Effect, Layer } from "effect"
import { getHeapStatistics } from "node:v8"
import { Settings } from "../Settings.ts"
import * as Metrics from "../telemetry/Metrics.ts"

/** How often the timer looks, in milliseconds: a process that has nothing to do spends most of its time on waking up for it. */
const tickMs = 100

/** Over how long the lag is averaged: one long pause is no overload. */
const horizonMs = 1000

export type Strain = "event_loop_lag" | "heap_full"

/**
 * The average lag after a tick that came `lateMs` late; all in milliseconds. A tick weighs by the time it stands for, and counts
 * at most twice the limit, so that only an average over several can pass it.
 */
export const averageLag = (average: number, lateMs: number, limitMs: number): number =>
  average + (Math.min(lateMs, 2 * limitMs) - average) * (1 - Math.exp(-(tickMs + lateMs) / horizonMs))

export class Overload extends Context.Service<Overload, {
  /** Why new work should be refused now; empty: it is welcome. */
  readonly strains: () => ReadonlyArray<Strain>
}>()("tokenhub/Overload") {
  static readonly layer = Layer.effect(
    Overload,
    Effect.gen(function*() {
      const { maxHeapPercent, maxLoopLagMs } = yield* Settings
      const none: ReadonlyArray<Strain> = []
      let due = performance.now() + tickMs
      let lagMs = 0
      let strains = none

      const heapRatio = () => {
        const { heap_size_limit, used_heap_size } = getHeapStatistics()
        return used_heap_size / heap_size_limit
      }

      const look = () => {
        const now = performance.now()
        lagMs = averageLag(lagMs, Math.max(0, now - due), maxLoopLagMs === 0 ? Infinity : maxLoopLagMs)
        due = now + tickMs
        const late = maxLoopLagMs > 0 && lagMs > maxLoopLagMs
        const full = heapRatio() * 100 >= maxHeapPercent
        strains = late || full ? [...(late ? ["event_loop_lag" as const] : []), ...(full ? ["heap_full" as const] : [])] : none
      }

      yield* Effect.acquireRelease(
        Effect.sync(() => setInterval(look, tickMs).unref()),
        (timer) => Effect.sync(() => clearInterval(timer))
      )
      yield* Metrics.processStrain({ lagSeconds: () => lagMs / 1000, heapRatio })

      return Overload.of({ strains: () => strains })
    })
  )
}
