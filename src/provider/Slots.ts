/** Places for what may run at once, and a queue of bounded length for them: the bulkhead of one provider. */
import { Effect } from "effect"

export interface Slots {
  /** Returns once there is a place, which `give` must give back, done when called if there is one; fails at once where the queue is full. */
  readonly take: () => Effect.Effect<void, "full">
  readonly give: () => void
}

export const make = (places: number, queue: number): Slots => {
  const waiting = new Set<() => void>()
  let taken = 0
  let freed = 0
  let giving = false
  const takeFree = (): boolean => {
    if (taken >= places) return false
    taken++
    return true
  }
  const wait = Effect.callback<void, "full">((resume) => {
    // One may have been given back since it was asked for.
    if (takeFree()) return resume(Effect.void)
    if (waiting.size >= queue) return resume(Effect.fail("full"))
    const wake = () => resume(Effect.void)
    waiting.add(wake)
    return Effect.sync(() => void waiting.delete(wake))
  })
  return {
    take: () => (takeFree() ? Effect.void : wait),
    // Who is woken may end at once and give in its turn: that is the loop's next round, not a call inside of this one.
    give: () => {
      freed++
      if (giving) return
      giving = true
      for (; freed > 0; freed--) {
        const [next] = waiting
        if (next === undefined) taken--
        else {
          waiting.delete(next)
          next()
        }
      }
      giving = false
    }
  }
}
