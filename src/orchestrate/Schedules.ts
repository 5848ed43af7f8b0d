/** Every wait between upstream calls has its name here. */
import { Data, Duration, Effect, Schedule } from "effect"

/** A call is worth another try; `waitMs` is set where the upstream named the time. */
export class TryAgain extends Data.TaggedError("TryAgain")<{ readonly on: "same_model" | "next_model"; readonly waitMs?: number }> {}

const longestBackoff = Duration.seconds(8)

/**
 * Between two tries of the same model: 250 ms, 500 ms, 1 s, … with jitter, at most 8 s; or exactly what the upstream asked
 * for. How often is `Escalation.decide`'s to say.
 */
export const retry = Schedule.exponential("250 millis").pipe(
  Schedule.jittered,
  Schedule.setInputType<unknown>(),
  Schedule.modifyDelay(({ input, duration }) =>
    Effect.succeed(
      input instanceof TryAgain && input.waitMs !== undefined ? Duration.millis(input.waitMs) : Duration.min(duration, longestBackoff)
    )
  )
)

/** Before the next model is asked: 25 ms, 50 ms, 100 ms with jitter, so that a burst of failures does not land on it at once. */
export const escalation = Schedule.exponential("25 millis").pipe(Schedule.jittered, Schedule.setInputType<unknown>())

/** What one round of critique and refinement came to. */
export interface Round {
  readonly blocked: boolean
}

/** Rounds of refinement follow each other at once, `most` in all, while the critic's verdict blocks. */
export const refinement = (most: number) =>
  Schedule.recurs(most - 1).pipe(
    Schedule.setInputType<Round>(),
    Schedule.while(({ input }) => input.blocked)
  )
