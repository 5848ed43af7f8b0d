/** A copy of everything that TokenHub keeps, for an admin to store elsewhere. */
import type { Scope, Stream } from "effect"
import { Context, Effect, Layer } from "effect"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { Database } from "../store/Database.ts"
import type { StoreError } from "../store/StoreError.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import { Ledger } from "./Ledger.ts"

/** What the ledger still holds is in the copy too, unless the database takes no writes. */
const flushTime = "1 second"

export class Backup extends Context.Service<Backup, {
  /** The database as one file, consistent at one moment, to be read while the scope is open; secrets in it stay encrypted. */
  readonly file: Effect.Effect<
    { readonly bytes: number; readonly content: Stream.Stream<Uint8Array, StoreError> },
    StoreUnavailable,
    Scope.Scope
  >
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
