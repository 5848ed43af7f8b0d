/**
 * Serves a group of the API by handlers that read the request and make the answer themselves: the doors' way. HttpApiBuilder
 * hands every request the context of all services and decodes its credential anew, which costs as much as an upstream call.
 */
import type { Scope, Types } from "effect"
import { Context, Effect, Redacted } from "effect"
import type { HttpServerResponse } from "effect/http"
import { HttpRouter, HttpServerRequest } from "effect/http"
import type { HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { addHeaders } from "./AnswerHeaders.ts"
import { Caller, ClientAuth } from "./Authentication.ts"
import { errorBodyFor } from "./ErrorBodies.ts"
import { Idempotent } from "./Idempotency.ts"
import type { RequestFacts } from "./RequestContext.ts"
import { RequestContext } from "./RequestContext.ts"

type Response = HttpServerResponse.HttpServerResponse

/** A request of a caller who may ask. */
export interface Asked {
  readonly request: HttpServerRequest.HttpServerRequest
  /** Parts of the path, by their names in the contract. */
  readonly params: { readonly [name: string]: string | undefined }
  readonly caller: Caller["Service"]
  readonly facts: RequestFacts
}

/** Answers a request; what went wrong is an answer too. */
export type Handler = (asked: Asked) => Effect.Effect<Response, never, Scope.Scope>

type Handlers<Group extends HttpApiGroup.Constraint> = { readonly [identifier in HttpApiEndpoint.Identifier<HttpApiGroup.Endpoints<Group>>]: Handler }

/** What the router and `ClientAuth` provide to a handler. */
type Given = HttpServerRequest.HttpServerRequest | HttpRouter.RouteContext | Caller | Scope.Scope

/** An answer as middlewares take it, which don't say what is provided around them. */
type Served = Effect.Effect<Response, Types.unhandled>

const withFacts = (response: Response, facts: RequestFacts): Response => {
  if (response.body._tag === "Empty") return response
  facts.told = true
  return addHeaders(response, facts.headers)
}

/** The layer of a group with client authentication: a handler for each endpoint, inside the middlewares that the contract names. */
export const layer = <Group extends HttpApiGroup.Constraint, E, R>(group: Group, make: Effect.Effect<Handlers<Group>, E, R>) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    const { bearer } = yield* ClientAuth
    const idempotent = yield* Idempotent
    const endpoints = group.endpoints as unknown as { readonly [identifier: string]: HttpApiEndpoint.Top }
    const top = group as unknown as HttpApiGroup.Top
    for (const [identifier, handler] of Object.entries<Handler>(yield* make)) {
      const endpoint = endpoints[identifier]
      if (endpoint === undefined) return yield* Effect.die(new Error(`The contract has no endpoint '${identifier}'`))
      const options = { group: top, endpoint, credential: Redacted.make("") }
      const answered = Effect.contextWith((context: Context.Context<Given>) =>
        handler({
          request: Context.get(context, HttpServerRequest.HttpServerRequest),
          params: Context.get(context, HttpRouter.RouteContext).params,
          caller: Context.get(context, Caller),
          facts: Context.get(context, RequestContext)
        })) as unknown as Served
      const authenticated = bearer(endpoint.middlewares.has(Idempotent) ? idempotent(answered, options) as Served : answered, options) as Served
      const errorBody = errorBodyFor(endpoint.path)
      const served = Effect.contextWith((context: Context.Context<never>) => {
        const facts = Context.get(context, RequestContext)
        facts.endpoint = endpoint.path
        facts.errorBody = errorBody
        return Effect.map(authenticated, (response) => withFacts(response, facts))
      })
      yield* router.addAll([HttpRouter.route(endpoint.method, endpoint.path as HttpRouter.PathInput, served)])
    }
  }))
