/**
 * Around every request, known route or not: its id, the one error envelope, the bound on how many are served at once, and when
 * the answer has ended its log line, its metrics and its row on the ledger.
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Types } from "effect"
import { Cause, Clock, Context, Effect, Exit, Scope } from "effect"
import { HttpRouter, HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"
import { Ledger } from "../account/Ledger.ts"
import { makeRequestId } from "../domain/Ids.ts"
import * as Usages from "../domain/Usage.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { Drain } from "./Drain.ts"
import { errorBodyFor } from "./ErrorBodies.ts"
import type { Failure } from "./ErrorEnvelope.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import { waitOf } from "./NodeServer.ts"
import type { RequestFacts } from "./RequestContext.ts"
import { RequestContext } from "./RequestContext.ts"
import { Room } from "./Room.ts"
import type { RouteTable } from "./RouteTable.ts"
import { isSystem } from "./system/SystemApi.ts"

/** The client left before the answer was whole (nginx's 499). */
const clientClosedRequest = 499

type Response = HttpServerResponse.HttpServerResponse

export const layer = (routes: RouteTable) =>
  HttpRouter.middleware(
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const context = yield* Effect.context<never>()
      const drain = yield* Drain
      const ledger = yield* Ledger
      const room = yield* Room

      const finish = (request: HttpServerRequest.HttpServerRequest, facts: RequestFacts, status: number, nanos: bigint): Effect.Effect<void> => {
        const durationMs = Math.round(Number(nanos) / 1e6)
        const told = Effect.flatMapEager(Metrics.requestFinished({ endpoint: facts.endpoint, status, seconds: Number(nanos) / 1e9 }, context), () =>
          Effect.logInfo("request", {
            method: request.method,
            route: facts.endpoint ?? "other",
            status,
            duration_ms: durationMs,
            request_id: facts.id,
            ...(facts.errorCode === null ? {} : { error: facts.errorCode })
          }))
        if (facts.caller === undefined || facts.taken) return told
        const settled = ledger.settle({
          id: facts.id,
          at: facts.startedAt,
          event: facts.caller.scope === "admin" ? "admin" : "chat",
          endpoint: facts.endpoint ?? "other",
          mode: null,
          model: null,
          provider: null,
          clientKey: facts.caller.clientKey,
          status,
          errorCode: facts.errorCode,
          durationMs,
          reserved: 0n,
          usage: Usages.zero,
          cost: 0n
        })
        return Effect.andThen(settled, told)
      }

      return (app: Effect.Effect<Response, Types.unhandled>): Effect.Effect<
        Response,
        Types.unhandled,
        HttpServerRequest.HttpServerRequest | Scope.Scope
      > =>
        Effect.contextWith((context: Context.Context<HttpServerRequest.HttpServerRequest | Scope.Scope>) => {
          const request = Context.get(context, HttpServerRequest.HttpServerRequest)
          const waitedMs = waitOf(NodeHttpServerRequest.toIncomingMessage(request))
          const startedAt = clock.currentTimeMillisUnsafe() - Math.round(waitedMs ?? 0)
          const began = clock.monotonicTimeNanosUnsafe() - BigInt(Math.round((waitedMs ?? 0) * 1e6))
          const id = makeRequestId(startedAt)
          const facts: RequestFacts = {
            id,
            startedAt,
            remoteAddress: request.remoteAddress._tag === "Some" ? request.remoteAddress.value : "",
            endpoint: undefined,
            errorBody: errorBodyFor(pathOf(request.url)),
            caller: undefined,
            errorCode: null,
            taken: false,
            told: false,
            // The second is the one that Anthropic's SDK reads.
            headers: { "x-request-id": id, "request-id": id }
          }
          const lack = waitedMs !== undefined || isSystem(request.url) ? undefined : room.lack()
          const refused = lack === undefined ? hostMissing(request) : room.refusals[lack]
          const served = refused === undefined ? answered(app, request, routes) : ErrorEnvelope.respond(refused)
          let status = clientClosedRequest
          drain.enter()
          const noted = Scope.addFinalizerExit(Context.get(context, Scope.Scope), (exit) => {
            drain.leave()
            const left = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
            return finish(request, facts, left ? clientClosedRequest : status, clock.monotonicTimeNanosUnsafe() - began)
          })
          const begun = lack === undefined ? noted : Effect.andThen(noted, Metrics.shed(lack))
          return Effect.andThen(begun, Effect.map(Effect.provideService(served, RequestContext, facts), (response) => {
            status = response.status
            facts.endpoint ??= status < 400 ? routes.match(pathOf(request.url))?.pattern : undefined
            return facts.told ? response : HttpServerResponse.setHeaders(response, facts.headers)
          }))
        })
    }),
    { global: true }
  )

/** The app's answer, or the envelope of why there is none. */
const answered = (
  app: Effect.Effect<Response, Types.unhandled>,
  request: HttpServerRequest.HttpServerRequest,
  routes: RouteTable
): Effect.Effect<Response> =>
  Effect.matchCauseEffect(app, {
    onSuccess: (response) =>
      response.status >= 400 && !(response.headers["content-type"] ?? "").startsWith("application/json")
        ? ErrorEnvelope.respondFailure(failureOf(response.status))
        : Effect.succeed(response),
    onFailure: (cause) => unanswered(cause, request, routes)
  })

/** The envelope of why the app has no answer. */
const unanswered = Effect.fnUntraced(function*(cause: Cause.Cause<unknown>, request: HttpServerRequest.HttpServerRequest, routes: RouteTable) {
  const [{ status }] = yield* HttpServerError.causeResponse(cause)
  if (status === 404) return yield* notFound(request, routes)
  if (status >= 500 && !Cause.hasInterruptsOnly(cause)) yield* Effect.logError("A request failed by a defect", cause)
  return yield* ErrorEnvelope.respondFailure(failureOf(status))
})

/** What a status without a body means. */
const failureOf = (status: number): Failure => {
  switch (status) {
    case 400:
      return ErrorEnvelope.httpFailure(400, "invalid_request_error", "invalid_request", "The request is invalid")
    case 413:
      return ErrorEnvelope.httpFailure(413, "invalid_request_error", "payload_too_large", "The body is too large")
    case 415:
      return ErrorEnvelope.httpFailure(415, "invalid_request_error", "unsupported_media_type", "The content type must be application/json")
    case clientClosedRequest:
      return ErrorEnvelope.httpFailure(clientClosedRequest, "invalid_request_error", "client_closed_request", "The client left")
    case 503:
      return ErrorEnvelope.httpFailure(503, "overloaded_error", "overloaded", "TokenHub is shutting down")
    default:
      return ErrorEnvelope.internal
  }
}

const pathOf = (url: string): string => url.split(/[?#]/, 1)[0] ?? url

const isEscapedWell = (path: string): boolean => {
  try {
    decodeURIComponent(path)
    return true
  } catch {
    return false
  }
}

/** The router's own bound on what stands for a name (`Server.ts`). */
export const maxParamLength = 1024

const pathTooLong = ErrorEnvelope.httpFailure(
  400,
  "invalid_request_error",
  "invalid_path",
  `A name in the path is longer than ${maxParamLength} characters`
)

/** No route: a wrong method, a broken escape, a name that is too long, a question for the methods, or nothing of ours. */
const notFound = (request: HttpServerRequest.HttpServerRequest, routes: RouteTable): Effect.Effect<Response> => {
  const path = pathOf(request.url)
  if (!isEscapedWell(path)) {
    return ErrorEnvelope.respondFailure(
      ErrorEnvelope.httpFailure(400, "invalid_request_error", "invalid_path", "The path has a broken percent escape")
    )
  }
  const known = routes.match(path)
  if (known === undefined) {
    return ErrorEnvelope.respondFailure(
      ErrorEnvelope.httpFailure(404, "not_found_error", "unknown_route", "There is no such route; GET /docs shows those that are")
    )
  }
  return Effect.flatMap(RequestContext, (facts) => {
    facts.endpoint = known.pattern
    facts.errorBody = errorBodyFor(known.pattern)
    const allow = known.methods.join(", ")
    if (request.method !== "OPTIONS" && known.methods.includes(request.method)) return ErrorEnvelope.respondFailure(pathTooLong)
    return request.method === "OPTIONS"
      ? Effect.succeed(HttpServerResponse.empty({ status: 204, headers: { allow } }))
      : ErrorEnvelope.respondFailure(
        ErrorEnvelope.httpFailure(405, "invalid_request_error", "method_not_allowed", `This route takes ${allow}`, { headers: { allow } })
      )
  })
}

/** HTTP/1.1 wants a Host header (RFC 9112, 3.2), HTTP/1.0 does not; node would refuse its absence without a body. */
const hostMissing = (request: HttpServerRequest.HttpServerRequest): ErrorEnvelope.HttpFault | undefined =>
  request.headers["host"] === undefined && NodeHttpServerRequest.toIncomingMessage(request).httpVersion === "1.1"
    ? new ErrorEnvelope.HttpFault({
      failure: ErrorEnvelope.httpFailure(400, "invalid_request_error", "missing_host", "The Host header is missing")
    })
    : undefined
