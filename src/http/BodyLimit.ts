/** How much of a body is read, and what it must be before anyone looks into it (FAULTS.md rows 59 to 62). */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { ByteSize, Effect, Layer, Result } from "effect"
import type { HttpServerError } from "effect/http"
import { HttpServerRequest } from "effect/http"
import { HttpApiMiddleware } from "effect/http-api"
import type { Readable } from "node:stream"
import { InvalidRequest, PayloadTooLarge } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import * as Json from "./Json.ts"

/** More is not read from anyone (`HttpReadable.MaxBodySize`). */
export const mostRead = ByteSize.mebibytes(32)

const mostReadBytes = ByteSize.toNumberUnsafe(mostRead)

const unsupported = (message: string) =>
  new ErrorEnvelope.HttpFault({
    failure: ErrorEnvelope.httpFailure(415, "invalid_request_error", "unsupported_media_type", message)
  })

/** The error of a body that passes `limit` bytes. */
export const tooLarge = (limit: number): PayloadTooLarge =>
  new PayloadTooLarge({ message: `The body is larger than ${limit} bytes` })

const incomplete = new InvalidRequest({ message: "The body ended before its time", code: "incomplete_body" })

const readError = (error: HttpServerError.HttpServerError): InvalidRequest | PayloadTooLarge =>
  error.reason._tag === "RequestParseError" && error.reason.reason === "BodyTooLarge"
    ? tooLarge(mostReadBytes)
    : incomplete

/** A parsed body and its size on the wire. */
export interface JsonBody extends Json.Parsed {
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

/** node's request; `complete`: all of it has arrived. */
type Message = Readable & { readonly complete: boolean }

const nothing = Buffer.alloc(0)

/** The whole body as node gives it: what Effect makes of it costs a small request as much as its answer. */
const collect = (message: Message): Effect.Effect<Buffer, ReadFault> =>
  // All of a small one came with its head.
  message.complete && message.readableFlowing === null ? Effect.succeed((message.read() as Buffer | null) ?? nothing) : arriving(message)

const arriving = (message: Message): Effect.Effect<Buffer, ReadFault> =>
  Effect.callback((resume) => {
    const chunks: Array<Buffer> = []
    let size = 0
    const stop = () => void message.off("data", onData).off("end", onEnd).off("error", onBroken).off("close", onBroken)
    const done = (result: Effect.Effect<Buffer, ReadFault>) => {
      stop()
      resume(result)
    }
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size > mostReadBytes) {
        message.pause()
        return done(Effect.fail(tooLarge(mostReadBytes)))
      }
      chunks.push(chunk)
    }
    const onEnd = () => {
      const [first] = chunks
      done(Effect.succeed(chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks)))
    }
    const onBroken = () => done(Effect.fail(incomplete))
    message.on("data", onData).on("end", onEnd).on("error", onBroken).on("close", onBroken)
    return Effect.sync(stop)
  })

/** Bodies that were read for somebody who is not the last to ask. */
const kept = new WeakMap<Readable, Buffer>()

const bytesOf = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<Buffer, ReadFault> => {
  const found = fault(request)
  if (found !== undefined) return Effect.fail(found)
  const message = NodeHttpServerRequest.toIncomingMessage(request)
  const known = kept.get(message)
  if (known !== undefined) return Effect.succeed(known)
  // Who waits for a word before it sends the body gets it from Effect.
  return request.headers["expect"] === undefined
    ? collect(message)
    : Effect.mapBoth(request.arrayBuffer, { onFailure: readError, onSuccess: (bytes) => Buffer.from(bytes) })
}

/** Reads the bytes of a body that says it is JSON; `readJson` may follow. Nobody else may read that body. */
export const readBytes = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<Buffer, ReadFault> =>
  Effect.mapEager(bytesOf(request), (bytes) => {
    kept.set(NodeHttpServerRequest.toIncomingMessage(request), bytes)
    return bytes
  })

/** Reads and parses a JSON body. `free`: see `Json.parse`. */
export const readJson = (request: HttpServerRequest.HttpServerRequest, free?: ReadonlySet<string>): Effect.Effect<JsonBody, ReadFault> =>
  Effect.flatMapEager(bytesOf(request), (bytes) =>
    Effect.fromResult(Result.map(Json.parse(bytes, free), (parsed) => ({ ...parsed, bytes: bytes.length }))))

/** A body that Effect reads and decodes: it may be asked for again. */
const check = Effect.fnUntraced(function*(
  request: HttpServerRequest.HttpServerRequest,
  maxBodyBytes: number
): Effect.fn.Return<void, ReadFault> {
  const found = fault(request)
  if (found !== undefined) return yield* Effect.fail(found)
  const bytes = Buffer.from(yield* Effect.mapError(request.arrayBuffer, readError))
  yield* Effect.fromResult(Json.parse(bytes))
  if (bytes.length > maxBodyBytes) return yield* tooLarge(maxBodyBytes)
})

/** Checks the JSON body of every endpoint that has one, after authentication and before it is decoded. */
export class BodyLimit extends HttpApiMiddleware.Service<BodyLimit>()("tokenhub/BodyLimit") {
  static readonly layer = Layer.effect(
    BodyLimit,
    Effect.map(Settings, ({ maxBodyBytes }) =>
      BodyLimit.of((served, { endpoint }) =>
        endpoint.payload.size === 0
          ? served
          : HttpServerRequest.HttpServerRequest.pipe(
            Effect.flatMap((request) => check(request, maxBodyBytes)),
            Effect.matchEffect({ onSuccess: () => served, onFailure: ErrorEnvelope.respond })
          )))
  )
}
