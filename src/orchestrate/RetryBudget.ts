/**
 * How many upstream calls there may be beside the first ones: a fifth of those, and a few a second for quiet times. While every
 * upstream fails, retries and escalations then add little to the load that made it fail (FAULTS.md row 71).
 */
import { Clock, Context, Effect, Layer } from "effect"
import { Settings } from "../Settings.ts"

/** What each first call adds. */
const share = 0.2

/** How many seconds' worth are saved up for a burst. */
const savedSeconds = 5

/** What the rate is lowered by, so that the burst is within `perSecond` over half a minute. */
const steadyPart = 0.8

interface Purse {
  readonly level: number
  /** Monotonic milliseconds. */
  readonly at: number
}

const fullPurse = (perSecond: number, now: number): Purse => ({ level: perSecond * savedSeconds, at: now })

/** The purse after `first` more first calls, and the time since. */
const filled = ({ at, level }: Purse, perSecond: number, now: number, first = 0): Purse => ({
  level: Math.min(perSecond * savedSeconds, level + first * share + Math.max(0, now - at) * perSecond * steadyPart / 1000),
  at: now
})

export class RetryBudget extends Context.Service<RetryBudget, {
  /** A call of its own went out. */
  readonly first: () => void
  /** Whether one more call may follow a failed one; a true is spent. */
  readonly spend: Effect.Effect<boolean>
}>()("tokenhub/RetryBudget") {
  static readonly layer: Layer.Layer<RetryBudget, never, Settings> = Layer.effect(
    RetryBudget,
    Effect.gen(function*() {
      const { retriesPerSecond } = yield* Settings
      const clock = yield* Clock.Clock
      const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
      let purse = fullPurse(retriesPerSecond, now())
      return RetryBudget.of({
        first: () => void (purse = filled(purse, retriesPerSecond, now(), 1)),
        spend: Effect.sync(() => {
          purse = filled(purse, retriesPerSecond, now())
          // A float's sum of fifths may stay a little below the whole.
          if (purse.level < 1 - 1e-9) return false
          purse = { ...purse, level: purse.level - 1 }
          return true
        })
      })
    })
  )
}
