import type { Effect } from "effect"
import { Context } from "effect"
import type { StoreError } from "./StoreError.ts"

/** The vault's bytes as they lie in the database; what they mean is `vault/Envelope.ts`'s. */
export interface VaultImage {
  readonly header: Uint8Array
  readonly manifest: Uint8Array
  readonly generation: bigint
  readonly records: ReadonlyMap<string, Uint8Array>
}

export interface VaultChange {
  readonly header: Uint8Array
  readonly manifest: Uint8Array
  readonly generation: bigint
  /** Written under their names. */
  readonly put: ReadonlyMap<string, Uint8Array>
  readonly remove: ReadonlyArray<string>
}

/** The rows of `vault` and `vault_secrets`. Commits survive a power cut (`synchronous=FULL`). */
export class VaultStore extends Context.Service<VaultStore, {
  /** The whole vault, or undefined where none was ever made. */
  readonly load: Effect.Effect<VaultImage | undefined, StoreError>
  /** Makes the first header; a `conflict` if there is one already. */
  readonly create: (change: VaultChange) => Effect.Effect<void, StoreError>
  /** One immediate transaction, only if the stored generation is `expected`; else a `conflict` and nothing is changed. */
  readonly commit: (expected: bigint, change: VaultChange) => Effect.Effect<void, StoreError>
}>()("tokenhub/VaultStore") {}
