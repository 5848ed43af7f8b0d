/** Who may call what (API.md): client keys open `/v1`, the admin password opens `/admin`, neither opens the other. */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Redacted, Types } from "effect"
import { Context, Effect, Layer, Result } from "effect"
import type { HttpServerResponse } from "effect/http"
import { HttpServerRequest } from "effect/http"
import { HttpApiMiddleware, HttpApiSecurity } from "effect/http-api"
import { Admission } from "../account/Admission.ts"
import { ClientKeys } from "../account/ClientKeys.ts"
import { GuessThrottle } from "../account/GuessThrottle.ts"
import { UnauthenticatedRequests } from "../account/UnauthenticatedRequests.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ClientKey, Scope } from "../domain/ClientKey.ts"
import { allowsModel, hasScope } from "../domain/ClientKey.ts"
import type { TooManyRequests } from "../domain/RequestError.ts"
import { Forbidden, InvalidRequest, Unauthenticated } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { Vault } from "../vault/Vault.ts"
import * as Credentials from "./Credentials.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import { addLimits } from "./LimitHeaders.ts"
import type { RequestFacts } from "./RequestContext.ts"
import { RequestContext } from "./RequestContext.ts"

/** The caller of a `/v1` route. */
export class Caller extends Context.Service<Caller, {
  /** The client key's id; null for a caller without one. */
  readonly clientKey: string | null
  /** Whether it may ask this model, and know of it. */
  readonly allows: (model: Pick<ModelCard, "name" | "aliases">) => boolean
}>()("tokenhub/Caller") {}

/** The scope that a route needs: `chat` where none is named. */
const scopeOf = (path: string): Scope => (path.startsWith("/v1/embeddings") ? "embeddings" : path.startsWith("/v1/models") ? "models" : "chat")

type Served<R> = Effect.Effect<HttpServerResponse.HttpServerResponse, Types.unhandled, R>

type Refusal = Unauthenticated | InvalidRequest | TooManyRequests

/** A request as authentication sees it: its headers, not yet its body. */
interface Incoming {
  readonly facts: RequestFacts
  readonly headers: Credentials.HeaderView
  readonly rawHeaders: ReadonlyArray<string>
}

/** Which of two Authorization headers counts would be anyone's guess, a proxy's other than TokenHub's. */
const incomingOf = (context: Context.Context<HttpServerRequest.HttpServerRequest>): Result.Result<Incoming, InvalidRequest> => {
  const request = Context.get(context, HttpServerRequest.HttpServerRequest)
  const facts = Context.get(context, RequestContext)
  const { rawHeaders } = NodeHttpServerRequest.toIncomingMessage(request)
  return Credentials.countOf("authorization", rawHeaders) > 1
    ? Result.fail(new InvalidRequest({ message: "The request has more than one Authorization header", code: "duplicate_authorization" }))
    : Result.succeed({ facts, headers: request.headers, rawHeaders })
}

/** The same, of the request that is served. */
export const incoming: Effect.Effect<Incoming, InvalidRequest, HttpServerRequest.HttpServerRequest> = Effect.contextWith(
  (context: Context.Context<HttpServerRequest.HttpServerRequest>) => Effect.fromResult(incomingOf(context))
)

const keyHint = "Make a client key with POST /admin/keys and send it as `Authorization: Bearer th_…`"

/** Decides who gets to the routes of clients. */
export class Doorkeeper extends Context.Service<Doorkeeper, {
  /** What `serve` answers to a caller who may ask what stands at that path, with what is left of its limits; else why not. */
  readonly admit: <R>(
    context: Context.Context<HttpServerRequest.HttpServerRequest>,
    path: string,
    serve: (caller: Caller["Service"]) => Served<R>
  ) => Served<R>
}>()("tokenhub/Doorkeeper") {
  static readonly layer = Layer.effect(
    Doorkeeper,
    Effect.gen(function*() {
      const { clientAuth } = yield* Settings
      const admission = yield* Admission
      const keys = yield* ClientKeys
      const refuse = yield* refusing("client")

      /** The caller's key, or null where none is needed. */
      const identify = ({ facts, headers, rawHeaders }: Incoming): Result.Result<ClientKey | null, Unauthenticated> => {
        const hash = Credentials.clientKeyHashOf(headers)
        const key = hash === undefined ? undefined : keys.find(hash)
        if (key !== undefined) return Result.succeed(key)
        if (clientAuth === "off") return Result.succeed(null)
        const open = clientAuth === "auto" && !keys.existed()
        if (open && Credentials.isLocal(facts.remoteAddress, headers, rawHeaders)) return Result.succeed(null)
        const missing = hash === undefined
        return Result.fail(
          new Unauthenticated({
            missing,
            ...(open ? { hint: `${missing ? "A credential is missing" : "The credential is wrong"}. ${keyHint}` } : {})
          })
        )
      }

      /** What keeps a known caller out. */
      const check = (key: ClientKey | null, scope: Scope): Effect.Effect<void, Forbidden | TooManyRequests> => {
        if (!hasScope(key, scope)) {
          return Effect.fail(new Forbidden({ message: `This client key may not use ${scope}; its scopes: ${key?.scopes?.join(", ")}` }))
        }
        // Looking at the list of models asks nobody.
        return scope === "models" ? Effect.void : admission.request(key)
      }

      /** Says in the answer's headers what is left of the limits. */
      const withStandings = <R>(key: ClientKey | null, facts: RequestFacts, answered: Served<R>) =>
        Effect.flatMap(answered, (response) =>
          Effect.mapEager(admission.standings(key), (standings) => {
            if (standings !== undefined) addLimits(facts.headers, standings)
            return response
          }))

      return Doorkeeper.of({
        admit: (context, path, serve) => {
          const request = incomingOf(context)
          if (Result.isFailure(request)) return refuse(request.failure)
          const identified = identify(request.success)
          if (Result.isFailure(identified)) return refuse(identified.failure)
          const { facts } = request.success
          const key = identified.success
          const clientKey = key?.id ?? null
          facts.caller = { scope: "client", clientKey }
          const answered = () => withStandings(key, facts, serve({ clientKey, allows: (model) => allowsModel(key, model) }))
          const checked = check(key, scopeOf(path))
          return checked === Effect.void ? answered() : Effect.matchEffect(checked, {
            onFailure: (error) => withStandings(key, facts, ErrorEnvelope.respond(error)),
            onSuccess: answered
          })
        }
      })
    })
  )
}

export class ClientAuth extends HttpApiMiddleware.Service<ClientAuth, { provides: Caller }>()("tokenhub/ClientAuth", {
  security: { bearer: HttpApiSecurity.bearer, apiKey: HttpApiSecurity.apiKey({ key: "x-api-key" }) }
}) {
  static readonly layer = Layer.effect(
    ClientAuth,
    Effect.gen(function*() {
      const { admit } = yield* Doorkeeper
      const authenticate = (served: Served<Caller>, { endpoint }: { readonly endpoint: { readonly path: string } }) =>
        Effect.contextWith((context: Context.Context<HttpServerRequest.HttpServerRequest>) =>
          admit(context, endpoint.path, (caller) => Effect.provideService(served, Caller, caller)))

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
