import type { Schedule } from "effect"
import { Effect } from "effect"

/**
 * `Effect.retry` for what seldom fails: the schedule is only begun once there is a failure, which is then its first. An effect that
 * succeeds pays a microsecond less than the ten that a schedule's beginning takes.
 */
export const retryAfterFailure = <A, E, R, Delay, R1>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly schedule: Schedule.Schedule<Delay, E, never, R1>; readonly while: (error: E) => boolean }
): Effect.Effect<A, E, R | R1> =>
  Effect.catch(effect, (error) => {
    if (!options.while(error)) return Effect.fail(error)
    let tried = false
    const again = Effect.suspend(() => {
      if (tried) return effect
      tried = true
      return Effect.fail(error)
    })
    return Effect.retry(again, options)
  })
