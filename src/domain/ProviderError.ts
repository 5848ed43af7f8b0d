/** What can go wrong upstream: a closed list of facts. What to do about each is decided in `orchestrate/Escalation.ts`. */
import { Data } from "effect"

/** One word per row of the fault table; attempts and metrics use the same words. The last ones never left TokenHub. */
export type Fault =
  | "invalid_request"
  | "context_overflow"
  | "authentication"
  | "permission"
  | "model_not_found"
  | "request_timeout"
  | "conflict"
  | "payload_too_large"
  | "unprocessable"
  | "rate_limited"
  | "quota_exhausted"
  | "server_error"
  | "unavailable"
  | "overloaded"
  | "redirected"
  | "malformed_response"
  | "truncated_response"
  | "unexpected_body"
  | "bad_encoding"
  | "response_too_large"
  | "connection_reset"
  | "stream_interrupted"
  | "stream_error"
  | "first_token_timeout"
  | "stream_stalled"
  | "call_timeout"
  | "name_not_resolved"
  | "connection_refused"
  | "connect_timeout"
  | "tls_error"
  | "egress_refused"
  | "content_filter"
  | "empty_completion"
  | "unsupported"
  | "queue_full"
  | "credential_missing"
  | "credential_locked"
  | "credential_corrupt"
  | "circuit_open"
  | "cooling_down"

/** An upstream call that did not bring a whole answer. */
export class ProviderError extends Data.TaggedError("ProviderError")<{
  readonly fault: Fault
  /** One sentence for the client, scrubbed of keys; never an upstream HTML body. */
  readonly message: string
  /** The upstream's HTTP status, where there was one. */
  readonly status?: number
  /** What the upstream asked for, clamped to 0…60,000 ms (FAULTS.md row 12). */
  readonly retryAfterMs?: number
  /** The field that the upstream complained of. */
  readonly param?: string
  /** The upstream's own error code. */
  readonly code?: string
  /** The upstream's id of the call, from its headers. */
  readonly upstreamRequestId?: string
  /** False where the request surely never left, so that it can't have been billed. */
  readonly sent: boolean
}> {}
