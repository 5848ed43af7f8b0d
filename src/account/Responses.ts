/** Responses that clients asked to keep, so that a later request can go on from one. Each is seen by its own client key only. */
import { Clock, Context, Effect, Layer, Schedule } from "effect"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { InvalidRequest } from "../domain/RequestError.ts"
import { ResponseStore } from "../store/ResponseStore.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"

type Json = { readonly [name: string]: unknown }

/** A response and the conversation that it ends, as items of OpenAI's Responses API: what is needed to go on. */
export interface KeptResponse {
  /** The answer as the client got it. */
  readonly response: Json
  /** Every item of the conversation, the answer's own last. */
  readonly items: ReadonlyArray<Json>
}

const dayMs = 86_400_000

const lifetimeMs = 30 * dayMs

/** Of one client key; the oldest go first. */
const bounds = { rows: 5_000, bytes: 256 * 1024 * 1024 }

/** The largest conversation that is kept, in characters of JSON; its answer may have as much again. */
const largest = 8 * 1024 * 1024

const tooLarge = Effect.fail(
  new InvalidRequest({ message: `A conversation of more than ${largest} characters is not kept: send store: false`, param: "store" })
)

const pruneTurns = Schedule.spaced("1 hour")

/** The pause between two batches of one turn, in which other writes go through. */
const pruneBatches = Schedule.spaced("50 millis")

const pruneBatch = 50

export class Responses extends Context.Service<Responses, {
  /** Refuses a conversation that is too large to be kept, before anything is asked of a model. */
  readonly checkSize: (items: ReadonlyArray<Json>) => Effect.Effect<void, InvalidRequest>
  /** Keeps a response under its own id for 30 days. */
  readonly keep: (
    clientKey: string | null,
    kept: KeptResponse
  ) => Effect.Effect<void, InvalidRequest | StoreUnavailable>
  readonly get: (clientKey: string | null, id: string) => Effect.Effect<KeptResponse | undefined, StoreUnavailable>
  /** An item of an answer that is kept. */
  readonly item: (clientKey: string | null, id: string) => Effect.Effect<Json | undefined, StoreUnavailable>
  /** Whether there was one. */
  readonly remove: (clientKey: string | null, id: string) => Effect.Effect<boolean, StoreUnavailable>
}>()("tokenhub/Responses") {
  static readonly layer: Layer.Layer<Responses, never, ResponseStore> = Layer.effect(
    Responses,
    Effect.gen(function*() {
      const store = yield* ResponseStore

      const prune = Effect.flatMap(Clock.currentTimeMillis, (now) => store.prune(now, pruneBatch)).pipe(
        Effect.repeat({ schedule: pruneBatches, while: (deleted) => deleted >= pruneBatch }),
        Effect.catchTag("StoreError", (error) =>
          Effect.logWarning("Kept responses that expired could not be deleted", { reason: error.message }))
      )
      yield* Effect.forkScoped(Effect.repeat(prune, pruneTurns))

      const keep = Effect.fn("Responses.keep")(function*(clientKey: string | null, { items, response }: KeptResponse) {
        const row = { response: JSON.stringify(response), items: JSON.stringify(items) }
        if (row.items.length > 2 * largest) return yield* tooLarge
        const now = yield* Clock.currentTimeMillis
        yield* store.put({
          ...row,
          clientKey: clientKey ?? "",
          id: String(response["id"]),
          createdAt: now,
          expiresAt: now + lifetimeMs,
          itemIds: outputOf(response).flatMap(({ id }) => (typeof id === "string" ? [id] : []))
        }, bounds).pipe(Effect.mapError(toStoreUnavailable))
      })

      return Responses.of({
        checkSize: (items) => Effect.suspend(() => (JSON.stringify(items).length > largest ? tooLarge : Effect.void)),
        keep,
        get: (clientKey, id) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => store.get(clientKey ?? "", id, now)).pipe(
            Effect.map((row) => row && { response: JSON.parse(row.response), items: JSON.parse(row.items) }),
            Effect.mapError(toStoreUnavailable)
          ),
        item: (clientKey, id) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => store.withItem(clientKey ?? "", id, now)).pipe(
            Effect.map((row) => row && outputOf(JSON.parse(row.response)).find((item) => item["id"] === id)),
            Effect.mapError(toStoreUnavailable)
          ),
        remove: (clientKey, id) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => store.remove(clientKey ?? "", id, now)).pipe(
            Effect.mapError(toStoreUnavailable)
          )
      })
    })
  )
}

const outputOf = ({ output }: Json): ReadonlyArray<Json> => (Array.isArray(output) ? output : [])
