/** An error as facts of the wire; `ErrorEnvelope.ts` makes it of what went wrong. */
import { Schema } from "effect"

export const ErrorType = Schema.Literals([
  "invalid_request_error",
  "authentication_error",
  "permission_error",
  "not_found_error",
  "conflict_error",
  "rate_limit_error",
  "budget_error",
  "upstream_error",
  "overloaded_error",
  "vault_error",
  "internal_error"
])
export type ErrorType = typeof ErrorType.Type

/** What a client's program looks at. */
export interface Described {
  readonly status: number
  readonly type: ErrorType
  readonly code: string
  readonly retryable: boolean
}

/** An error with everything that its answer needs. */
export interface Failure extends Described {
  readonly message: string
  readonly param?: string | undefined
  /** When another try makes sense. */
  readonly retryAfterMs?: number | undefined
  readonly details?: unknown
  readonly headers?: { readonly [name: string]: string }
}

/** The body of a failure in one client protocol. */
export type ErrorBodyOf = (failure: Failure, requestId: string) => unknown
