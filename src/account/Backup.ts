/** A copy of everything that TokenHub keeps, for an admin to store elsewhere. */
import { Context, Effect, Layer } from "effect"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { Database } from "../store/Database.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import { Ledger } from "./Ledger.ts"

/** What the ledger still holds is in the copy too, unless the database takes no writes. */
const flushTime = "1 second"

export class Backup extends Context.Service<Backup, {
  /** The database as the bytes of one file, consistent at one moment; secrets in it stay encrypted. */
  readonly file: Effect.Effect<Uint8Array, StoreUnavailable>
}>()("tokenhub/Backup") {
  static readonly layer: Layer.Layer<Backup, never, Database | Ledger> = Layer.effect(
    Backup,
    Effect.gen(function*() {
      const database = yield* Database
      const ledger = yield* Ledger
      return Backup.of({
        file: Effect.andThen(Effect.timeoutOption(ledger.flush, flushTime), Effect.mapError(database.backup, toStoreUnavailable))
      })
    })
  )
}
