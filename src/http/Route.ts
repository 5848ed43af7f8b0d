/** Around every endpoint of the API: notes which route matched, and puts what can't be decoded into the envelope. */
import { Effect, Layer } from "effect"
import type { Schema } from "effect"
import { HttpApiError, HttpApiMiddleware } from "effect/http-api"
import { InvalidRequest } from "../domain/RequestError.ts"
import { errorBodyFor } from "./ErrorBodies.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import { formatPath } from "./Json.ts"
import type { RequestFacts } from "./RequestContext.ts"
import { RequestContext } from "./RequestContext.ts"
import { faultsOf } from "./SchemaFaults.ts"

/** Fields that one answer names at most. */
const mostNamed = 20

/**
 * What a decoder found wrong, with the path of the field: the first fault, and every other top-level field that has one where
 * the decoder looked for all.
 */
export const invalidRequest = (error: Schema.SchemaError): InvalidRequest => {
  const faults = new Map<string, string>()
  for (const { message, path } of faultsOf(error.issue)) {
    const param = formatPath(path)
    const isNews = !faults.has(param) && faults.size < mostNamed && path.length === 1
    if (isNews || faults.size === 0) faults.set(param, message)
  }
  const [param = ""] = faults.keys()
  const message = [...faults].map(([field, message]) => (field === "" ? `The body ${message}` : `${field}: ${message}`)).join("; ")
  return new InvalidRequest(param === "" ? { message } : { message, param })
}

/** Notes on a request that this route is its own, and how errors look there. */
export const noting = (path: string): (facts: RequestFacts) => void => {
  const errorBody = errorBodyFor(path)
  return (facts) => {
    facts.endpoint = path
    facts.errorBody = errorBody
  }
}

export class Route extends HttpApiMiddleware.Service<Route>()("tokenhub/Route") {
  static readonly layer = Layer.succeed(
    Route,
    Route.of((served, { endpoint }) => {
      const note = noting(endpoint.path)
      return Effect.flatMap(RequestContext, (facts) => {
        note(facts)
        return Effect.catch(served, (error) =>
          // An answer of ours that does not fit its schema is a defect, not the caller's fault.
          HttpApiError.HttpApiSchemaError.is(error) && error.kind !== "Body" && error.kind !== "ResponseHeaders"
            ? ErrorEnvelope.respond(invalidRequest(error.cause))
            : Effect.fail(error))
      })
    })
  )
}
