/** Places for what may run at once, and a queue of bounded length for them: the bulkhead of one provider. */
import { Effect } from "effect"

export interface Slots {
  /** Whether `take` would return at once. */
  readonly free: () => boolean
  /** Returns once there is a place, which `give` must give back; fails at once where the queue is full. */
  readonly take: Effect.Effect<void, "full">
  readonly give: () => void
}

export const make = (places: number, queue: number): Slots => {
  const waiting = new Set<() => void>()
  let taken = 0
  const wait = Effect.callback<void, "full">((resume) => {
    if (waiting.size >= queue) return resume(Effect.fail("full"))
    const wake = () => resume(Effect.void)
    waiting.add(wake)
    return Effect.sync(() => void waiting.delete(wake))
  })
  return {
    free: () => taken < places,
    take: Effect.suspend(() => {
      if (taken >= places) return wait
      taken++
      return Effect.void
    }),
    give: () => {
      const [next] = waiting
      if (next === undefined) return void taken--
      waiting.delete(next)
      next()
    }
  }
}
