/** What every route that runs something has in common: headers of the answer, the end at shut-down, names checked early. */
import { Cause, Effect, Option } from "effect"
import type { Forbidden, RequestError } from "../domain/RequestError.ts"
import { ModelNotFound, notAllowed, Overloaded } from "../domain/RequestError.ts"
import { formatUsd } from "../domain/Money.ts"
import type { Cut } from "../orchestrate/Deadline.ts"
import type { RunResult } from "../orchestrate/Run.ts"
import type { Router } from "../route/Router.ts"
import type { Caller } from "./Authentication.ts"
import type { Drain } from "./Drain.ts"
import type { Failure } from "./ErrorEnvelope.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import type { RunOptions } from "./RunOptions.ts"

/** Who answered, at what cost in dollars, after how many calls. */
export const headersOf = ({ attempts, cost, model, provider }: Pick<RunResult, "attempts" | "cost" | "model" | "provider">) => ({
  "x-tokenhub-model": model,
  "x-tokenhub-provider": provider,
  "x-tokenhub-cost-usd": formatUsd(cost),
  "x-tokenhub-attempts": String(attempts.length)
})

/** Models that the client named must exist, and be its to ask, before any other is asked. */
export const checkNames = (
  router: Router["Service"],
  caller: Caller["Service"],
  { model, options, params }: Pick<RunOptions, "model" | "options" | "params">
): Effect.Effect<void, ModelNotFound | Forbidden> => {
  const check = (name: string | undefined, param: string): Effect.Effect<void, ModelNotFound | Forbidden> =>
    name === undefined
      ? Effect.void
      : Effect.flatMapEager(
        Effect.mapErrorEager(router.exact(name), ({ model, near }) => new ModelNotFound({ model, near, param })),
        (card) => (caller.allows(card) ? Effect.void : Effect.fail(notAllowed(name, param)))
      )
  const own = check(model, "model")
  if (options.planner === undefined && options.critic === undefined) return own
  return Effect.andThen(own, Effect.andThen(check(options.planner, params.planner), check(options.critic, params.critic)))
}

const shuttingDown = new Overloaded({ message: "TokenHub is shutting down", retryAfterMs: 5000 })

/** A stream that still runs when TokenHub must end says so to its client. */
export const cutBy = (drain: Drain["Service"]): Cut<RequestError> => (end) => drain.onCut(() => end(shuttingDown))

/** What a client is told of a run that failed; interruption goes on, since then nobody reads any more. */
export const failureOf = (cause: Cause.Cause<RequestError>): Effect.Effect<Failure> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return error === undefined
    ? Effect.as(Effect.logError("A run failed by a defect", cause), ErrorEnvelope.internal)
    : Effect.succeed(ErrorEnvelope.failureOf(error))
}
