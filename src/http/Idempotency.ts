/**
 * `Idempotency-Key` on every POST under `/v1`: the same body gets the answer that was given before, byte for byte, and nobody is
 * asked or paid again. It stands behind authentication, so that an answer is given again only to whom it was given.
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Scope, Types } from "effect"
import { Context, Deferred, Effect, Exit, Layer, Stream } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApiMiddleware } from "effect/http-api"
import type { Begun, Claim, KeptAnswer } from "../account/Idempotency.ts"
import { Idempotency, largestAnswer } from "../account/Idempotency.ts"
import type { RequestError } from "../domain/RequestError.ts"
import { InvalidRequest } from "../domain/RequestError.ts"
import { Caller } from "./Authentication.ts"
import { readBytes } from "./BodyLimit.ts"
import * as Credentials from "./Credentials.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import { header } from "./IdempotencyApi.ts"
import { makeRecordings, Recorder } from "./Recorder.ts"
import { RequestContext } from "./RequestContext.ts"

type Response = HttpServerResponse.HttpServerResponse
type Request = HttpServerRequest.HttpServerRequest

/** What all streams that are being taken down may hold together; more of them are served all the same, and not kept. */
const mostRecorded = 64 * 1024 * 1024

/** When to ask again for an answer that is being made: after as long again, within these. */
const waitMs = { least: 1000, most: 30_000 }

const allowed = /^[\x20-\x7e]{1,255}$/

const refuse = (status: 409 | 422, type: ErrorEnvelope.Failure["type"], code: string, message: string, retryAfterMs?: number) =>
  new ErrorEnvelope.HttpFault({
    failure: {
      ...ErrorEnvelope.httpFailure(status, type, code, message, { param: header }),
      ...(retryAfterMs === undefined ? {} : { retryable: true, retryAfterMs })
    }
  })

const otherBody = refuse(422, "invalid_request_error", "idempotency_key_reused", `${header}: belongs to a request with another body; use a new key`)

const stillRunning = (sinceMs: number) =>
  refuse(
    409,
    "conflict_error",
    "idempotency_key_in_use",
    `${header}: the request with this key is still being served; try again later`,
    Math.min(Math.max(sinceMs, waitMs.least), waitMs.most)
  )

/** Whether the request carries a key. */
export const isIdempotent = ({ headers }: Request): boolean => headers["idempotency-key"] !== undefined

const keyOf = (request: Request, key: string): Effect.Effect<string, InvalidRequest> => {
  const invalid = (fault: string) => Effect.fail(new InvalidRequest({ message: `${header}: ${fault}`, code: "invalid_idempotency_key", param: header }))
  if (!allowed.test(key)) return invalid("must have 1 to 255 printable ASCII characters")
  return Credentials.countOf("idempotency-key", NodeHttpServerRequest.toIncomingMessage(request).rawHeaders) > 1
    ? invalid("stands there more than once")
    : Effect.succeed(key)
}

/** An answer again, under the id of the request that asks now. */
const replayOf = ({ body, headers, requestId, status }: KeptAnswer): Response => {
  const options = { status, headers: { ...headers, "idempotent-replayed": "true", "original-request": requestId } }
  return headers["content-type"]?.startsWith("text/event-stream") === true
    ? HttpServerResponse.stream(Stream.succeed(body), options)
    : HttpServerResponse.uint8Array(body, options)
}

/** A route whose POST takes the header. */
export class Idempotent extends HttpApiMiddleware.Service<Idempotent, { requires: Caller }>()("tokenhub/Idempotent") {
  static readonly layer = Layer.effect(
    Idempotent,
    Effect.gen(function*() {
      const idempotency = yield* Idempotency
      const recordings = makeRecordings({ each: largestAnswer, together: mostRecorded })

      const claim = Effect.fnUntraced(function*(
        request: Request,
        key: string,
        route: string
      ): Effect.fn.Return<Exclude<Begun, { type: "running" | "other_body" }>, RequestError | ErrorEnvelope.HttpFault, Caller | Scope.Scope> {
        const { clientKey } = yield* Caller
        const keyed = { clientKey, route, key: yield* keyOf(request, key), body: yield* readBytes(request) }
        const begun = yield* Effect.acquireRelease(idempotency.begin(keyed), (begun) => (begun.type === "fresh" ? begun.claim.free : Effect.void))
        switch (begun.type) {
          case "running":
            return yield* stillRunning(begun.sinceMs)
          case "other_body":
            return yield* otherBody
          default:
            return begun
        }
      })

      /** Serves a request, and keeps its answer where it is a good and whole one. */
      const serve = Effect.fnUntraced(function*<R>(served: Effect.Effect<Response, Types.unhandled, R>, claim: Claim) {
        const { id: requestId } = yield* RequestContext
        const head = Deferred.makeUnsafe<Omit<KeptAnswer, "body">>()
        const stream = recordings()
        yield* Effect.addFinalizer(() => Effect.sync(stream.drop))
        const recorder: Recorder = {
          add: stream.add,
          end: (ending) => {
            const body = ending === "whole" ? stream.whole() : undefined
            return body === undefined ? claim.free : Effect.flatMap(Deferred.await(head), (head) => claim.complete({ ...head, body }))
          }
        }
        return yield* Effect.onExit(Effect.provideService(served, Recorder, recorder), (exit) => {
          if (Exit.isFailure(exit) || exit.value.status < 200 || exit.value.status > 299) return claim.free
          const { body, headers: { "content-length": _, ...headers }, status } = exit.value
          const answer = { requestId, status, headers }
          if (body._tag === "Uint8Array") return claim.complete({ ...answer, body: body.body })
          return Effect.sync(() => Deferred.doneUnsafe(head, Exit.succeed(answer)))
        })
      })

      const once = <R>(served: Effect.Effect<Response, Types.unhandled, R>, request: Request, key: string, route: string) =>
        Effect.matchEffect(claim(request, key, route), {
          onFailure: ErrorEnvelope.respond,
          onSuccess: (begun) => (begun.type === "replay" ? Effect.succeed(replayOf(begun.answer)) : serve(served, begun.claim))
        })

      return Idempotent.of((served, { endpoint }) =>
        Effect.contextWith((context: Context.Context<HttpServerRequest.HttpServerRequest>) => {
          const request = Context.get(context, HttpServerRequest.HttpServerRequest)
          const key = request.headers["idempotency-key"]
          return key === undefined ? served : once(served, request, key, endpoint.path)
        }))
    })
  )
}
