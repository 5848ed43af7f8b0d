/** Sealed prompts and answers, where that was switched on, until their time is over. They are beside the ledger, never a reason to refuse. */
import { Clock, Context, Effect, Layer, Schedule } from "effect"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import type { PromptRow } from "../store/PromptStore.ts"
import { PromptStore } from "../store/PromptStore.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import * as GroupWriter from "./GroupWriter.ts"

const hourMs = 3_600_000

/** Bytes that may wait to be written; what comes beyond them is not kept. */
const mostWaiting = 16 * 1024 * 1024

const pruneTurns = Schedule.spaced("1 minute")

/** The pause between two batches of one turn, in which other writes go through. */
const pruneBatches = Schedule.spaced("50 millis")

const pruneBatch = 50

/** One line in so many says that prompts were not kept. */
const toldEvery = 1000

export class Prompts extends Context.Service<Prompts, {
  /** Whether prompts are to be kept. */
  readonly wanted: boolean
  /** Queued, and written soon; lost where the database can't be written. */
  readonly keep: (requestId: string, sealed: Uint8Array) => Effect.Effect<void>
  readonly get: (requestId: string) => Effect.Effect<PromptRow | undefined, StoreUnavailable>
}>()("tokenhub/Prompts") {
  static readonly layer: Layer.Layer<Prompts, never, PromptStore | Settings> = Layer.effect(
    Prompts,
    Effect.gen(function*() {
      const store = yield* PromptStore
      const { storePromptsHours } = yield* Settings
      const scope = yield* Effect.scope
      const writer = yield* GroupWriter.make<PromptRow>(store.put)
      let waiting = 0
      let lost = 0

      const prune = Effect.flatMap(Clock.currentTimeMillis, (now) => store.prune(now, pruneBatch)).pipe(
        Effect.repeat({ schedule: pruneBatches, while: (deleted) => deleted >= pruneBatch }),
        Effect.catchTag("StoreError", (error) => Effect.logWarning("Prompts that expired could not be deleted", { reason: error.message }))
      )
      yield* Effect.forkScoped(Effect.repeat(prune, pruneTurns))

      const notKept = (reason: string) =>
        Effect.suspend(() => (lost++ % toldEvery === 0 ? Effect.logWarning("A prompt could not be kept", { reason, lost }) : Effect.void))

      const write = (row: PromptRow) =>
        Effect.suspend(() => {
          if (waiting + row.sealed.length > mostWaiting) return notKept("too many wait for the database")
          waiting += row.sealed.length
          return writer.commit(row).pipe(
            Effect.ensuring(Effect.sync(() => void (waiting -= row.sealed.length))),
            Effect.catch(({ message }) => notKept(message)),
            // What was taken on is written at the end too.
            Effect.uninterruptible
          )
        })

      return Prompts.of({
        wanted: storePromptsHours > 0,
        keep: (requestId, sealed) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) =>
            Effect.asVoid(Effect.forkIn(write({ requestId, expiresAt: now + storePromptsHours * hourMs, sealed }), scope))),
        get: (requestId) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => store.get(requestId, now)).pipe(Effect.mapError(toStoreUnavailable))
      })
    })
  )
}
