/** The provider instances of this TokenHub: their cards, their adapters, their keys. */
import type { Effect, Redacted } from "effect"
import { Context } from "effect"
import type { CredentialState, ProviderCard, Timeouts } from "../domain/Catalog.ts"
import type { ProviderName } from "../domain/Ids.ts"
import type { ProviderError } from "../domain/ProviderError.ts"
import type { Conflict, InvalidRequest, NotFound, StoreUnavailable, VaultLocked } from "../domain/RequestError.ts"
import type { ProviderAdapter } from "./ProviderAdapter.ts"

/** What an admin gives; absent fields keep their default (PUT-like on POST), or their value (PATCH). */
export interface ProviderSpec {
  readonly providerType: string
  readonly apiKey?: Redacted.Redacted
  readonly baseUrl?: string | null
  readonly apiKeyEnv?: string | null
  readonly timeouts?: Timeouts
  readonly maxConcurrency?: number | null
  readonly allowPrivate?: boolean
  readonly enabled?: boolean
}

export interface ProviderView {
  readonly card: ProviderCard
  readonly credential: CredentialState
}

/** An adapter with the key for its next call. */
export interface ReadyProvider {
  readonly card: ProviderCard
  readonly adapter: ProviderAdapter
  readonly apiKey: Redacted.Redacted | undefined
}

export interface Validation {
  readonly valid: boolean
  /** Why not, scrubbed; absent when valid. */
  readonly message?: string
  readonly models: ReadonlyArray<string>
}

export class ProviderRegistry extends Context.Service<ProviderRegistry, {
  /** Adds or replaces an instance; its key goes to the vault as `provider/<name>`. Nothing is stored unless all of it is good. */
  readonly put: (name: ProviderName, spec: ProviderSpec, source?: ProviderCard["source"]) => Effect.Effect<
    { readonly view: ProviderView; readonly replaced: boolean },
    InvalidRequest | VaultLocked | Conflict | StoreUnavailable
  >
  /** Changes the given fields only. A changed origin wants the key again (VAULT.md rule 10). */
  readonly patch: (name: ProviderName, changes: Partial<ProviderSpec>) => Effect.Effect<
    ProviderView,
    NotFound | InvalidRequest | VaultLocked | Conflict | StoreUnavailable
  >
  /** Removes an instance and its key. While models use it: a conflict, unless `cascade`. */
  readonly remove: (name: ProviderName, options: { readonly cascade: boolean }) => Effect.Effect<void, NotFound | Conflict | VaultLocked | StoreUnavailable>
  readonly get: (name: ProviderName) => Effect.Effect<ProviderView, NotFound>
  /** Sorted by name. */
  readonly list: Effect.Effect<ReadonlyArray<ProviderView>>
  /** How the instance comes by its key now, without reading it; undefined: no such instance. No I/O: the router asks per request. */
  readonly credential: (name: ProviderName) => CredentialState | undefined
  readonly isEnabled: (name: ProviderName) => boolean
  /** The adapter and the key for one call; fails with `credential_missing`, `credential_locked` or `credential_corrupt`. */
  readonly ready: (name: ProviderName) => Effect.Effect<ReadyProvider, ProviderError>
  /** Asks the provider whether the key works, and what it offers. */
  readonly validate: (name: ProviderName) => Effect.Effect<Validation, NotFound>
  /** Called after every change of instances or credentials; returns how to stop it. */
  readonly onChange: (listener: () => void) => () => void
}>()("tokenhub/ProviderRegistry") {}
