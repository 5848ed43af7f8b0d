/**
 * One answer to an `Idempotency-Key`: requests that run are known to this process alone, so that its end, however hard, frees their
 * keys; whole answers are kept for a day, sealed. Keys belong to the client key that sent them, and to the route.
 */
import { Clock, Context, Effect, Layer, Schedule } from "effect"
import { hash } from "node:crypto"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import type { AnswerKey } from "../store/AnswerStore.ts"
import { AnswerStore } from "../store/AnswerStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import type { Kept, KeptAnswer } from "./KeptAnswer.ts"
import * as KeptAnswers from "./KeptAnswer.ts"
import type { Place } from "./Sealing.ts"
import { Sealing } from "./Sealing.ts"

export type { KeptAnswer } from "./KeptAnswer.ts"

/** A request with a key. */
export interface KeyedRequest {
  /** null: callers without a client key are one. */
  readonly clientKey: string | null
  readonly route: string
  /** The header's value. */
  readonly key: string
  /** As it came. */
  readonly body: Uint8Array
}

/** What is to be done with a request. */
export type Begun =
  /** Serve it: the key is its own until it is freed. */
  | { readonly type: "fresh"; readonly claim: Claim }
  /** Another request with this key and body is being served, for so long. */
  | { readonly type: "running"; readonly sinceMs: number }
  | { readonly type: "replay"; readonly answer: KeptAnswer }
  /** The key belongs to a request with another body. */
  | { readonly type: "other_body" }

export interface Claim {
  /** Keeps the answer, if it may be, and frees the key; returns when a request with this key would find it. */
  readonly complete: (answer: KeptAnswer) => Effect.Effect<void>
  /** There is no answer to keep. What was freed stays so. */
  readonly free: Effect.Effect<void>
}

/** The largest body of an answer that is kept. */
export const largestAnswer = 1024 * 1024

const lifetimeMs = 86_400_000

/** Of one client key; the oldest go first. */
const bounds = { rows: 10_000, bytes: 128 * 1024 * 1024 }

const pruneTurns = Schedule.spaced("1 hour")

/** The pause between two batches of one turn, in which other writes go through. */
const pruneBatches = Schedule.spaced("50 millis")

const pruneBatch = 20

interface Running {
  readonly fingerprint: string
  /** Of the monotonic clock, in nanoseconds. */
  readonly began: bigint
}

export class Idempotency extends Context.Service<Idempotency, {
  /** What is kept while the database can't be read is not known: then nothing may be done twice. */
  readonly begin: (request: KeyedRequest) => Effect.Effect<Begun, StoreUnavailable>
}>()("tokenhub/Idempotency") {
  static readonly layer: Layer.Layer<Idempotency, never, AnswerStore | Sealing> = Layer.effect(
    Idempotency,
    Effect.gen(function*() {
      const store = yield* AnswerStore
      const sealing = yield* Sealing
      const clock = yield* Clock.Clock
      const running = new Map<string, Running>()
      let ended = 0

      const prune = Effect.flatMap(Clock.currentTimeMillis, (now) => store.prune(now, pruneBatch)).pipe(
        Effect.repeat({ schedule: pruneBatches, while: (deleted) => deleted >= pruneBatch }),
        Effect.catchTag("StoreError", (error) =>
          Effect.logWarning("Kept answers that expired could not be deleted", { reason: error.message }))
      )
      yield* Effect.forkScoped(Effect.repeat(prune, pruneTurns))

      /** What is kept. A record that does not open, or not now, counts as gone. */
      const find = Effect.fnUntraced(
        function*(key: AnswerKey) {
          const sealed = yield* store.get(key, yield* Clock.currentTimeMillis)
          const bytes = sealed === undefined ? undefined : yield* sealing.unseal(placeOf(key), sealed)
          return bytes === undefined ? undefined : KeptAnswers.decode(bytes)
        },
        Effect.catchTags({
          VaultLocked: () => Effect.succeed(undefined),
          StoreError: (error): Effect.Effect<undefined, StoreUnavailable> =>
            error.kind === "unavailable"
              ? Effect.fail(toStoreUnavailable(error))
              : Effect.as(Effect.logWarning("A kept answer can't be read", { reason: error.message }), undefined)
        })
      )

      const keep = Effect.fnUntraced(
        function*(key: AnswerKey, kept: Kept) {
          const sealed = yield* sealing.seal(placeOf(key), KeptAnswers.encode(kept))
          yield* store.put({ ...key, expiresAt: (yield* Clock.currentTimeMillis) + lifetimeMs, sealed }, bounds)
        },
        Effect.catchTags({
          VaultLocked: () => Effect.void,
          StoreError: (error: StoreError) => Effect.logWarning("An answer could not be kept for its Idempotency-Key", { reason: error.message })
        })
      )

      const claim = (name: string, key: AnswerKey, fingerprint: string): Claim => {
        const own: Running = { fingerprint, began: clock.monotonicTimeNanosUnsafe() }
        running.set(name, own)
        const free = Effect.sync(() => {
          if (running.get(name) !== own) return
          running.delete(name)
          ended++
        })
        return {
          complete: (answer) =>
            Effect.suspend(() => (answer.body.length > largestAnswer ? Effect.void : keep(key, { fingerprint, answer }))).pipe(
              Effect.ensuring(free),
              Effect.uninterruptible
            ),
          free
        }
      }

      const begin = Effect.fn("Idempotency.begin")(function*(
        { body, clientKey, key: given, route }: KeyedRequest
      ): Effect.fn.Return<Begun, StoreUnavailable> {
        const key: AnswerKey = { clientKey: clientKey ?? "", route, key: given }
        const name = placeOf(key).join("\n")
        const fingerprint = hash("sha256", body)
        while (true) {
          const before = ended
          const kept = running.has(name) ? undefined : yield* find(key)
          if (kept !== undefined) return kept.fingerprint === fingerprint ? { type: "replay", answer: kept.answer } : { type: "other_body" }
          const other = running.get(name)
          if (other !== undefined) {
            if (other.fingerprint !== fingerprint) return { type: "other_body" }
            return { type: "running", sinceMs: Number((clock.monotonicTimeNanosUnsafe() - other.began) / 1_000_000n) }
          }
          // What ended since may be the answer that was not there yet.
          if (ended === before) return { type: "fresh", claim: claim(name, key, fingerprint) }
        }
      })

      return Idempotency.of({ begin })
    })
  )
}

const placeOf = ({ clientKey, key, route }: AnswerKey): Place => ["answer", clientKey, route, key]
