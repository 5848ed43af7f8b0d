import type { Scope } from "effect"
import { Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"
import { forEachEager } from "../../domain/Eager.ts"
import type { RequestError } from "../../domain/RequestError.ts"
import { Modes } from "../../orchestrate/Mode.ts"
import { Orchestrator } from "../../orchestrate/Orchestrator.ts"
import type { RunRequest, RunResult } from "../../orchestrate/Run.ts"
import { Router } from "../../route/Router.ts"
import { Settings } from "../../Settings.ts"
import { addHeaders } from "../AnswerHeaders.ts"
import { readJson, tooLarge } from "../BodyLimit.ts"
import * as ChatAnswer from "./ChatAnswer.ts"
import { ChatApi } from "./ChatApi.ts"
import * as ChatWire from "./ChatWire.ts"
import { Drain } from "../Drain.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import * as EventStream from "../EventStream.ts"
import { schemaFields } from "../Json.ts"
import * as RawRoutes from "../RawRoutes.ts"
import * as RunHttp from "../RunHttp.ts"

type Response = HttpServerResponse.HttpServerResponse

/** `POST /v1/chat`. The body is parsed once, here; the contract's schema decodes it in `ChatWire`. */
export const ChatHttp = RawRoutes.layer(
  ChatApi,
  Effect.gen(function*() {
    const drain = yield* Drain
    const modes = yield* Modes
    const orchestrator = yield* Orchestrator
    const router = yield* Router
    const { heartbeatMs, maxBodyBytes, streamIdleTimeoutMs } = yield* Settings

    const read = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest) {
      const body = yield* readJson(request, schemaFields)
      const call = yield* Effect.fromResult(ChatWire.decode(body.value, request.headers, modes.names))
      if (body.bytes > maxBodyBytes && !call.media) return yield* tooLarge(maxBodyBytes)
      return { ...call, chat: { ...call.chat, source: body.source } }
    })

    /** The stream begins as the first call leaves: what fails before is told as an HTTP status, not as an event. */
    const stream = (request: HttpServerRequest.HttpServerRequest, run: RunRequest): Effect.Effect<Response, RequestError, Scope.Scope> =>
      Effect.suspend(() => {
        const held = [ChatAnswer.started(run.id, run.mode)]
        let begun = false
        return EventStream.respond({
          request,
          heartbeatMs,
          stallMs: streamIdleTimeoutMs,
          headers: () => ({}),
          produce: (emit) => {
            const send = (told: EventStream.Emission | undefined) => {
              begun = true
              if (held.length > 0) return forEachEager([...held.splice(0), ...(told === undefined ? [] : [told])], emit)
              return told === undefined ? Effect.void : emit(told)
            }
            return orchestrator.run({ ...run, cut: RunHttp.cutBy(drain) }, ErrorEnvelope.describe, (event) => {
              const told = ChatAnswer.eventOf(event)
              if (begun || event.type !== "step.started") return send(told)
              if (told !== undefined) held.push(told)
              return Effect.void
            }).pipe(
              Effect.flatMap((result) => Effect.as(send(ChatAnswer.completed(result)), "whole" as const)),
              Effect.catchCause((cause) =>
                begun
                  ? Effect.flatMap(RunHttp.failureOf(cause), (failure) => Effect.as(send(ChatAnswer.failed(failure, run.id)), "broken" as const))
                  : Effect.failCause(cause))
            )
          }
        })
      })

    const chat = Effect.fnUntraced(function*({ caller, facts, request }: RawRoutes.Asked) {
      const call = yield* read(request)
      const run: RunRequest = { ...call, id: facts.id, clientKey: caller.clientKey }
      yield* RunHttp.checkNames(router, caller, call)
      facts.taken = true
      if (call.stream) return yield* stream(request, run)
      return yield* Effect.map(orchestrator.run(run, ErrorEnvelope.describe), answer)
    }, Effect.catch(ErrorEnvelope.respond))

    return { chat }
  })
)

const answer = (result: RunResult): Response =>
  addHeaders(HttpServerResponse.jsonUnsafe(ChatAnswer.answerOf(result)), RunHttp.headersOf(result))
