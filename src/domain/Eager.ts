import { Effect } from "effect"

/**
 * Runs `f` on all items, one after the other. As long as it answers with the plain `Effect.void`, what it had to do is done and no step
 * of a fiber is spent: for streams, where most pieces wait for nothing.
 */
export const forEachEager = <A, E, R>(items: ReadonlyArray<A>, f: (item: A) => Effect.Effect<void, E, R>, from = 0): Effect.Effect<void, E, R> => {
  for (let i = from; i < items.length; i++) {
    const waits = f(items[i] as A)
    if (waits !== Effect.void) return Effect.flatMap(waits, () => forEachEager(items, f, i + 1))
  }
  return Effect.void
}

/** Runs steps one after the other, each made when its turn comes; what is done when it is made spends no step of a fiber. */
export const inOrder = <E, R>(...steps: ReadonlyArray<() => Effect.Effect<void, E, R>>): Effect.Effect<void, E, R> =>
  forEachEager(steps, (step) => step())
