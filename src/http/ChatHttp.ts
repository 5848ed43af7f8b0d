import type { Scope } from "effect"
import { Cause, Effect, Option } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { formatUsd } from "../domain/Money.ts"
import type { RequestError } from "../domain/RequestError.ts"
import { Overloaded } from "../domain/RequestError.ts"
import { Modes } from "../orchestrate/Mode.ts"
import { Orchestrator } from "../orchestrate/Orchestrator.ts"
import type { RunRequest, RunResult } from "../orchestrate/Run.ts"
import { Router } from "../route/Router.ts"
import { Settings } from "../Settings.ts"
import { Api } from "./Api.ts"
import { Caller } from "./Authentication.ts"
import { readJson, tooLarge } from "./BodyLimit.ts"
import * as ChatAnswer from "./ChatAnswer.ts"
import type { ChatCall } from "./ChatWire.ts"
import * as ChatWire from "./ChatWire.ts"
import { Drain } from "./Drain.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import * as EventStream from "./EventStream.ts"
import { RequestContext } from "./RequestContext.ts"

type Response = HttpServerResponse.HttpServerResponse

/** `POST /v1/chat`. The body is parsed once, here; the contract's schema decodes it in `ChatWire`. */
export const ChatHttp = HttpApiBuilder.group(
  Api,
  "chat",
  Effect.fnUntraced(function*(handlers) {
    const drain = yield* Drain
    const modes = yield* Modes
    const orchestrator = yield* Orchestrator
    const router = yield* Router
    const { heartbeatMs, maxBodyBytes, streamIdleTimeoutMs } = yield* Settings

    const read = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest) {
      const body = yield* readJson(request, ChatWire.schemaFields)
      const call = yield* Effect.fromResult(ChatWire.decode(body.value))
      if (body.bytes > maxBodyBytes && !call.media) return yield* tooLarge(maxBodyBytes)
      return call
    })

    /** What would fail before anything is asked of a model is told as an HTTP status, not as an event of a stream. */
    const refuseEarly = Effect.fnUntraced(function*({ chat, model, options, policy }: ChatCall) {
      for (const name of [model, options.planner, options.critic]) {
        if (name !== undefined) yield* router.exact(name)
      }
      if (model === undefined && options.planner === undefined) yield* router.choose({ need: router.need(chat), policy })
    })

    const stream = (request: HttpServerRequest.HttpServerRequest, run: RunRequest): Effect.Effect<Response, never, Scope.Scope> =>
      EventStream.respond({
        request,
        heartbeatMs,
        stallMs: streamIdleTimeoutMs,
        produce: (emit) =>
          Effect.gen(function*() {
            yield* emit(ChatAnswer.started(run.id, run.mode))
            const last = yield* orchestrator.run(run, ErrorEnvelope.describe, (event) => {
              const told = ChatAnswer.eventOf(event)
              return told === undefined ? Effect.void : emit(told)
            }).pipe(
              Effect.raceFirst(Effect.andThen(drain.cut, Effect.fail(shuttingDown))),
              Effect.map(ChatAnswer.completed),
              Effect.catchCause((cause) => failed(cause, run.id))
            )
            yield* emit(last)
          })
      })

    return handlers.handleRaw("chat", ({ request }) =>
      Effect.gen(function*() {
        const { clientKey } = yield* Caller
        const facts = yield* RequestContext
        const call = yield* read(request)
        const run: RunRequest = { ...call, id: facts.id, clientKey }
        const known = modes.get(run.mode) !== undefined
        if (call.stream && known) yield* refuseEarly(call)
        facts.taken = known
        if (call.stream && known) return yield* stream(request, run)
        return yield* Effect.map(orchestrator.run(run, ErrorEnvelope.describe), answer)
      }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)

const shuttingDown = new Overloaded({ message: "TokenHub is shutting down", retryAfterMs: 5000 })

/** The last event of a run that failed; interruption goes on, since then nobody reads any more. */
const failed = (cause: Cause.Cause<RequestError>, id: string): Effect.Effect<EventStream.NamedEvent> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  const failure = error === undefined ? ErrorEnvelope.internal : ErrorEnvelope.failureOf(error)
  const event = { name: "run.failed", data: ErrorEnvelope.bodyOf(failure, id) }
  return error === undefined ? Effect.as(Effect.logError("A run failed by a defect", cause), event) : Effect.succeed(event)
}

const answer = (result: RunResult): Response =>
  HttpServerResponse.jsonUnsafe(ChatAnswer.answerOf(result), {
    headers: {
      "x-tokenhub-model": result.model,
      "x-tokenhub-provider": result.provider,
      "x-tokenhub-cost-usd": formatUsd(result.cost),
      "x-tokenhub-attempts": String(result.attempts.length)
    }
  })
