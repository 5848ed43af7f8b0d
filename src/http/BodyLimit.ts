/** How much of a body is read, and what it must be before anyone looks into it (FAULTS.md rows 59 to 62). */
import { ByteSize, Effect, Layer, Result } from "effect"
import type { HttpServerError } from "effect/http"
import { HttpServerRequest } from "effect/http"
import { HttpApiMiddleware } from "effect/http-api"
import { InvalidRequest, PayloadTooLarge } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import * as Json from "./Json.ts"

/** More is not read from anyone (`HttpIncomingMessage.MaxBodySize`). */
export const mostRead = ByteSize.mebibytes(32)

const mostReadBytes = ByteSize.toNumberUnsafe(mostRead)

const unsupported = (message: string) =>
  new ErrorEnvelope.HttpFault({
    failure: ErrorEnvelope.httpFailure(415, "invalid_request_error", "unsupported_media_type", message)
  })

/** The error of a body that passes `limit` bytes. */
export const tooLarge = (limit: number): PayloadTooLarge =>
  new PayloadTooLarge({ message: `The body is larger than ${limit} bytes` })

const readError = (error: HttpServerError.HttpServerError): InvalidRequest | PayloadTooLarge =>
  error.reason._tag === "RequestParseError" && error.reason.reason === "BodyTooLarge"
    ? tooLarge(mostReadBytes)
    : new InvalidRequest({ message: "The body ended before its time", code: "incomplete_body" })

/** A parsed body and its size on the wire. */
export interface JsonBody {
  readonly value: unknown
  readonly bytes: number
}

type ReadFault = InvalidRequest | PayloadTooLarge | ErrorEnvelope.HttpFault

/** What the headers say against the body. */
const fault = ({ headers }: HttpServerRequest.HttpServerRequest): ReadFault | undefined => {
  const type = headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase()
  if (type !== undefined && type !== "application/json") {
    return unsupported("The content type must be application/json; with curl: -H 'content-type: application/json'")
  }
  const encoding = headers["content-encoding"]?.toLowerCase()
  if (encoding !== undefined && encoding !== "identity") return unsupported("The body must not be compressed")
  return Number(headers["content-length"]) > mostReadBytes ? tooLarge(mostReadBytes) : undefined
}

/** Reads the bytes of a body that says it is JSON; once, however often it is asked. */
export const readBytes = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<Buffer, ReadFault> =>
  Effect.suspend(() => {
    const found = fault(request)
    return found === undefined
      ? Effect.mapBoth(request.arrayBuffer, { onFailure: readError, onSuccess: (bytes) => Buffer.from(bytes) })
      : Effect.fail(found)
  })

/** Reads and parses a JSON body. `free`: see `Json.parse`. */
export const readJson = (request: HttpServerRequest.HttpServerRequest, free?: ReadonlySet<string>): Effect.Effect<JsonBody, ReadFault> =>
  Effect.flatMap(readBytes(request), (bytes) =>
    Effect.fromResult(Result.map(Json.parse(bytes, free), (value) => ({ value, bytes: bytes.length }))))

/** Checks the JSON body of every endpoint that has one, after authentication and before it is decoded. */
export class BodyLimit extends HttpApiMiddleware.Service<BodyLimit>()("tokenhub/BodyLimit") {
  static readonly layer = Layer.effect(
    BodyLimit,
    Effect.map(Settings, ({ maxBodyBytes }) =>
      BodyLimit.of((served, { endpoint }) =>
        endpoint.payload.size === 0
          ? served
          : HttpServerRequest.HttpServerRequest.pipe(
            Effect.flatMap((request) => readJson(request)),
            Effect.flatMap(({ bytes }) => (bytes > maxBodyBytes ? Effect.fail(tooLarge(maxBodyBytes)) : Effect.void)),
            Effect.matchEffect({ onSuccess: () => served, onFailure: ErrorEnvelope.respond })
          )))
  )
}
