/**
 * Server-sent events to one client. What waits for a slow reader is bounded: then the producer waits (FAULTS.md row 45). A reader
 * that takes nothing for too long is cut off; one that leaves ends the producer with the request's scope (rows 43, 44).
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Cause, Scope } from "effect"
import { Clock, Effect, Latch, Queue, Schedule, Stream } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"

/** One event with its name; the data are sent as JSON. */
export interface NamedEvent {
  readonly name: string
  readonly data: unknown
}

export type Emit = (event: NamedEvent) => Effect.Effect<void>

/** Half of what may be held: the other half may be on its way through the socket. */
const mostQueued = 512 * 1024

const encoder = new TextEncoder()

/** WHATWG HTML, 9.2.6; JSON has no raw line breaks. */
const encode = ({ data, name }: NamedEvent): Uint8Array => encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`)

const heartbeat = encoder.encode(": heartbeat\n\n")

/**
 * Answers with the events that `produce` emits, and ends when it ends. `heartbeatMs`: how often an idle stream shows that it
 * lives; `stallMs`: how long a reader may take nothing of what waits for it.
 */
export const respond = Effect.fnUntraced(function*(options: {
  readonly request: HttpServerRequest.HttpServerRequest
  readonly heartbeatMs: number
  readonly stallMs: number
  readonly produce: (emit: Emit) => Effect.Effect<void>
}): Effect.fn.Return<HttpServerResponse.HttpServerResponse, never, Scope.Scope> {
  const { heartbeatMs, produce, request, stallMs } = options
  const scope = yield* Effect.scope
  const clock = yield* Clock.Clock
  const queue = yield* Queue.unbounded<Uint8Array, Cause.Done>()
  const room = Latch.makeUnsafe(true)
  let queued = 0
  let takenAt = clock.monotonicTimeNanosUnsafe()

  const push = (bytes: Uint8Array) => {
    if (queued === 0) takenAt = clock.monotonicTimeNanosUnsafe()
    queued += bytes.length
    if (queued >= mostQueued) room.closeUnsafe()
    Queue.offerUnsafe(queue, bytes)
  }

  const taken = (chunks: ReadonlyArray<Uint8Array>) => {
    for (const { length } of chunks) queued -= length
    takenAt = clock.monotonicTimeNanosUnsafe()
    if (queued < mostQueued) room.openUnsafe()
  }

  const beat = Effect.sync(() => {
    if (queued === 0) push(heartbeat)
  })

  const cutWhenStalled = Effect.sync(() => {
    const waitedMs = Number(clock.monotonicTimeNanosUnsafe() - takenAt) / 1e6
    // Ending the answer in order would need the reader too.
    if (queued > 0 && waitedMs >= stallMs) NodeHttpServerRequest.toServerResponse(request).destroy()
  })

  const every = (ms: number, effect: Effect.Effect<void>) => Effect.delay(Effect.repeat(effect, Schedule.spaced(ms)), ms)

  yield* Effect.forkIn(every(heartbeatMs, beat), scope)
  yield* Effect.forkIn(every(Math.max(10, stallMs / 10), cutWhenStalled), scope)
  yield* produce((event) => Effect.andThen(room.await, Effect.sync(() => push(encode(event))))).pipe(
    Effect.ensuring(Queue.end(queue)),
    Effect.forkIn(scope)
  )

  const bytes = Stream.fromQueue(queue).pipe(
    Stream.mapArray((chunks) => {
      taken(chunks)
      return chunks
    })
  )
  return HttpServerResponse.stream(bytes, {
    contentType: "text/event-stream",
    // Proxies that buffer would hold the events back.
    headers: { "cache-control": "no-cache", "x-accel-buffering": "no" }
  })
})
