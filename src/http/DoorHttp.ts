/**
 * The handler of every door: body → options → canonical request → run → answer or stream in the client's protocol. A new door is
 * its wire file (`Door`), its contract, and a line that puts the two together.
 */
import type { Scope } from "effect"
import { Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"
import type { RequestError } from "../domain/RequestError.ts"
import { forEachEager } from "../domain/Eager.ts"
import { InvalidRequest } from "../domain/RequestError.ts"
import { Modes } from "../orchestrate/Mode.ts"
import { Orchestrator } from "../orchestrate/Orchestrator.ts"
import type { RunRequest, RunResult } from "../orchestrate/Run.ts"
import { Router } from "../route/Router.ts"
import { Settings } from "../Settings.ts"
import { addHeaders } from "./AnswerHeaders.ts"
import { readJson, tooLarge } from "./BodyLimit.ts"
import type { AnswerFacts, Door, Json } from "./Door.ts"
import { DoorStream } from "./DoorStream.ts"
import { Drain } from "./Drain.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import * as EventStream from "./EventStream.ts"
import { isRecord, schemaFields } from "./Json.ts"
import type { Asked } from "./RawRoutes.ts"
import * as RunHttp from "./RunHttp.ts"
import * as RunOptions from "./RunOptions.ts"

type Response = HttpServerResponse.HttpServerResponse
type Request = HttpServerRequest.HttpServerRequest

/** What a door may add that is not a pure function. */
export interface Hooks {
  /** Completes a body before it is decoded, as with the conversation that an earlier answer's id stands for. */
  readonly prepare?: (body: Json, clientKey: string | null) => Effect.Effect<Json, RequestError>
  /** Told of every answer that a model gave, before the client has all of it. */
  readonly answered?: (result: RunResult, facts: AnswerFacts, body: Json, clientKey: string | null) => Effect.Effect<void, RequestError>
}

/** Rounds of refinement in a mode that has any: clients of these doors see the final answer only. */
const defaultRefinements = 1

/** Makes handlers: `{ completions: serve(openAiChat) }`. */
export const make = Effect.gen(function*() {
  const drain = yield* Drain
  const modes = yield* Modes
  const orchestrator = yield* Orchestrator
  const router = yield* Router
  const { heartbeatMs, maxBodyBytes, streamIdleTimeoutMs } = yield* Settings

  const stream = (
    { body, door, events, facts, request, run, answered }: {
      readonly door: Door
      readonly request: Request
      readonly run: RunRequest
      readonly facts: AnswerFacts
      readonly body: Json
      readonly events: boolean
      readonly answered: (result: RunResult) => Effect.Effect<void, RequestError>
    }
  ): Effect.Effect<Response, RequestError, Scope.Scope> =>
    Effect.suspend(() => {
      const told = new DoorStream({ door, facts, body, model: facts.model, events })
      let begun = false
      return EventStream.respond({
        request,
        heartbeatMs,
        stallMs: streamIdleTimeoutMs,
        headers: () => told.headers(),
        produce: (emit) => {
          const send = (emissions: ReadonlyArray<EventStream.Emission>) => {
            if (emissions.length === 0) return Effect.void
            begun = true
            return forEachEager(emissions, emit)
          }
          return orchestrator.run({ ...run, cut: RunHttp.cutBy(drain) }, ErrorEnvelope.describe, (event) => send(told.event(event))).pipe(
            Effect.tap(answered),
            Effect.flatMap((result) => Effect.as(send(told.end(result)), "whole" as const)),
            Effect.catchCause((cause) =>
              begun
                ? Effect.flatMap(RunHttp.failureOf(cause), (failure) => Effect.as(send(told.fail(failure)), "broken" as const))
                : Effect.failCause(cause))
          )
        }
      })
    })

  return (door: Door, { answered, prepare }: Hooks = {}) =>
    Effect.fnUntraced(function*({ caller, facts: context, request }: Asked): Effect.fn.Return<Response, RequestError | ErrorEnvelope.HttpFault, Scope.Scope> {
      const { clientKey } = caller
      const { headers } = request
      const parsed = yield* readJson(request, schemaFields)
      if (!isRecord(parsed.value)) return yield* new InvalidRequest({ message: "The body must be a JSON object" })
      const { tokenhub, ...given } = parsed.value
      const body = prepare === undefined ? given : yield* prepare(given, clientKey)
      const call = yield* Effect.fromResult(door.decode(body, headers))
      if (parsed.bytes > maxBodyBytes && !call.media) return yield* tooLarge(maxBodyBytes)
      const { dropUnsupported, events, ...options } = yield* Effect.fromResult(
        RunOptions.read({ headers, model: call.model, tokenhub, modes: modes.names, refinements: defaultRefinements })
      )
      yield* RunHttp.checkNames(router, caller, options)
      const facts: AnswerFacts = {
        requestId: context.id,
        created: Math.floor(context.startedAt / 1000),
        model: call.model ?? "auto"
      }
      const run: RunRequest = {
        ...options,
        id: context.id,
        endpoint: context.endpoint ?? door.protocol,
        clientKey,
        chat: { ...call.chat, source: parsed.source, ...(dropUnsupported ? { dropUnsupported } : {}) },
        hasContent: door.hasContent
      }
      const keep = (result: RunResult) => answered?.(result, { ...facts, model: result.model }, body, clientKey) ?? Effect.void
      context.taken = true
      if (call.stream) return yield* stream({ door, request, run, facts, body, events, answered: keep })
      const result = yield* orchestrator.run(run, ErrorEnvelope.describe)
      if (answered !== undefined) yield* keep(result)
      return answerOf(door, result, { ...facts, model: result.model }, body)
    }, Effect.catch(ErrorEnvelope.respond))
})

/** The provider's own answer where it speaks the client's protocol, as it came. */
const answerOf = (door: Door, result: RunResult, facts: AnswerFacts, body: Json): Response => {
  const headers = RunHttp.headersOf(result)
  const { native } = result.completion
  return native?.protocol === door.protocol
    ? addHeaders(HttpServerResponse.uint8Array(native.body, { contentType: "application/json" }), headers)
    : addHeaders(HttpServerResponse.jsonUnsafe(door.answer(result, facts, body)), headers)
}
