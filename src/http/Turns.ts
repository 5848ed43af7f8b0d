/**
 * How many requests begin in one turn of the event loop. A turn begins all that has arrived, and only the next one reads the
 * answers of providers: without a bound, a crowd that is refused and asks again at once would leave no time for those who are served.
 */
import { Effect } from "effect"

/**
 * What each request asks for, and may begin once it returns: at once for the first `most` of a turn, then done when called; for
 * later ones in their order in the turns that follow.
 */
export const make = (most: number): () => Effect.Effect<void> => {
  const waiting = new Set<() => void>()
  let begun = 0
  const nextTurn = () => {
    begun = 0
    for (const begin of waiting) {
      if (begun === most) break
      waiting.delete(begin)
      begun++
      begin()
    }
    if (begun > 0) setImmediate(nextTurn)
  }
  /** Interruptible wherever it stands: who leaves meanwhile needs no turn. */
  const wait = Effect.interruptible(Effect.callback<void>((resume) => {
    const begin = () => resume(Effect.void)
    waiting.add(begin)
    return Effect.sync(() => void waiting.delete(begin))
  }))
  return () => {
    if (begun === 0) setImmediate(nextTurn)
    if (begun === most || waiting.size > 0) return wait
    begun++
    return Effect.void
  }
}
