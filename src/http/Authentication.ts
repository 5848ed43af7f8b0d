/** Who may call what (API.md): client keys open `/v1`, the admin password opens `/admin`, neither opens the other. */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Redacted, Types } from "effect"
import { Context, Effect, Layer } from "effect"
import { HttpServerRequest } from "effect/http"
import type { HttpServerResponse } from "effect/http"
import { HttpApiMiddleware, HttpApiSecurity } from "effect/http-api"
import { ClientKeys } from "../account/ClientKeys.ts"
import { GuessThrottle } from "../account/GuessThrottle.ts"
import { UnauthenticatedRequests } from "../account/UnauthenticatedRequests.ts"
import type { TooManyRequests } from "../domain/RequestError.ts"
import { InvalidRequest, Unauthenticated } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { Vault } from "../vault/Vault.ts"
import * as Credentials from "./Credentials.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import type { RequestFacts } from "./RequestContext.ts"
import { RequestContext } from "./RequestContext.ts"

/** The caller of a `/v1` route. */
export class Caller extends Context.Service<Caller, {
  /** The client key's id; null for a caller without one. */
  readonly clientKey: string | null
}>()("tokenhub/Caller") {}

type Served<R> = Effect.Effect<HttpServerResponse.HttpServerResponse, Types.unhandled, R>

type Refusal = Unauthenticated | InvalidRequest | TooManyRequests

interface Incoming {
  readonly facts: RequestFacts
  readonly headers: Credentials.HeaderView
  readonly rawHeaders: ReadonlyArray<string>
}

/** The request as authentication sees it: its headers, not yet its body. */
const incoming: Effect.Effect<Incoming, InvalidRequest, HttpServerRequest.HttpServerRequest> = Effect.gen(function*() {
  const request = yield* HttpServerRequest.HttpServerRequest
  const facts = yield* RequestContext
  const { rawHeaders } = NodeHttpServerRequest.toIncomingMessage(request)
  if (Credentials.countOf("authorization", rawHeaders) > 1) {
    return yield* new InvalidRequest({ message: "The request has more than one Authorization header", code: "duplicate_authorization" })
  }
  return { facts, headers: request.headers, rawHeaders }
})

const keyHint = "Make a client key with POST /admin/keys and send it as `Authorization: Bearer th_…`"

export class ClientAuth extends HttpApiMiddleware.Service<ClientAuth, { provides: Caller }>()("tokenhub/ClientAuth", {
  security: { bearer: HttpApiSecurity.bearer, apiKey: HttpApiSecurity.apiKey({ key: "x-api-key" }) }
}) {
  static readonly layer = Layer.effect(
    ClientAuth,
    Effect.gen(function*() {
      const { clientAuth } = yield* Settings
      const keys = yield* ClientKeys
      const refuse = yield* refusing("client")

      /** The id of the caller's key, or null where none is needed. */
      const identify = ({ facts, headers, rawHeaders }: Incoming): Effect.Effect<string | null, Unauthenticated> => {
        const credential = Credentials.clientCredentialOf(headers)
        const key = credential === undefined ? undefined : keys.find(credential)
        if (key !== undefined) return Effect.succeed(key.id)
        if (clientAuth === "off") return Effect.succeed(null)
        const open = clientAuth === "auto" && !keys.existed()
        if (open && Credentials.isLocal(facts.remoteAddress, headers, rawHeaders)) return Effect.succeed(null)
        const missing = credential === undefined
        return Effect.fail(
          new Unauthenticated({
            missing,
            ...(open ? { hint: `${missing ? "A credential is missing" : "The credential is wrong"}. ${keyHint}` } : {})
          })
        )
      }

      const authenticate = (served: Served<Caller>) =>
        incoming.pipe(
          Effect.flatMap((request) =>
            Effect.map(identify(request), (clientKey) => {
              request.facts.caller = { scope: "client", clientKey }
              return { clientKey }
            })),
          Effect.matchEffect({
            onSuccess: (caller) => Effect.provideService(served, Caller, caller),
            onFailure: refuse
          })
        )

      // It looks at both headers itself and never fails, so that the second scheme is never tried after the first.
      return ClientAuth.of({ bearer: authenticate, apiKey: authenticate })
    })
  )
}

export class AdminAuth extends HttpApiMiddleware.Service<AdminAuth>()("tokenhub/AdminAuth", {
  security: { bearer: HttpApiSecurity.bearer }
}) {
  static readonly layer = Layer.effect(
    AdminAuth,
    Effect.gen(function*() {
      const vault = yield* Vault
      const throttle = yield* GuessThrottle
      const refuse = yield* refusing("admin")

      const check = Effect.fnUntraced(function*(
        address: string,
        password: Redacted.Redacted | undefined
      ): Effect.fn.Return<void, Unauthenticated | TooManyRequests> {
        yield* throttle.check(address)
        // A missing credential is no guess.
        if (password === undefined) return yield* new Unauthenticated({ missing: true })
        if (yield* vault.isAdmin(password)) return yield* throttle.right(address)
        yield* throttle.wrong(address)
        return yield* new Unauthenticated({ missing: false })
      })

      const authenticate = (served: Served<never>) =>
        incoming.pipe(
          Effect.flatMap(({ facts, headers }) =>
            Effect.map(check(facts.remoteAddress, Credentials.bearerOf(headers)), () => {
              facts.caller = { scope: "admin", clientKey: null }
            })),
          Effect.matchEffect({ onSuccess: () => served, onFailure: refuse })
        )

      return AdminAuth.of({ bearer: authenticate })
    })
  )
}

/** Counts a refusal and answers it. */
const refusing = (scope: "client" | "admin") =>
  Effect.map(UnauthenticatedRequests, (unauthenticated) =>
    Effect.fnUntraced(function*(error: Refusal) {
      const { remoteAddress } = yield* RequestContext
      yield* unauthenticated.count(remoteAddress)
      if (error._tag !== "InvalidRequest") yield* Metrics.authFailure({ scope, reason: reasonOf(error) })
      return yield* ErrorEnvelope.respond(error)
    }))

const reasonOf = (error: Unauthenticated | TooManyRequests): "missing" | "wrong" | "throttled" =>
  error._tag === "TooManyRequests" ? "throttled" : error.missing ? "missing" : "wrong"
