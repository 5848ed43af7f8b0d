/** The only place that makes outgoing HTTP: one bounded, guarded, scrubbed connection pool a provider instance. */
import type { Scope } from "effect"
import { Cause, Clock, Context, Effect, Layer, Redacted, Result, Semaphore, Stream } from "effect"
import type { Readable } from "node:stream"
import { buildConnector, Pool } from "undici"
import type { ProviderCard } from "../domain/Catalog.ts"
import type { StreamEvent } from "../domain/Chat.ts"
import { ProviderError } from "../domain/ProviderError.ts"
import { Settings } from "../Settings.ts"
import { checkBaseUrl, guardedLookup } from "./EgressGuard.ts"
import type { ErrorDialect, Headers, Phase } from "./Faults.ts"
import { answered, ofConnection, ofEvent, ofStatus, scrubbed } from "./Faults.ts"
import type { ByteReader } from "./ResponseBody.ts"
import { byteReader, decoded } from "./ResponseBody.ts"
import type { StreamReader } from "./ServerEvents.ts"
import { eventFeed, parseJson } from "./ServerEvents.ts"

export interface EndpointOptions {
  readonly card: ProviderCard
  /** Checked by `checkBaseUrl`, without a trailing slash. */
  readonly baseUrl: string
  /** The provider lives on one's own machine or network. */
  readonly local: boolean
  /** The header that carries the key, and the word before it, if any. */
  readonly credential: { readonly header: string; readonly scheme?: string }
}

/** A call: what the protocol writes. Nothing else is sent but the key, `accept`, `content-type` and `user-agent`. */
export interface UpstreamRequest {
  /** Below the base URL, with a leading slash; a first segment that ends the base URL too is not doubled. */
  readonly path: string
  /** Sent as JSON by POST; absent: a GET. */
  readonly body?: unknown
  readonly headers?: { readonly [name: string]: string }
  readonly apiKey: Redacted.Redacted | undefined
  readonly errors: ErrorDialect
}

/** A body that is JSON. */
export interface WholeAnswer {
  readonly text: string
  readonly value: unknown
}

/** One provider instance's address. All calls are classified, bounded in time and size, and close the socket when interrupted. */
export interface Endpoint {
  /** The whole answer's JSON. */
  readonly json: (request: UpstreamRequest) => Effect.Effect<unknown, ProviderError>
  /** The whole answer's JSON, parsed and as it came. */
  readonly whole: (request: UpstreamRequest) => Effect.Effect<WholeAnswer, ProviderError>
  /**
   * The answer's events, through a reader made for this one run; ends after the reader's `end`. With `frames`, the name of a
   * protocol, each event comes as a frame too, before what the reader makes of it.
   */
  readonly events: (
    request: UpstreamRequest,
    reader: () => StreamReader,
    frames?: string
  ) => Stream.Stream<StreamEvent, ProviderError>
}

/** An answer in one piece begins only once all of it is generated: it gets so many times the time-out of a first token. */
const wholeAnswerFactor = 10

/** The part of an error's body that is read, in bytes. */
const longestErrorBody = 64 * 1024

/** How long a connection is kept for the next call, in milliseconds; an upstream's own hint may shorten it. */
const keepAliveMs = 30_000

/** What is left of an answer after its end mark is read up to here, so that the connection can be used again. */
const leftover = { limit: 16 * 1024, withinMs: 1000 }

export class Upstream extends Context.Service<Upstream, {
  /** A pool for one provider instance; it takes no more calls once its scope is closed, and ends with its last call. */
  readonly endpoint: (options: EndpointOptions) => Effect.Effect<Endpoint, never, Scope.Scope>
}>()("tokenhub/Upstream") {
  static readonly layer = Layer.effect(
    Upstream,
    Effect.gen(function*() {
      const settings = yield* Settings
      const pools = new Set<Pool>()
      yield* Effect.addFinalizer(() => Effect.promise(() => Promise.all([...pools].map((pool) => pool.destroy()))))

      const poolOf = (origin: string, options: { allowPrivate: boolean; connectMs: number; connections: number }) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const pool = new Pool(origin, {
              connect: connector(options),
              connections: options.connections,
              allowH2: false,
              keepAliveTimeout: keepAliveMs,
              headersTimeout: 0,
              bodyTimeout: 0
            })
            pools.add(pool)
            return pool
          }),
          (pool) => Effect.sync(() => void pool.close().catch(() => {}).finally(() => pools.delete(pool)))
        )

      const endpoint = Effect.fn("Upstream.endpoint")(function*(options: EndpointOptions): Effect.fn.Return<Endpoint, never, Scope.Scope> {
        const { card, credential } = options
        const allowPrivate = settings.allowPrivateUpstreams || options.local || card.allowPrivate
        const limits: Limits = {
          firstByteMs: card.timeouts.firstByteMs ?? settings.firstByteTimeoutMs,
          streamIdleMs: card.timeouts.streamIdleMs ?? settings.streamIdleTimeoutMs,
          wholeCallMs: card.timeouts.wholeCallMs ?? settings.wholeCallTimeoutMs,
          bodyBytes: settings.upstreamBodyBytes
        }
        const wholeAnswerMs = limits.firstByteMs * wholeAnswerFactor
        const connections = card.maxConcurrency ?? settings.providerConcurrency
        const checked = checkBaseUrl(options.baseUrl, allowPrivate)
        if (Result.isFailure(checked)) {
          const refused = new ProviderError({ fault: "egress_refused", message: `${card.name}: base_url ${checked.failure}`, sent: false })
          return { json: () => Effect.fail(refused), whole: () => Effect.fail(refused), events: () => Stream.fail(refused) }
        }
        const base = new URL(checked.success)
        const pool = yield* poolOf(base.origin, {
          allowPrivate,
          connectMs: card.timeouts.connectMs ?? settings.connectTimeoutMs,
          connections
        })
        const slots = yield* Semaphore.make(connections)
        let present = 0

        const full = new ProviderError({
          fault: "queue_full",
          message: `${card.name} has too many calls waiting`,
          sent: false,
          retryAfterMs: 1000
        })

        /** A place among the calls of this provider, through a queue of bounded length and wait. */
        const takeSlot = Effect.acquireRelease(
          Effect.suspend(() => present >= connections + settings.providerQueue ? Effect.fail(full) : Effect.sync(() => void present++)),
          () => Effect.sync(() => void present--)
        ).pipe(
          Effect.andThen(Semaphore.takeScoped(slots, 1)),
          within(limits.firstByteMs, () => full)
        )

        const headersOf = (request: UpstreamRequest, accept: string) => ({
          ...request.headers,
          accept,
          "accept-encoding": "identity",
          "user-agent": "tokenhub",
          ...(request.body === undefined ? {} : { "content-type": "application/json" }),
          ...(request.apiKey === undefined ? {} : {
            [credential.header]: `${credential.scheme === undefined ? "" : `${credential.scheme} `}${Redacted.value(request.apiKey)}`
          })
        })

        /** Sends the request; the answer is there once its headers are. Its body lives as long as the scope. */
        const open = Effect.fnUntraced(function*(
          request: UpstreamRequest,
          accept: string,
          patienceMs: number
        ): Effect.fn.Return<Answer, ProviderError, Scope.Scope> {
          if (request.apiKey !== undefined && !/^[\x21-\x7e]+$/.test(Redacted.value(request.apiKey))) {
            return yield* new ProviderError({
              fault: "authentication",
              message: `The key of ${card.name} holds characters that no header can carry`,
              sent: false
            })
          }
          yield* takeSlot
          const started = yield* nowMs
          const response = yield* Effect.tryPromise({
            try: (signal) =>
              pool.request({
                method: request.body === undefined ? "GET" : "POST",
                path: joinPath(base.pathname, request.path),
                headers: headersOf(request, accept),
                body: request.body === undefined ? null : JSON.stringify(request.body),
                signal
              }),
            catch: (cause) => ofConnection(card.name, cause, "request")
          }).pipe(
            within(Math.min(patienceMs, limits.wholeCallMs), () =>
              answered("first_token_timeout", `${card.name} did not begin to answer within ${patienceMs} ms`))
          )
          const body: Readable = response.body
          body.on("error", () => {})
          const end = { inOrder: false }
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              if (body.readableEnded || body.destroyed) return
              if (!end.inOrder) return void body.destroy()
              void response.body.dump({ limit: leftover.limit, signal: AbortSignal.timeout(leftover.withinMs) }).catch(() => {})
            })
          )
          const encoding = encodingOf(response.headers)
          const plain = decoded(body, encoding)
          if (plain === undefined) {
            const shown = JSON.stringify(encoding.slice(0, 40))
            return yield* answered("bad_encoding", `${card.name} sent an answer in the encoding ${shown}, which is refused`)
          }
          if (plain !== body) plain.on("error", () => {})
          const answer: Answer = {
            status: response.statusCode,
            headers: response.headers,
            bytes: byteReader(plain),
            started,
            finish: () => void (end.inOrder = plain === body)
          }
          if (response.statusCode >= 200 && response.statusCode < 300) return answer
          const text = yield* readAll(answer, longestErrorBody, "body").pipe(Effect.catch(() => Effect.succeed("")))
          return yield* ofStatus(
            request.errors,
            card.name,
            response.statusCode,
            response.headers,
            parseJson(text),
            yield* Clock.currentTimeMillis
          )
        })

        /** The next bytes, within the idle time-out (or that for the first token) and what is left of the whole call. */
        const nextBytes = (answer: Answer, phase: Phase, firstToken: boolean): Effect.Effect<Uint8Array | undefined, ProviderError> =>
          Effect.suspend(() => {
            const soon = answer.bytes.now()
            return soon === undefined ? Effect.flatMap(nowMs, (now) => waitForBytes(answer, phase, firstToken, now)) : Effect.succeed(soon)
          })

        const waitForBytes = (answer: Answer, phase: Phase, firstToken: boolean, now: number) => {
          const elapsed = now - answer.started
          const left = limits.wholeCallMs - elapsed
          const patience = firstToken ? limits.firstByteMs - elapsed : limits.streamIdleMs
          return answer.bytes.next.pipe(
            Effect.mapError((cause) => ofConnection(card.name, cause, phase)),
            within(Math.max(0, Math.min(left, patience)), () =>
              left <= patience
                ? tooLong
                : firstToken
                ? answered("first_token_timeout", `${card.name} sent no token within ${limits.firstByteMs} ms`)
                : answered("stream_stalled", `${card.name} sent nothing for ${limits.streamIdleMs} ms`))
          )
        }

        const tooLong = answered("call_timeout", `${card.name} did not end its answer within ${limits.wholeCallMs} ms`)
        const tooLarge = answered("response_too_large", `${card.name} sent an answer of more than ${limits.bodyBytes} bytes`)

        const expired = (answer: Answer) => Effect.map(nowMs, (now) => now - answer.started > limits.wholeCallMs)

        const readAll = Effect.fnUntraced(function*(answer: Answer, limit: number, phase: Phase): Effect.fn.Return<string, ProviderError> {
          if (Number(answer.headers["content-length"] ?? 0) > limit) return yield* tooLarge
          const pieces: Array<Uint8Array> = []
          let size = 0
          for (;;) {
            const bytes = yield* nextBytes(answer, phase, false)
            if (bytes === undefined) return Buffer.concat(pieces).toString("utf8").replace(/^\uFEFF/, "")
            size += bytes.length
            if (size > limit) return yield* tooLarge
            if (yield* expired(answer)) return yield* tooLong
            pieces.push(bytes)
          }
        })

        const readJson = Effect.fnUntraced(function*(answer: Answer): Effect.fn.Return<WholeAnswer, ProviderError> {
          const text = yield* readAll(answer, limits.bodyBytes, "body")
          const value = parseJson(text)
          return value === undefined ? yield* notJson(card.name, answer.headers, text) : { text, value }
        })

        const whole: Endpoint["whole"] = (request) =>
          Effect.scoped(Effect.flatMap(open(request, "application/json", wholeAnswerMs), readJson)).pipe(
            Effect.mapError((error) => scrubbed(error, request.apiKey))
          )

        const json: Endpoint["json"] = (request) => Effect.map(whole(request), ({ value }) => value)
        const pullEvents = Effect.fnUntraced(function*(
          answer: Answer,
          request: UpstreamRequest,
          reader: StreamReader,
          frames: string | undefined
        ) {
          const type = String(answer.headers["content-type"] ?? "")
          if (/html/i.test(type)) return yield* unexpected(card.name)
          // A vendor that can't stream, or fails before it begins, answers with plain JSON.
          if (/^application\/([\w.]+\+)?json/i.test(type)) {
            const { value: body } = yield* readJson(answer)
            return yield* request.errors.read(body) === undefined ? unexpected(card.name) : ofEvent(request.errors, body)
          }
          const stream = eventFeed(card.name, limits.bodyBytes, reader, frames)
          let begun = false
          return Effect.gen(function*() {
            while (!stream.over() && stream.error() === undefined) {
              if (yield* expired(answer)) return yield* tooLong
              stream.feed(yield* nextBytes(answer, "stream", !begun))
              if (stream.over()) answer.finish()
              const [first, ...rest] = stream.take()
              if (first === undefined) continue
              begun ||= first.type !== "frame" || rest.some((event) => event.type !== "frame")
              return [first, ...rest] as const
            }
            return yield* stream.error() ?? Cause.done()
          })
        })

        const events: Endpoint["events"] = (request, reader, frames) =>
          Stream.unwrap(
            Effect.map(open(request, "text/event-stream", limits.firstByteMs), (answer) =>
              Stream.fromPull(pullEvents(answer, request, reader(), frames)))
          ).pipe(Stream.mapError((error) => scrubbed(error, request.apiKey)))

        return { json, whole, events }
      })

      return Upstream.of({ endpoint })
    })
  )
}

interface Limits {
  readonly firstByteMs: number
  readonly streamIdleMs: number
  readonly wholeCallMs: number
  readonly bodyBytes: number
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly bytes: ByteReader
  /** On the monotonic clock, in milliseconds. */
  readonly started: number
  /** The answer is complete: the rest of the body is worth reading. */
  readonly finish: () => void
}

/**
 * Connects to checked addresses only, with TLS verified whatever the environment says. The time-out is a timer of its own,
 * since undici's is late by up to a second.
 */
const connector = (options: { readonly allowPrivate: boolean; readonly connectMs: number }): buildConnector.connector => {
  const connect = buildConnector({
    timeout: options.connectMs * 2,
    allowH2: false,
    rejectUnauthorized: true,
    lookup: guardedLookup(options.allowPrivate)
  })
  return (target, callback) => {
    let late = false
    const timer = setTimeout(() => {
      late = true
      callback(Object.assign(new Error("connect time-out"), { code: "UND_ERR_CONNECT_TIMEOUT" }), null)
    }, options.connectMs)
    connect(target, (...result) => {
      clearTimeout(timer)
      if (late) result[1]?.destroy()
      else callback(...result)
    })
  }
}

const nowMs = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const within = (ms: number, error: () => ProviderError) =>
<A, R>(effect: Effect.Effect<A, ProviderError, R>): Effect.Effect<A, ProviderError, R> =>
  Effect.timeoutOrElse(effect, { duration: ms, orElse: () => Effect.fail(error()) })

/** `/v1` + `/v1/messages` is `/v1/messages`: people give an SDK's base URL with or without the version. */
const joinPath = (base: string, path: string): string => {
  const [, first = ""] = path.split("/")
  const root = base.replace(/\/$/, "")
  return root.endsWith(`/${first}`) ? root + path.slice(first.length + 1) : root + path
}

const encodingOf = (headers: Headers): string => String(headers["content-encoding"] ?? "")

const unexpected = (provider: string): ProviderError =>
  answered("unexpected_body", `${provider} sent something that is not its API's answer; check base_url`)

/** Why a success's body is no JSON: another thing altogether, cut off, or broken. What came with its length came whole. */
const notJson = (provider: string, headers: Headers, text: string): ProviderError => {
  if (/html/i.test(String(headers["content-type"] ?? "")) || text.trimStart().startsWith("<")) return unexpected(provider)
  const whole = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined
  return !whole && isCutOff(text)
    ? answered("truncated_response", `${provider} sent JSON that is cut off`)
    : answered("malformed_response", `${provider} sent an answer that is not JSON`)
}

/** Whether more text could have made it JSON: V8 names the place where it stopped. */
const isCutOff = (text: string): boolean => {
  try {
    JSON.parse(text)
    return false
  } catch (error) {
    const message = error instanceof Error ? error.message : ""
    const position = Number(/at position (\d+)/.exec(message)?.[1] ?? -1)
    return text.trim() !== "" && (/end of JSON input|Unterminated/.test(message) || position >= text.trimEnd().length)
  }
}
