import type { Effect } from "effect"
import { Context } from "effect"
import type { StoreError } from "./StoreError.ts"

/** The one database of this TokenHub: opened, checked, locked against a second process and migrated before anything else starts. */
export class Database extends Context.Service<Database, {
  /** Whether a write would work now; `reason` says what stands in the way. */
  readonly writable: Effect.Effect<{ readonly ok: true } | { readonly ok: false; readonly reason: string }>
  /** A consistent copy of the whole database, as the bytes of one file. */
  readonly backup: Effect.Effect<Uint8Array, StoreError>
  /** Where the data lies, for people. */
  readonly location: string
}>()("tokenhub/Database") {}
