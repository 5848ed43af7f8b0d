/** What a failed upstream call was: pure rules from what came back, or did not, to one `ProviderError`. */
import { Redacted } from "effect"
import type { Fault } from "../domain/ProviderError.ts"
import { ProviderError } from "../domain/ProviderError.ts"

/** What a vendor's error body says, in whatever shape it says it. */
export interface VendorError {
  readonly message?: string | undefined
  readonly code?: string | undefined
  readonly type?: string | undefined
  readonly param?: string | undefined
  /** Retry-After of the body, for vendors that have no header for it. */
  readonly retryAfterMs?: number | undefined
}

/** One way of a vendor to say what went wrong; all given conditions must hold. */
export interface Pattern {
  readonly fault: Fault
  /** Absent: any. An error inside a success counts as 200. */
  readonly status?: ReadonlyArray<number>
  /** Tried on the code and on the type. */
  readonly code?: RegExp
  readonly message?: RegExp
  readonly param?: RegExp
}

/** How a protocol reads its errors: the body's facts, and the table of what they mean; the first match wins. */
export interface ErrorDialect {
  readonly read: (body: unknown) => VendorError | undefined
  readonly patterns: ReadonlyArray<Pattern>
}

const byStatus: { readonly [status: number]: Fault } = {
  400: "invalid_request",
  401: "authentication",
  402: "quota_exhausted",
  403: "permission",
  404: "model_not_found",
  408: "request_timeout",
  409: "conflict",
  413: "payload_too_large",
  422: "unprocessable",
  429: "rate_limited",
  500: "server_error",
  502: "unavailable",
  503: "unavailable",
  504: "unavailable",
  529: "overloaded"
}

/** The safe class of a status whose body says nothing that is understood. */
export const faultOfStatus = (status: number): Fault =>
  byStatus[status] ??
    (status >= 500 ? "server_error" : status >= 400 ? "invalid_request" : status >= 300 ? "redirected" : "stream_error")

const matches = (pattern: Pattern, status: number, error: VendorError): boolean =>
  (pattern.status === undefined || pattern.status.includes(status)) &&
  (pattern.code === undefined || pattern.code.test(error.code ?? "") || pattern.code.test(error.type ?? "")) &&
  (pattern.message === undefined || pattern.message.test(error.message ?? "")) &&
  (pattern.param === undefined || pattern.param.test(error.param ?? ""))

/** The longest wait that an upstream may ask for (FAULTS.md row 12), in milliseconds. */
const longestRetryAfterMs = 60_000

const clampRetryAfter = (ms: number): number => Math.min(Math.max(Math.round(ms), 0), longestRetryAfterMs)

const seconds = /^[+-]?\d+(\.\d+)?(e\d+)?s?$/i
const httpDate = /^(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? /i

/**
 * A wait as `37`, `37s`, `1.5` or an HTTP date, clamped to 0…60,000 ms; undefined where it is none of these. `now` is Unix time
 * in milliseconds.
 */
export const retryAfterMs = (text: string | undefined, now: number): number | undefined => {
  const value = text?.trim() ?? ""
  if (seconds.test(value)) return clampRetryAfter(Number(value.replace(/s$/i, "")) * 1000)
  if (!httpDate.test(value)) return undefined
  const at = Date.parse(value)
  return Number.isNaN(at) ? undefined : clampRetryAfter(at - now)
}

/** Headers of an answer, in lower case. */
export type Headers = { readonly [name: string]: string | ReadonlyArray<string> | undefined }

const header = (headers: Headers, name: string): string | undefined => {
  const value = headers[name]
  return typeof value === "string" ? value : value?.[0]
}

/** `retry-after-ms` is OpenAI's and Azure's finer one. */
const retryAfterOf = (headers: Headers, now: number): number | undefined => {
  const fine = header(headers, "retry-after-ms")
  return fine !== undefined && /^\d+(\.\d+)?$/.test(fine)
    ? clampRetryAfter(Number(fine))
    : retryAfterMs(header(headers, "retry-after"), now)
}

const requestIdHeaders = ["x-request-id", "request-id", "apim-request-id", "x-goog-request-id", "cf-ray"]

const defined = <K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } =>
  value === undefined ? {} : { [key]: value } as { readonly [P in K]: V }

/** An answer whose status is no success. `body` is its JSON, where it is JSON. */
export const ofStatus = (
  dialect: ErrorDialect,
  provider: string,
  status: number,
  headers: Headers,
  body: unknown,
  now: number
): ProviderError => {
  const error = dialect.read(body) ?? {}
  const pattern = dialect.patterns.find((candidate) => matches(candidate, status, error))
  const redirected = status >= 300 && status < 400
  const requestId = requestIdHeaders.map((name) => header(headers, name)).find((value) => value !== undefined)
  return new ProviderError({
    fault: redirected ? "redirected" : pattern?.fault ?? faultOfStatus(status),
    message: redirected
      ? `${provider} answered with a redirect (${status}), which is never followed; check base_url`
      : error.message ?? `${provider} answered ${status}`,
    status,
    sent: true,
    ...defined("retryAfterMs", retryAfterOf(headers, now) ?? error.retryAfterMs),
    ...defined("param", error.param),
    ...defined("code", error.code),
    ...defined("upstreamRequestId", requestId)
  })
}

/** An error inside an answer that began as a success (FAULTS.md row 25). */
export const ofEvent = (dialect: ErrorDialect, body: unknown): ProviderError => {
  const error = dialect.read(body) ?? {}
  const pattern = dialect.patterns.find((candidate) => matches(candidate, 200, error))
  return new ProviderError({
    fault: pattern?.fault ?? "stream_error",
    message: error.message ?? "The provider broke the answer off with an error",
    sent: true,
    ...defined("retryAfterMs", error.retryAfterMs),
    ...defined("param", error.param),
    ...defined("code", error.code)
  })
}

/** A `ProviderError` of a call that reached the provider. */
export const answered = (fault: Fault, message: string): ProviderError => new ProviderError({ fault, message, sent: true })

/** Where a call was when its connection failed. */
export type Phase = "request" | "body" | "stream"

/** The code of node's or undici's error; undici's parser error has a name only. */
const codeOf = (cause: unknown): string =>
  !(cause instanceof Error) ? "" : "code" in cause && typeof cause.code === "string" ? cause.code : cause.name

const unsentCodes: { readonly [code: string]: readonly [Fault, string] } = {
  EGRESS_REFUSED: ["egress_refused", "has an address that may not be called"],
  NAME_NOT_RESOLVED: ["name_not_resolved", "has a host name that does not resolve"],
  ENOTFOUND: ["name_not_resolved", "has a host name that does not resolve"],
  EAI_AGAIN: ["name_not_resolved", "has a host name that does not resolve"],
  ECONNREFUSED: ["connection_refused", "refused the connection"],
  EHOSTUNREACH: ["connection_refused", "can't be reached"],
  ENETUNREACH: ["connection_refused", "can't be reached"],
  EADDRNOTAVAIL: ["connection_refused", "can't be reached"],
  UND_ERR_CONNECT_TIMEOUT: ["connect_timeout", "did not accept the connection in time"],
  ETIMEDOUT: ["connect_timeout", "did not accept the connection in time"],
  UND_ERR_CLOSED: ["connection_reset", "was replaced or removed just now"],
  UND_ERR_DESTROYED: ["connection_reset", "was replaced or removed just now"],
  EPROTO: ["tls_error", "does not speak TLS as it should"]
}

const certificateCode =
  /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_)/
const encodingCode = /^(Z_|ERR__|ERR_BROTLI|ERR_PADDING|ZSTD_)/
const notHttpCode = /^(HTTPParserError|HPE_|UND_ERR_HEADERS_OVERFLOW|UND_ERR_REQ_CONTENT_LENGTH)/

/** A connection that failed (FAULTS.md rows 21, 22, 29, 35 to 38), from the code of node's or undici's error. */
export const ofConnection = (provider: string, cause: unknown, phase: Phase): ProviderError => {
  const code = codeOf(cause)
  const known = phase === "request" ? unsentCodes[code] : undefined
  const unsent = (fault: Fault, message: string) => new ProviderError({ fault, message: `${provider} ${message}`, sent: false })
  if (known !== undefined) return unsent(...known)
  if (certificateCode.test(code)) return unsent("tls_error", "has a TLS certificate that can't be trusted, or no proper TLS")
  if (code === "UND_ERR_INVALID_ARG") return unsent("invalid_request", "can't be sent this request")
  if (encodingCode.test(code)) return answered("bad_encoding", `${provider} sent an answer whose compression is broken`)
  if (notHttpCode.test(code)) return answered("malformed_response", `${provider} sent an answer that is not proper HTTP`)
  switch (phase) {
    case "request":
      return answered("connection_reset", `${provider} closed the connection without an answer`)
    case "body":
      return answered("truncated_response", `${provider} broke the answer off`)
    case "stream":
      return answered("stream_interrupted", `${provider} broke the stream off`)
  }
}

const keyShapes = [
  /\b(Bearer|Basic)\s+[^\s"',;]+/gi,
  /\b(sk|xai|gsk|pplx|csk|nvapi|hf|th)[-_][A-Za-z0-9*_.-]{6,}/g,
  /\bAIza[A-Za-z0-9_-]{8,}/g
]

const longestMessage = 1000

/**
 * Takes keys out of a text: this call's, and whatever looks like one (FAULTS.md row 42). An HTML page becomes a plain
 * sentence (row 20), control characters spaces, and what is too long is cut.
 */
export const scrub = (text: string, key: Redacted.Redacted | undefined): string => {
  if (/<\s*(!doctype|html|head|body)\b/i.test(text)) return "The provider answered with an HTML page"
  let clean = text
  const secret = key === undefined ? "" : Redacted.value(key)
  if (secret.length >= 4) {
    for (const form of new Set([secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")])) {
      clean = clean.replaceAll(form, "[key]")
    }
  }
  for (const shape of keyShapes) clean = clean.replace(shape, "[key]")
  clean = clean.replace(/[\p{Cc}\s]+/gu, " ").trim()
  return clean.length > longestMessage ? `${clean.slice(0, longestMessage)}…` : clean
}

/** The same error with every text scrubbed. */
export const scrubbed = (error: ProviderError, key: Redacted.Redacted | undefined): ProviderError => {
  const clean = (text: string | undefined) => (text === undefined ? undefined : scrub(text, key))
  return new ProviderError({
    fault: error.fault,
    message: scrub(error.message, key),
    sent: error.sent,
    ...defined("status", error.status),
    ...defined("retryAfterMs", error.retryAfterMs),
    ...defined("param", clean(error.param)),
    ...defined("code", clean(error.code)),
    ...defined("upstreamRequestId", clean(error.upstreamRequestId))
  })
}
