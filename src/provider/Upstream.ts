/** The only place that makes outgoing HTTP: one bounded, guarded, scrubbed connection pool a provider instance. */
import type { Scope } from "effect"
import { Clock, Context, Effect, Exit, Layer, Redacted, Result } from "effect"
import { buildConnector, Pool } from "undici"
import type { ProviderCard } from "../domain/Catalog.ts"
import { forEachEager } from "../domain/Eager.ts"
import type { JsonSource } from "../domain/JsonSource.ts"
import { unmarked, written } from "../domain/JsonSource.ts"
import { ProviderError } from "../domain/ProviderError.ts"
import { Settings } from "../Settings.ts"
import { checkBaseUrl, guardedLookup } from "./EgressGuard.ts"
import type { Broken, Patience, Reader, Sent } from "./Exchange.ts"
import { Exchange, isSuccess } from "./Exchange.ts"
import type { ErrorDialect, Headers, Phase } from "./Faults.ts"
import { answered, ofConnection, ofEvent, ofStatus, scrubbed } from "./Faults.ts"
import type { Json } from "./protocols/Json.ts"
import type { StreamReader } from "./ServerEvents.ts"
import { EventFeed, parseJson } from "./ServerEvents.ts"
import type { Receive } from "./ProviderAdapter.ts"
import * as Slots from "./Slots.ts"

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
  readonly body?: Json
  /** Has much in common with the body, which is sent in its bytes where it can be. */
  readonly source?: JsonSource | undefined
  readonly headers?: { readonly [name: string]: string }
  readonly apiKey: Redacted.Redacted | undefined
  readonly errors: ErrorDialect
}

/** A body that is JSON: as it came, and what it says. */
export interface WholeAnswer {
  readonly bytes: Uint8Array
  readonly value: unknown
}

/** One provider instance's address. All calls are classified, bounded in time and size, and close the socket when interrupted. */
export interface Endpoint {
  /** The whole answer's JSON. */
  readonly json: (request: UpstreamRequest) => Effect.Effect<unknown, ProviderError>
  /** The whole answer's JSON, parsed and as it came. */
  readonly whole: (request: UpstreamRequest) => Effect.Effect<WholeAnswer, ProviderError>
  /**
   * Hands on the answer's events, through a reader made for this one run; ends after the reader's `end`. With `frames`, the name
   * of a protocol, each event comes as a frame, which holds what the reader makes of it.
   */
  readonly events: (
    request: UpstreamRequest,
    reader: () => StreamReader,
    receive: Receive,
    frames?: string
  ) => Effect.Effect<void, ProviderError>
}

/** An answer in one piece begins only once all of it is generated: it gets so many times the time-out of a first token. */
const wholeAnswerFactor = 10

/** How long a connection is kept for the next call, in milliseconds; an upstream's own hint may shorten it. */
const keepAliveMs = 30_000

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
        const connections = card.maxConcurrency ?? settings.providerConcurrency
        const checked = checkBaseUrl(options.baseUrl, allowPrivate)
        if (Result.isFailure(checked)) {
          const refused = new ProviderError({ fault: "egress_refused", message: `${card.name}: base_url ${checked.failure}`, sent: false })
          return { json: () => Effect.fail(refused), whole: () => Effect.fail(refused), events: () => Effect.fail(refused) }
        }
        const base = new URL(checked.success)
        const pool = yield* poolOf(base.origin, {
          allowPrivate,
          connectMs: card.timeouts.connectMs ?? settings.connectTimeoutMs,
          connections
        })
        const slots = Slots.make(connections, settings.providerQueue)

        const full = new ProviderError({
          fault: "queue_full",
          message: `${card.name} has too many calls waiting`,
          sent: false,
          retryAfterMs: 1000
        })

        /** A place among the calls of this provider, through a queue of bounded length and wait. */
        const takeSlot = (): Effect.Effect<void, ProviderError> => {
          const taken = Effect.mapErrorEager(slots.take(), () => full)
          return Exit.isExit(taken) ? taken : Effect.timeoutOrElse(taken, { duration: limits.firstByteMs, orElse: () => Effect.fail(full) })
        }

        const sentOf = (request: UpstreamRequest, accept: string): Sent => ({
          path: joinPath(base.pathname, request.path),
          headers: {
            ...request.headers,
            accept,
            "accept-encoding": "identity",
            "user-agent": "tokenhub",
            ...(request.body === undefined ? {} : { "content-type": "application/json" }),
            ...(request.apiKey === undefined ? {} : {
              [credential.header]: `${credential.scheme === undefined ? "" : `${credential.scheme} `}${Redacted.value(request.apiKey)}`
            })
          },
          body: bodyOf(request)
        })

        /** What broke an exchange, in the provider's name. */
        const faultOf = (broken: Broken, { status }: Exchange, phase: Phase): ProviderError => {
          switch (broken.why) {
            case "failed":
              return ofConnection(card.name, broken.cause, status === 0 ? "request" : phase)
            case "too_large":
              return answered("response_too_large", `${card.name} sent an answer of more than ${limits.bodyBytes} bytes`)
            case "encoding":
              return answered("bad_encoding", `${card.name} sent an answer in the encoding ${JSON.stringify(broken.encoding.slice(0, 40))}, which is refused`)
            case "late":
              return answered(lateFaults[broken.of], `${card.name} ${late[broken.of](broken.patience)}`)
          }
        }

        /** Sends a request, in a place that is the caller's to give back by `ended`. */
        const begin = (request: UpstreamRequest, accept: string, firstMs: number): Effect.Effect<Exchange, ProviderError> => {
          if (request.apiKey !== undefined && !/^[\x21-\x7e]+$/.test(Redacted.value(request.apiKey))) return Effect.fail(unsendable)
          const sent = sentOf(request, accept)
          return Effect.mapEager(takeSlot(), () =>
            new Exchange(pool, sent, { firstMs, idleMs: limits.streamIdleMs, wholeMs: limits.wholeCallMs }, limits.bodyBytes))
        }

        const ended = (exchange: Exchange, inOrder?: boolean): Effect.Effect<void> => {
          exchange.close(inOrder)
          slots.give()
          return Effect.void
        }

        const unsendable = new ProviderError({
          fault: "authentication",
          message: `The key of ${card.name} holds characters that no header can carry`,
          sent: false
        })

        /** The error of an answer whose status is no success. */
        const refusal = ({ headers, status }: Exchange, request: UpstreamRequest, body: Buffer): Effect.Effect<never, ProviderError> =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.fail(ofStatus(request.errors, card.name, status, headers, parseJson(unmarked(body).toString("utf8")), now)))

        const readJson = (exchange: Exchange, body: Buffer): Effect.Effect<WholeAnswer, ProviderError> => {
          const bytes = unmarked(body)
          const text = bytes.toString("utf8")
          const value = parseJson(text)
          return value === undefined ? Effect.fail(notJson(card.name, exchange.headers, text)) : Effect.succeed({ bytes, value })
        }

        /** Interruptible only where it has to wait: else the place that was taken would be nobody's. */
        const waiting = <A, E>(restore: (effect: Effect.Effect<A, E>) => Effect.Effect<A, E>, begun: Effect.Effect<A, E>): Effect.Effect<A, E> =>
          Exit.isExit(begun) ? begun : restore(begun)

        /** The whole answer, if it is a success. */
        const readWhole = (exchange: Exchange, request: UpstreamRequest): Effect.Effect<WholeAnswer, ProviderError> =>
          Effect.matchEffect(exchange.whole(), {
            onSuccess: (body) => (isSuccess(exchange.status) ? readJson(exchange, body) : refusal(exchange, request, body)),
            // A refusal whose body breaks off is a refusal all the same.
            onFailure: (broken) =>
              exchange.status === 0 || isSuccess(exchange.status) || broken.why === "encoding"
                ? Effect.fail(faultOf(broken, exchange, "body"))
                : refusal(exchange, request, nothing)
          })

        /** Makes a call, which ends with what is read of it. `complete`: the answer came to its own end. */
        const call = <A>(
          request: UpstreamRequest,
          { accept, complete, firstMs, read }: {
            readonly accept: string
            readonly firstMs: number
            readonly read: (exchange: Exchange) => Effect.Effect<A, ProviderError>
            readonly complete?: () => boolean
          }
        ): Effect.Effect<A, ProviderError> =>
          Effect.uninterruptibleMask((restore) =>
            Effect.flatMapEager(waiting(restore, begin(request, accept, firstMs)), (exchange) =>
              Effect.onExit(restore(read(exchange)), () => ended(exchange, complete?.())))
          ).pipe(Effect.mapError((error) => scrubbed(error, request.apiKey)))

        const whole: Endpoint["whole"] = (request) =>
          call(request, {
            accept: "application/json",
            firstMs: limits.firstByteMs * wholeAnswerFactor,
            read: (exchange) => readWhole(exchange, request)
          })

        const json: Endpoint["json"] = (request) => Effect.map(whole(request), ({ value }) => value)

        /** Hands on the events of an answer whose head is still to come. */
        const readStream = (exchange: Exchange, request: UpstreamRequest, feed: EventFeed, receive: Receive) =>
          Effect.flatMap(Effect.mapError(exchange.head(), (broken) => faultOf(broken, exchange, "stream")), () => {
            if (!isSuccess(exchange.status)) return Effect.asVoid(readWhole(exchange, request))
            const type = String(exchange.headers["content-type"] ?? "")
            if (/html/i.test(type)) return Effect.fail(unexpected(card.name))
            // A vendor that can't stream, or fails before it begins, answers with plain JSON.
            if (/^application\/([\w.]+\+)?json/i.test(type)) {
              return Effect.flatMap(readWhole(exchange, request), ({ value }) =>
                Effect.fail(request.errors.read(value) === undefined ? unexpected(card.name) : ofEvent(request.errors, value)))
            }
            return Effect.mapError(exchange.each(new EventReader(exchange, feed, receive)), (error) =>
              error instanceof ProviderError ? error : faultOf(error, exchange, "stream"))
          })

        const events: Endpoint["events"] = (request, reader, receive, frames) =>
          Effect.suspend(() => {
            const feed = new EventFeed(card.name, limits.bodyBytes, reader(), frames)
            return call(request, {
              accept: "text/event-stream",
              firstMs: limits.firstByteMs,
              read: (exchange) => readStream(exchange, request, feed, receive),
              complete: () => feed.over
            })
          })

        return { json, whole, events }
      })

      return Upstream.of({ endpoint })
    })
  )
}

/** Hands on what the bytes bring. */
class EventReader implements Reader<ProviderError> {
  private readonly exchange: Exchange
  private readonly feed: EventFeed
  private readonly receive: Receive

  constructor(exchange: Exchange, feed: EventFeed, receive: Receive) {
    this.exchange = exchange
    this.feed = feed
    this.receive = receive
  }

  get over(): boolean {
    return this.feed.over
  }

  read(bytes: Buffer | undefined): Effect.Effect<void, ProviderError> {
    const { feed } = this
    feed.feed(bytes)
    if (feed.begun) this.exchange.hasBegun()
    const received = forEachEager(feed.take(), this.receive)
    return feed.error === undefined ? received : Effect.andThen(received, Effect.fail(feed.error))
  }
}

interface Limits {
  readonly firstByteMs: number
  readonly streamIdleMs: number
  readonly wholeCallMs: number
  readonly bodyBytes: number
}

type Late = Extract<Broken, { why: "late" }>

const lateFaults = { head: "first_token_timeout", first_token: "first_token_timeout", bytes: "stream_stalled", whole: "call_timeout" } as const

const late: { readonly [K in Late["of"]]: (patience: Patience) => string } = {
  head: ({ firstMs, wholeMs }) => `did not begin to answer within ${Math.min(firstMs, wholeMs)} ms`,
  first_token: ({ firstMs }) => `sent no token within ${firstMs} ms`,
  bytes: ({ idleMs }) => `sent nothing for ${idleMs} ms`,
  whole: ({ wholeMs }) => `did not end its answer within ${wholeMs} ms`
}

const nothing = Buffer.alloc(0)

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

const bodyOf = ({ body, source }: UpstreamRequest): Sent["body"] => {
  if (body === undefined) return undefined
  return source === undefined ? JSON.stringify(body) : written(source, body)
}

/** `/v1` + `/v1/messages` is `/v1/messages`: people give an SDK's base URL with or without the version. */
const joinPath = (base: string, path: string): string => {
  const [, first = ""] = path.split("/")
  const root = base.replace(/\/$/, "")
  return root.endsWith(`/${first}`) ? root + path.slice(first.length + 1) : root + path
}

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
