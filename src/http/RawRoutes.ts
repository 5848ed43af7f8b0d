/**
 * Serves a group of the API by handlers that read the request and make the answer themselves: the doors' way. HttpApiBuilder
 * hands every request the context of all services and decodes its credential anew, a tenth of what a small request costs.
 */
import type { Scope, Types } from "effect"
import { Context, Effect } from "effect"
import type { HttpServerResponse } from "effect/http"
import { HttpRouter, HttpServerRequest } from "effect/http"
import type { HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { addHeaders } from "./AnswerHeaders.ts"
import { Caller, Doorkeeper } from "./Authentication.ts"
import { Idempotent, isIdempotent } from "./Idempotency.ts"
import type { RequestFacts } from "./RequestContext.ts"
import { RequestContext } from "./RequestContext.ts"
import { noting } from "./Route.ts"

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

/** What the router provides to a handler. */
type Routed = HttpServerRequest.HttpServerRequest | HttpRouter.RouteContext | Scope.Scope

/** A middleware of the API, as far as `Idempotent` goes: it looks at the request and at the path of the route. */
type Around = (
  served: Effect.Effect<Response, Types.unhandled, Routed>,
  options: { readonly endpoint: { readonly path: string } }
) => Effect.Effect<Response, Types.unhandled, Routed | Caller>

/** The answer with the headers that the request brought about: its id, and what is left of limits. */
const withFacts = (response: Response, facts: RequestFacts): Response => {
  if (response.body._tag === "Empty") return response
  facts.told = true
  return addHeaders(response, facts.headers)
}

/** The layer of a group with client authentication: a handler for each endpoint, inside the middlewares that the contract names. */
export const layer = <Group extends HttpApiGroup.Constraint, E, R>(group: Group, make: Effect.Effect<Handlers<Group>, E, R>) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    const { admit } = yield* Doorkeeper
    const once = (yield* Idempotent) as unknown as Around
    const endpoints: { readonly [identifier: string]: HttpApiEndpoint.Constraint } = group.endpoints
    for (const [identifier, handler] of Object.entries<Handler>(yield* make)) {
      const endpoint = endpoints[identifier] as HttpApiEndpoint.Top | undefined
      if (endpoint === undefined) return yield* Effect.die(new Error(`The contract has no endpoint '${identifier}'`))
      const mayRepeat = endpoint.middlewares.has(Idempotent)
      const note = noting(endpoint.path)
      const served = Effect.contextWith((context: Context.Context<Routed>) => {
        const facts = Context.get(context, RequestContext)
        const request = Context.get(context, HttpServerRequest.HttpServerRequest)
        const { params } = Context.get(context, HttpRouter.RouteContext)
        note(facts)
        const answered = admit(context, endpoint.path, (caller) => {
          const answer = handler({ request, params, caller, facts })
          return mayRepeat && isIdempotent(request) ? Effect.provideService(once(answer, { endpoint }), Caller, caller) : answer
        })
        return Effect.map(answered, (response) => withFacts(response, facts))
      })
      yield* router.addAll([HttpRouter.route(endpoint.method, endpoint.path as HttpRouter.PathInput, served)])
    }
  }))
