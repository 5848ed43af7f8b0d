/** This machine's clock, whose wall time can be set off, while the monotonic one goes on. */
import { Clock, Effect } from "effect"

export const make = Effect.map(Clock.Clock, (real) => {
  let offset = 0
  const wall = () => real.currentTimeMillisUnsafe() + offset
  const wallNanos = () => real.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: wall,
    currentTimeMillis: Effect.sync(wall),
    currentTimeNanosUnsafe: wallNanos,
    currentTimeNanos: Effect.sync(wallNanos),
    monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: real.monotonicTimeNanos,
    sleep: (duration) => real.sleep(duration)
  }
  return { clock, jump: (ms: number) => void (offset += ms) }
})
