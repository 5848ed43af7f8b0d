/** Every wait between upstream calls has its name here. */
import { Data, Duration, Effect, Random, Schedule } from "effect"

/** A call is worth another try; `waitMs` is set where the upstream named the time. */
export class TryAgain extends Data.TaggedError("TryAgain")<{ readonly on: "same_model" | "next_model"; readonly waitMs?: number }> {}

const longestBackoff = Duration.seconds(8)

/**
 * As long as the upstream asked for and up to a tenth more, so that those who were told the same time do not come back in one
 * moment. A millisecond at least: a timer may fire a little early, and the model would still be cooling.
 */
const named = (waitMs: number) =>
  Effect.map(Random.next, (spread) => Duration.millis(waitMs + 1 + spread * Math.min(waitMs / 10, 1000)))

/**
 * Between two tries of the same model: 250 ms, 500 ms, 1 s, … with jitter, at most 8 s; or what the upstream asked for. How
 * often is `Escalation.decide`'s to say.
 */
export const retry = Schedule.exponential("250 millis").pipe(
  Schedule.jittered,
  Schedule.setInputType<unknown>(),
  Schedule.modifyDelay(({ input, duration }) =>
    input instanceof TryAgain && input.waitMs !== undefined
      ? named(input.waitMs)
      : Effect.succeed(Duration.min(duration, longestBackoff))
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
