/** The provider instances of this TokenHub: their cards, their adapters, their keys. */
import type { Redacted } from "effect"
import { Context, Effect, Exit, Layer, Scope, Semaphore } from "effect"
import { isDeepStrictEqual } from "node:util"
import type { CredentialState, ProviderCard } from "../domain/Catalog.ts"
import { ProviderName } from "../domain/Ids.ts"
import { ProviderError } from "../domain/ProviderError.ts"
import type { VaultLocked } from "../domain/RequestError.ts"
import { changedMeanwhile, Conflict, InvalidRequest, NotFound, StoreUnavailable } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import { ModelStore } from "../store/ModelStore.ts"
import { ProviderStore } from "../store/ProviderStore.ts"
import { SettingStore } from "../store/SettingStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import { Vault } from "../vault/Vault.ts"
import type { ProviderAdapter, ProviderType } from "./ProviderAdapter.ts"
import { cardOf, keyVariables, originOf, secretName } from "./ProviderSpec.ts"
import type { ProviderSpec } from "./ProviderSpec.ts"
import { ProviderTypes } from "./ProviderTypes.ts"

export type { ProviderSpec } from "./ProviderSpec.ts"

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
  /**
   * Changes the given fields only. A changed origin wants the key again (VAULT.md rule 10). An instance that is no longer `expected`
   * is a conflict.
   */
  readonly patch: (name: ProviderName, changes: Partial<ProviderSpec>, expected?: ProviderCard) => Effect.Effect<
    ProviderView,
    NotFound | InvalidRequest | VaultLocked | Conflict | StoreUnavailable
  >
  /** Removes an instance and its key. While models use it: a conflict, unless `cascade`. */
  readonly remove: (name: ProviderName, options: { readonly cascade: boolean }) => Effect.Effect<
    void,
    NotFound | Conflict | VaultLocked | StoreUnavailable
  >
  readonly get: (name: ProviderName) => Effect.Effect<ProviderView, NotFound>
  /** Sorted by name. */
  readonly list: Effect.Effect<ReadonlyArray<ProviderView>>
  /** How the instance comes by its key now, without reading it; undefined: no such instance. No I/O: the router asks per request. */
  readonly credential: (name: ProviderName) => CredentialState | undefined
  readonly isEnabled: (name: ProviderName) => boolean
  /** False where providers of this type are called without a key (Ollama, mock): `credential` may then be `none`. No I/O. */
  readonly needsKey: (name: ProviderName) => boolean
  /** The adapter and the key for one call; fails with `credential_missing`, `credential_locked` or `credential_corrupt`. */
  readonly ready: (name: ProviderName) => Effect.Effect<ReadyProvider, ProviderError>
  /** Asks the provider whether the key works, and what it offers. */
  readonly validate: (name: ProviderName) => Effect.Effect<Validation, NotFound>
  /** Called after every change of instances or credentials; returns how to stop it. */
  readonly onChange: (listener: () => void) => () => void
}>()("tokenhub/ProviderRegistry") {
  /** Reads the stored instances and adds those of the environment; a first start without any gets the mock. */
  static readonly layer = Layer.effect(
    ProviderRegistry,
    Effect.gen(function*() {
      const settings = yield* Settings
      const types = yield* ProviderTypes
      const store = yield* ProviderStore
      const models = yield* ModelStore
      const facts = yield* SettingStore
      const vault = yield* Vault
      const scope = yield* Effect.scope
      const changes = yield* Semaphore.make(1)
      const entries = new Map<ProviderName, Entry>()
      const listeners = new Set<() => void>()
      /** Counts the vault's changes: a key that was read before the last one is not kept. */
      let epoch = 0
      let locked = false

      const notify = Effect.sync(() => listeners.forEach((listener) => listener()))

      // --- credentials

      const environmentVariable = (card: ProviderCard): string | undefined =>
        keyVariables(card, types.get(card.providerType)).find((name) => settings.secretFromEnvironment(name) !== undefined)

      const credentialOf = (entry: Entry): CredentialState =>
        vault.has(secretName(entry.card.name))
          ? locked ? "locked" : "vault"
          : entry.variable === undefined ? "none" : `env:${entry.variable}`

      const viewOf = (entry: Entry): ProviderView => ({ card: entry.card, credential: credentialOf(entry) })

      const fault = (name: ProviderError["fault"], message: string) => new ProviderError({ fault: name, message, sent: false })

      const keyFromVault = Effect.fnUntraced(function*(entry: Entry): Effect.fn.Return<Redacted.Redacted, ProviderError> {
        const { name } = entry.card
        const before = epoch
        const key = yield* vault.get(secretName(name)).pipe(
          Effect.catchTags({
            NotFound: () => Effect.fail(fault("credential_missing", `Provider '${name}' has no key`)),
            VaultLocked: () => Effect.fail(fault("credential_locked", `The key of provider '${name}' is in the vault, which is locked`)),
            VaultCorrupt: () => Effect.fail(fault("credential_corrupt", `The key of provider '${name}' can't be read from the vault`))
          })
        )
        if (before === epoch) entry.key = key
        return key
      })

      const keyOf = (entry: Entry): Effect.Effect<Redacted.Redacted | undefined, ProviderError> =>
        Effect.suspend((): Effect.Effect<Redacted.Redacted | undefined, ProviderError> => {
          const { name } = entry.card
          if (entry.key !== undefined) return Effect.succeed(entry.key)
          if (vault.has(secretName(name))) return keyFromVault(entry)
          const key = entry.variable === undefined ? undefined : settings.secretFromEnvironment(entry.variable)
          if (key === undefined && types.get(entry.card.providerType)?.needsKey === true) {
            return Effect.fail(fault("credential_missing", `Provider '${name}' has no key`))
          }
          entry.key = key
          return Effect.succeed(key)
        })

      const readLock = Effect.map(vault.status, ({ state }) => void (locked = state === "locked"))
      const runFork = Effect.runForkWith(yield* Effect.context<never>())
      const stopListening = vault.onChange(() => {
        epoch++
        for (const entry of entries.values()) entry.key = undefined
        runFork(Effect.andThen(readLock, notify))
      })
      yield* Effect.addFinalizer(() => Effect.sync(stopListening))
      yield* readLock

      // --- instances

      const enter = (card: ProviderCard): Entry => {
        const entry: Entry = { card, variable: environmentVariable(card), key: undefined, adapter: undefined }
        entries.set(card.name, entry)
        return entry
      }

      /** The old adapter takes no more calls; those that run go on to their end. */
      const retire = (entry: Entry | undefined) =>
        entry?.adapter === undefined ? Effect.void : Scope.close(entry.adapter.scope, Exit.void)

      const build = Effect.fnUntraced(function*(entry: Entry): Effect.fn.Return<ProviderAdapter, ProviderError> {
        if (entry.adapter !== undefined) return entry.adapter.adapter
        const type = types.get(entry.card.providerType)
        if (type === undefined) {
          return yield* fault("unsupported", `Provider '${entry.card.name}' is of the unknown type '${entry.card.providerType}'`)
        }
        const own = yield* Scope.fork(scope)
        const adapter = yield* Scope.provide(type.make(entry.card), own)
        entry.adapter = { adapter, scope: own }
        return adapter
      }, (effect) => Effect.uninterruptible(changes.withPermit(effect)))

      const adapterOf = (entry: Entry) => (entry.adapter === undefined ? build(entry) : Effect.succeed(entry.adapter.adapter))

      const find = (name: ProviderName): Effect.Effect<Entry, NotFound> => {
        const entry = entries.get(name)
        return entry === undefined ? Effect.fail(new NotFound({ message: `No provider '${name}'` })) : Effect.succeed(entry)
      }

      const typeNamed = (name: string): Effect.Effect<ProviderType, InvalidRequest> => {
        const type = types.get(name)
        return type === undefined
          ? Effect.fail(
            new InvalidRequest({
              message: `provider_type '${name}' is unknown; it must be one of ${types.names().join(", ")}`,
              param: "provider_type"
            })
          )
          : Effect.succeed(type)
      }

      /** VAULT.md rule 10: a key that was given for one origin is never sent to another. */
      const checkBinding = (before: Entry | undefined, after: ProviderCard, type: ProviderType, keyGiven: boolean) => {
        const bound = before !== undefined && !keyGiven && vault.has(secretName(after.name))
        const moved = bound && originOf(before.card, types.get(before.card.providerType)) !== originOf(after, type)
        return moved
          ? Effect.fail(
            new InvalidRequest({
              message: "The stored key belongs to the old base_url: give api_key again with the new one",
              param: "api_key"
            })
          )
          : Effect.void
      }

      /** Stores key and card, or neither. */
      const save = Effect.fnUntraced(function*(card: ProviderCard, key: Redacted.Redacted | undefined) {
        const secret = secretName(card.name)
        if (key === undefined) return yield* store.put(card).pipe(Effect.mapError(toRequestError))
        const old = vault.has(secret) ? yield* vault.get(secret).pipe(Effect.catch(() => Effect.succeed(undefined))) : undefined
        yield* vault.put(secret, key)
        const undo = old === undefined ? vault.remove(secret) : vault.put(secret, old)
        yield* store.put(card).pipe(Effect.mapError(toRequestError), Effect.onError(() => Effect.ignore(undo)))
      })

      const replace = Effect.fnUntraced(function*(
        name: ProviderName,
        spec: ProviderSpec,
        source: ProviderCard["source"]
      ): Effect.fn.Return<Entry, InvalidRequest | VaultLocked | Conflict | StoreUnavailable> {
        const type = yield* typeNamed(spec.providerType)
        const card = yield* cardOf(name, spec, type, source, settings.allowPrivateUpstreams)
        const before = entries.get(name)
        yield* checkBinding(before, card, type, spec.apiKey !== undefined)
        yield* save(card, spec.apiKey)
        const entry = enter(card)
        yield* retire(before)
        return entry
      })

      /** One change at a time, whole once begun. */
      const change = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
        Effect.tap(Effect.uninterruptible(changes.withPermit(effect)), () => notify)

      const put: ProviderRegistry["Service"]["put"] = (name, spec, source = "admin") =>
        change(Effect.suspend(() => {
          const replaced = entries.has(name)
          return Effect.map(replace(name, spec, source), (entry) => ({ view: viewOf(entry), replaced }))
        })).pipe(Effect.withSpan("ProviderRegistry.put"))

      const patch: ProviderRegistry["Service"]["patch"] = (name, given, expected) =>
        change(Effect.gen(function*() {
          const { card } = yield* find(name)
          if (expected !== undefined && !isDeepStrictEqual(card, expected)) return yield* changedMeanwhile(`The provider '${name}'`)
          const entry = yield* replace(name, { ...card, ...given }, "admin")
          return viewOf(entry)
        })).pipe(Effect.withSpan("ProviderRegistry.patch"))

      const remove: ProviderRegistry["Service"]["remove"] = (name, { cascade }) =>
        change(Effect.gen(function*() {
          const entry = yield* find(name)
          const users = (yield* models.all.pipe(Effect.mapError(toUnavailable))).filter(({ provider }) => provider === name)
          if (users.length > 0 && !cascade) {
            return yield* new Conflict({
              message: `Provider '${name}' is used by ${users.length} model(s): ${
                users.slice(0, 5).map((model) => model.name).join(", ")
              }; delete them first, or add ?cascade=true`
            })
          }
          if (vault.has(secretName(name))) {
            yield* vault.remove(secretName(name)).pipe(Effect.catchTag("NotFound", () => Effect.void))
          }
          yield* store.remove(name, { cascade }).pipe(Effect.mapError(toRequestError))
          entries.delete(name)
          yield* retire(entry)
        })).pipe(Effect.withSpan("ProviderRegistry.remove"))

      const ready: ProviderRegistry["Service"]["ready"] = (name) => {
        const entry = entries.get(name)
        if (entry === undefined) return Effect.fail(fault("credential_missing", `No provider '${name}'`))
        // Both are there but for the first call.
        if (entry.adapter !== undefined && entry.key !== undefined) {
          return Effect.succeed({ card: entry.card, adapter: entry.adapter.adapter, apiKey: entry.key })
        }
        return Effect.flatMap(adapterOf(entry), (adapter) =>
          Effect.map(keyOf(entry), (apiKey) => ({ card: entry.card, adapter, apiKey })))
      }

      const validate = Effect.fn("ProviderRegistry.validate")(function*(name: ProviderName) {
        yield* find(name)
        return yield* ready(name).pipe(
          Effect.flatMap(({ adapter, apiKey }) => adapter.models(apiKey)),
          Effect.match({
            onSuccess: (offered): Validation => ({ valid: true, models: offered }),
            onFailure: ({ message }): Validation => ({ valid: false, message, models: [] })
          })
        )
      })

      // --- the start

      const stored = yield* store.all
      for (const card of stored) enter(card)
      for (const name of types.names()) {
        const type = types.get(name)
        if (type === undefined || type.defaultBaseUrl === null || !type.needsKey || type.onRequest === true) continue
        const card = blankCard(ProviderName.make(name), name, "environment")
        if (!entries.has(card.name) && environmentVariable(card) !== undefined) enter(card)
      }
      const startedBefore = (yield* facts.get(startedFact)) !== undefined
      if (!startedBefore) {
        if (entries.size === 0 && settings.mock === "auto" && types.get("mock") !== undefined) {
          const card = blankCard(ProviderName.make("mock"), "mock", "mock")
          yield* store.put(card)
          enter(card)
        }
        yield* facts.set(startedFact, "true")
      }

      return ProviderRegistry.of({
        put,
        patch,
        remove,
        get: (name) => Effect.map(find(name), viewOf),
        list: Effect.sync(() => [...entries.values()].map(viewOf).toSorted((a, b) => (a.card.name < b.card.name ? -1 : 1))),
        credential: (name) => {
          const entry = entries.get(name)
          return entry === undefined ? undefined : credentialOf(entry)
        },
        isEnabled: (name) => entries.get(name)?.card.enabled ?? false,
        needsKey: (name) => {
          const entry = entries.get(name)
          return entry !== undefined && (types.get(entry.card.providerType)?.needsKey ?? true)
        },
        ready,
        validate,
        onChange: (listener) => {
          listeners.add(listener)
          return () => void listeners.delete(listener)
        }
      })
    })
  )
}

/** One instance. The adapter is made for the first call; the key is kept until the vault changes. */
interface Entry {
  readonly card: ProviderCard
  /** The environment variable that holds its key, where one is set. */
  readonly variable: string | undefined
  key: Redacted.Redacted | undefined
  adapter: { readonly adapter: ProviderAdapter; readonly scope: Scope.Closeable } | undefined
}

/** The stored fact that this TokenHub has run before: only a first start gets the mock. */
const startedFact = "providers_started"

const blankCard = (name: ProviderName, providerType: string, source: ProviderCard["source"]): ProviderCard => ({
  name,
  providerType,
  baseUrl: null,
  apiKeyEnv: null,
  timeouts: {},
  maxConcurrency: null,
  allowPrivate: false,
  enabled: true,
  source
})

const toUnavailable = (error: StoreError) => new StoreUnavailable({ message: error.message })

const toRequestError = (error: StoreError): Conflict | StoreUnavailable =>
  error.kind === "conflict" ? new Conflict({ message: error.message }) : toUnavailable(error)
