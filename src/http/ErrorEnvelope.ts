/** How every failure looks on the wire: status, type, code, headers. The only place that knows. */
import { Data, Effect, Schema } from "effect"
import { HttpServerResponse } from "effect/http"
import { HttpApiSchema } from "effect/http-api"
import type { Fault } from "../domain/ProviderError.ts"
import type { RequestError } from "../domain/RequestError.ts"
import type { Described, ErrorType as Type, Failure } from "./Failure.ts"
import { ErrorType } from "./Failure.ts"
import { RequestContext } from "./RequestContext.ts"

export type { Failure } from "./Failure.ts"

/** The body of every error (API.md). */
export const ErrorBody = Schema.Struct({
  error: Schema.Struct({
    message: Schema.String,
    type: ErrorType,
    code: Schema.NullOr(Schema.String),
    param: Schema.NullOr(Schema.String),
    request_id: Schema.String,
    retryable: Schema.Boolean,
    details: Schema.optionalKey(Schema.Unknown)
  })
}).annotate({ identifier: "Error" })
export type ErrorBody = typeof ErrorBody.Type

/** The error schemas that every endpoint declares, for the OpenAPI page: one body, many statuses. */
export const errors = [400, 401, 402, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504].map((status) =>
  ErrorBody.pipe(HttpApiSchema.status(status)))

const described = (status: number, type: Type, code: string, retryable = false): Described => ({ status, type, code, retryable })

const upstream = (status: number, code: string, retryable: boolean): Described => described(status, "upstream_error", code, retryable)

/** What a client is told of a fault that nobody could make good (the last words of FAULTS.md's rows). */
const faults: { readonly [F in Fault]: Described } = {
  invalid_request: described(400, "invalid_request_error", "invalid_request"),
  unsupported: described(400, "invalid_request_error", "unsupported_by_model"),
  unprocessable: described(422, "invalid_request_error", "unprocessable"),
  content_filter: described(400, "invalid_request_error", "content_filter"),
  context_overflow: described(400, "invalid_request_error", "context_length_exceeded"),
  payload_too_large: described(413, "invalid_request_error", "payload_too_large"),
  authentication: upstream(502, "provider_auth", false),
  permission: upstream(502, "provider_permission", false),
  model_not_found: described(404, "not_found_error", "model_not_found"),
  request_timeout: upstream(504, "upstream_timeout", true),
  conflict: upstream(502, "upstream_conflict", true),
  rate_limited: described(429, "rate_limit_error", "rate_limited", true),
  quota_exhausted: described(429, "rate_limit_error", "quota_exhausted", true),
  server_error: upstream(502, "upstream_error", true),
  unavailable: upstream(502, "upstream_unavailable", true),
  overloaded: described(503, "overloaded_error", "upstream_overloaded", true),
  redirected: upstream(502, "upstream_redirect", false),
  malformed_response: upstream(502, "upstream_malformed", true),
  truncated_response: upstream(502, "upstream_truncated", true),
  unexpected_body: upstream(502, "upstream_unexpected_body", true),
  bad_encoding: upstream(502, "upstream_bad_encoding", true),
  response_too_large: upstream(502, "upstream_response_too_large", false),
  connection_reset: upstream(502, "upstream_reset", true),
  stream_interrupted: upstream(502, "upstream_stream_interrupted", true),
  stream_error: upstream(502, "upstream_stream_error", true),
  first_token_timeout: upstream(504, "upstream_timeout", true),
  stream_stalled: upstream(504, "upstream_stalled", true),
  call_timeout: upstream(504, "upstream_timeout", true),
  name_not_resolved: upstream(502, "upstream_unreachable", true),
  connection_refused: upstream(502, "upstream_unreachable", true),
  connect_timeout: upstream(504, "upstream_timeout", true),
  tls_error: upstream(502, "upstream_tls", false),
  egress_refused: upstream(502, "upstream_address_refused", false),
  empty_completion: upstream(502, "upstream_empty", true),
  queue_full: described(503, "overloaded_error", "provider_queue_full", true),
  credential_missing: upstream(502, "provider_auth", false),
  credential_locked: described(503, "vault_error", "vault_locked"),
  credential_corrupt: described(503, "vault_error", "vault_corrupt"),
  circuit_open: described(503, "overloaded_error", "circuit_open", true),
  cooling_down: described(429, "rate_limit_error", "cooling_down", true)
}

/** Status, type and code of an error. */
export const describe = (error: RequestError): Described => {
  switch (error._tag) {
    case "InvalidRequest":
      return described(400, "invalid_request_error", error.code ?? "invalid_request")
    case "ModelNotFound":
      return described(404, "not_found_error", "model_not_found")
    case "ContextLengthExceeded":
      return faults.context_overflow
    case "NoCandidate":
      return described(422, "invalid_request_error", "no_candidate")
    case "AllCoolingDown":
      return error.rateLimited ? faults.rate_limited : described(503, "overloaded_error", "all_unavailable", true)
    case "UpstreamFailed":
      return faults[error.fault]
    case "DeadlineExceeded":
      return described(504, "upstream_error", "deadline_exceeded", true)
    case "BudgetExceeded":
      return described(402, "budget_error", "budget_exceeded")
    case "VaultLocked":
      return faults.credential_locked
    case "VaultCorrupt":
      return described(500, "vault_error", "vault_corrupt")
    case "WrongPassword":
      return described(401, "authentication_error", "wrong_password")
    case "Unauthenticated":
      return described(401, "authentication_error", error.missing ? "missing_credential" : "invalid_credential")
    case "Forbidden":
      return described(403, "permission_error", "forbidden")
    case "TooManyRequests":
      return described(429, "rate_limit_error", "too_many_requests", true)
    case "NotFound":
      return described(404, "not_found_error", "not_found")
    case "Conflict":
      return described(409, "conflict_error", error.code ?? "conflict")
    case "PayloadTooLarge":
      return faults.payload_too_large
    case "Overloaded":
      return described(503, "overloaded_error", "overloaded", true)
    case "StoreUnavailable":
      return described(503, "overloaded_error", "store_unavailable", true)
  }
}

/** Faults of HTTP itself, which no service knows of. */
export const httpFailure = (
  status: number,
  type: Type,
  code: string,
  message: string,
  more: { readonly param?: string; readonly retryAfterMs?: number; readonly headers?: { readonly [name: string]: string } } = {}
): Failure => ({ ...described(status, type, code, status === 408 || status === 503), message, ...more })

/** A fault of HTTP itself, raised where a body is read. */
export class HttpFault extends Data.TaggedError("HttpFault")<{ readonly failure: Failure }> {
  override get message(): string {
    return this.failure.message
  }
}

/** A defect; what it was is in the log only. */
export const internal: Failure = httpFailure(500, "internal_error", "internal_error", "Internal error")

/** Where nobody knows when another try makes sense (as the cool-down of FAULTS.md row 11). */
const defaultRetryAfterMs = 5000

/** The official SDKs try again after any 5xx unless they are told not to. */
const mayNotRetry = ({ code, retryable, status }: Failure): boolean => code === "budget_exceeded" || (status >= 500 && !retryable)

const retryAfterOf = (error: RequestError): number | undefined =>
  "retryAfterMs" in error ? error.retryAfterMs : undefined

/** What the client is told beside the message: why each model was left out, or which names are near. */
const detailsOf = (error: RequestError): unknown => {
  switch (error._tag) {
    case "NoCandidate":
    case "AllCoolingDown":
      return { models: error.drops.map(({ detail, model, reason }) => ({ model, reason, detail })) }
    case "ModelNotFound":
      return error.near.length === 0 ? undefined : { near: error.near }
    case "InvalidRequest":
      return error.details
    default:
      return undefined
  }
}

export const failureOf = (error: RequestError | HttpFault): Failure =>
  error._tag === "HttpFault"
    ? error.failure
    : {
      ...describe(error),
      message: error.message,
      param: ("param" in error ? error.param : undefined) ?? (error._tag === "ModelNotFound" ? "model" : undefined),
      retryAfterMs: retryAfterOf(error),
      details: detailsOf(error)
    }

/** The body of a failure, in TokenHub's own shape, which is also OpenAI's. */
export const bodyOf = (failure: Failure, requestId: string): ErrorBody => ({
  error: {
    message: failure.message,
    type: failure.type,
    code: failure.code,
    param: failure.param ?? null,
    request_id: requestId,
    retryable: failure.retryable,
    ...(failure.details === undefined ? {} : { details: failure.details })
  }
})

/** The headers of a failure beside content type and request id. */
export const headersOf = (failure: Failure): { readonly [name: string]: string } => {
  const waits = failure.retryAfterMs !== undefined || (failure.retryable && (failure.status === 429 || failure.status === 503))
  return {
    ...(waits ? { "retry-after": String(Math.max(1, Math.ceil((failure.retryAfterMs ?? defaultRetryAfterMs) / 1000))) } : {}),
    ...(mayNotRetry(failure) ? { "x-should-retry": "false" } : {}),
    // RFC 9110, 11.6.1.
    ...(failure.status === 401 ? { "www-authenticate": "Bearer" } : {}),
    ...failure.headers
  }
}

/** Answers a failure in the envelope of the client's protocol, and notes its code for the request's log. */
export const respondFailure = (failure: Failure): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Effect.map(RequestContext, (request) => {
    request.errorCode = failure.code
    return HttpServerResponse.jsonUnsafe(request.errorBody(failure, request.id), { status: failure.status, headers: headersOf(failure) })
  })

/** Answers an error in the envelope: `effect.pipe(Effect.catch(ErrorEnvelope.respond))`. */
export const respond = (error: RequestError | HttpFault): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  respondFailure(failureOf(error))
