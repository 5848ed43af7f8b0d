import type { Effect, Redacted } from "effect"
import { Context } from "effect"
import type { Conflict, InvalidRequest, NotFound, StoreUnavailable, TooManyRequests, VaultCorrupt, VaultLocked, WrongPassword } from "../domain/RequestError.ts"

export interface VaultStatus {
  readonly state: "unlocked" | "locked" | "uninitialised"
  readonly generation: bigint
  /** Sorted. Known while locked too: names are not secret. */
  readonly secrets: ReadonlyArray<string>
  readonly iterations: number
}

export interface ImportCounts {
  readonly added: number
  readonly replaced: number
  readonly unchanged: number
}

/** The secrets of this TokenHub, encrypted at rest under the admin password (VAULT.md). */
export class Vault extends Context.Service<Vault, {
  readonly status: Effect.Effect<VaultStatus>
  /** A secret's text. */
  readonly get: (name: string) => Effect.Effect<Redacted.Redacted, NotFound | VaultLocked | VaultCorrupt>
  /** Whether a secret of that name is stored, locked or not. */
  readonly has: (name: string) => boolean
  /** Stores a text of up to 64 KiB under a name. */
  readonly put: (name: string, value: Redacted.Redacted) => Effect.Effect<void, VaultLocked | InvalidRequest | Conflict | StoreUnavailable>
  readonly remove: (name: string) => Effect.Effect<void, VaultLocked | NotFound | Conflict | StoreUnavailable>
  /** Forgets the keys; `get` fails with VaultLocked until `unlock`. */
  readonly lock: Effect.Effect<void>
  readonly unlock: (password: Redacted.Redacted) => Effect.Effect<void, WrongPassword | TooManyRequests | VaultCorrupt>
  /** Changes the password; `rekey` makes a new root key too. */
  readonly rotate: (options: {
    readonly oldPassword: Redacted.Redacted
    readonly newPassword: Redacted.Redacted
    readonly rekey: boolean
  }) => Effect.Effect<void, WrongPassword | TooManyRequests | InvalidRequest | VaultLocked | VaultCorrupt | Conflict | StoreUnavailable>
  /** All secrets as the bytes of one file under their own passphrase. */
  readonly export: (passphrase: Redacted.Redacted) => Effect.Effect<Uint8Array, VaultLocked | VaultCorrupt | InvalidRequest | TooManyRequests>
  /** Secrets of an exported file, or of the Python generation's; all or nothing. */
  readonly import: (options: {
    readonly passphrase: Redacted.Redacted
    readonly data: Uint8Array
    readonly dryRun: boolean
  }) => Effect.Effect<ImportCounts, WrongPassword | TooManyRequests | InvalidRequest | VaultLocked | Conflict | StoreUnavailable>
  /** Whether these are the bytes of the admin password: constant time and no derivation while unlocked, a queued derivation while locked. */
  readonly isAdmin: (password: Redacted.Redacted) => Effect.Effect<boolean, TooManyRequests>
  /** Called after every change of keys or secrets, so that nobody serves from an old copy; returns how to stop it. */
  readonly onChange: (listener: () => void) => () => void
}>()("tokenhub/Vault") {}
