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
import { Caller, ClientAuth } from "./Authentication.ts"
import { Idempotent } from "./Idempotency.ts"
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

/** What the router provides to a handler, and what `ClientAuth` adds. */
type Routed = HttpServerRequest.HttpServerRequest | HttpRouter.RouteContext | Scope.Scope
type Given = Routed | Caller

/** A middleware of the API, as far as ours go: they look at the request and at the path of the route. */
type Around<In, Out> = (
  served: Effect.Effect<Response, Types.unhandled, In>,
  options: { readonly endpoint: { readonly path: string } }
) => Effect.Effect<Response, Types.unhandled, Out>

const around = <In, Out>(middleware: unknown): Around<In, Out> => middleware as Around<In, Out>

/** The answer with the headers that the request brought about: its id, and what is left of limits. */
const withFacts = (response: Response, facts: RequestFacts): Response => {
  if (response.body._tag === "Empty") return response
  facts.told = true
  return addHeaders(response, facts.headers)
}

/** The layer of a group with client authentication: a handler for each endpoint, inside the middlewares that the contract names. */
export const layer = <Group extends HttpApiGroup.Constraint, E, R>(group: Group, make: Effect.Effect<Handlers<Group>, E, R>) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    const authenticated = around<Given, Routed>((yield* ClientAuth).bearer)
    const idempotent = around<Given, Given>(yield* Idempotent)
    const endpoints: { readonly [identifier: string]: HttpApiEndpoint.Constraint } = group.endpoints
    for (const [identifier, handler] of Object.entries<Handler>(yield* make)) {
      const endpoint = endpoints[identifier] as HttpApiEndpoint.Top | undefined
      if (endpoint === undefined) return yield* Effect.die(new Error(`The contract has no endpoint '${identifier}'`))
      const answered = Effect.contextWith((context: Context.Context<Given>) =>
        handler({
          request: Context.get(context, HttpServerRequest.HttpServerRequest),
          params: Context.get(context, HttpRouter.RouteContext).params,
          caller: Context.get(context, Caller),
          facts: Context.get(context, RequestContext)
        }))
      const asked = authenticated(endpoint.middlewares.has(Idempotent) ? idempotent(answered, { endpoint }) : answered, { endpoint })
      const note = noting(endpoint.path)
      const served = Effect.contextWith((context: Context.Context<Routed>) => {
        const facts = Context.get(context, RequestContext)
        note(facts)
        return Effect.map(asked, (response) => withFacts(response, facts))
      })
      yield* router.addAll([HttpRouter.route(endpoint.method, endpoint.path as HttpRouter.PathInput, served)])
    }
  }))
