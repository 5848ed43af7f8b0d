/** The models of this TokenHub: those that an admin set, and the catalogue's for providers that have a key. */
import { Context, Effect, FiberSet, Layer, Schema, Semaphore } from "effect"
import { isDeepStrictEqual } from "node:util"
import type { ModelCard } from "../domain/Catalog.ts"
import { ModelName } from "../domain/Ids.ts"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { changedMeanwhile, Conflict, InvalidRequest, ModelNotFound, NotFound } from "../domain/RequestError.ts"
import type { ProviderView } from "../provider/ProviderRegistry.ts"
import { ProviderRegistry } from "../provider/ProviderRegistry.ts"
import { ModelStore } from "../store/ModelStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import type { Catalogue, CatalogueEntry } from "./Catalogue.ts"
import { covers, loadCatalogue, mockModels, precedenceOf } from "./Catalogue.ts"
import { nearNames } from "./NearNames.ts"

/** What a client writes to leave the choice to the router. */
const routersChoice = "auto"

const isModelName = Schema.is(ModelName)
/** As `ModelName` has it; what is longer is not shown in full in an error. */
const longestName = 128

const refuse = (param: string, message: string) => Effect.fail(new InvalidRequest({ message, param }))

const unknownModel = (name: string) => new NotFound({ message: `There is no model '${name}'` })

/** An instance's entries: the catalogue's where it has a key, the mock's where TokenHub made it for want of any other. */
const entriesOf = ({ card, credential }: ProviderView, catalogue: Catalogue | undefined): ReadonlyArray<CatalogueEntry> => {
  if (card.source === "mock") return mockModels
  return credential === "none" ? [] : catalogue?.models(card.providerType) ?? []
}

/** The instance that is named like its type comes before others of the type, types in the catalogue's order. */
const byClaim = ({ card: a }: ProviderView, { card: b }: ProviderView): number =>
  precedenceOf(a.providerType) - precedenceOf(b.providerType)
  || Number(a.name !== a.providerType) - Number(b.name !== b.providerType)
  || (a.name < b.name ? -1 : 1)

/**
 * All models by name. An admin's names and aliases are never taken by others. A catalogue model has its plain name at the
 * instance that is named like its type, unless another has it, and else `<instance>/<name>`.
 */
const merge = (
  rows: ReadonlyArray<ModelCard>,
  providers: ReadonlyArray<ProviderView>,
  catalogue: Catalogue | undefined
): ReadonlyMap<string, ModelCard> => {
  const models = new Map<string, ModelCard>(rows.map((card) => [card.name, card]))
  const set = new Set<string>(models.keys())
  const taken = new Set<string>([routersChoice, ...set, ...rows.flatMap((card) => card.aliases)])
  for (const view of providers.toSorted(byClaim)) {
    const provider = view.card.name
    const isDefault = provider === view.card.providerType
    for (const entry of entriesOf(view, catalogue)) {
      if (isDefault && set.has(entry.upstreamName)) continue
      const name = isDefault && !taken.has(entry.upstreamName) ? entry.upstreamName : `${provider}/${entry.upstreamName}`
      if (taken.has(name) || !isModelName(name)) continue
      taken.add(name)
      models.set(name, { ...entry, name, provider, aliases: [], enabled: true })
    }
  }
  return withoutIdleMock(models)
}

/** The mock stands in only while nobody else can answer: next to a real model it would be taken for one. */
const withoutIdleMock = (models: ReadonlyMap<string, ModelCard>): ReadonlyMap<string, ModelCard> =>
  [...models.values()].some((card) => card.enabled && card.source !== "mock")
    ? new Map([...models].map(([name, card]) => [name, card.source === "mock" ? { ...card, enabled: false } : card]))
    : models

export class ModelRegistry extends Context.Service<ModelRegistry, {
  /**
   * Adds or replaces a model; its provider must exist. A name that is another model's alias, or the reverse, is a conflict, and so
   * is a model that is no longer `expected`.
   */
  readonly put: (card: ModelCard, expected?: ModelCard) => Effect.Effect<{ readonly replaced: boolean }, InvalidRequest | Conflict | StoreUnavailable>
  /** Removes an admin's model; a catalogue model of that name shows again. */
  readonly remove: (name: ModelName) => Effect.Effect<void, NotFound | StoreUnavailable>
  readonly get: (name: ModelName) => Effect.Effect<ModelCard, NotFound>
  /** All models, sorted by name. */
  readonly list: () => ReadonlyArray<ModelCard>
  /** A model by exact name or alias; else the error with near names. */
  readonly resolve: (nameOrAlias: string) => Effect.Effect<ModelCard, ModelNotFound>
  /** What the catalogue says of a model, for the defaults of an admin's entry. */
  readonly fromCatalogue: (providerType: string, upstreamName: string) => Pick<ModelCard, "contextSize" | "maxOutputTokens" | "price" | "capabilities"> | undefined
  /** Counts up with every change of models, providers or credentials: whoever keeps an index compares it. */
  readonly version: () => number
  /** The provider's models, sorted by name; those of the catalogue too. */
  readonly modelsOf: (provider: string) => ReadonlyArray<ModelCard>
  /** Waits until the last change of providers shows in the models: the catalogue is read when the first provider needs it. */
  readonly ready: Effect.Effect<void>
}>()("tokenhub/ModelRegistry") {
  static readonly layer: Layer.Layer<ModelRegistry, StoreError, ModelStore | ProviderRegistry> = Layer.effect(
    ModelRegistry,
    Effect.gen(function*() {
      const store = yield* ModelStore
      const providers = yield* ProviderRegistry
      const lock = yield* Semaphore.make(1)
      const changes = yield* FiberSet.make<void>()
      const run = yield* FiberSet.runtime(changes)<never>()

      let catalogue: Catalogue | undefined
      let rows: ReadonlyMap<string, ModelCard> = new Map()
      let views: ReadonlyArray<ProviderView> = []
      let models: ReadonlyMap<string, ModelCard> = new Map()
      let sorted: ReadonlyArray<ModelCard> = []
      /** Names and aliases. */
      let names: ReadonlyMap<string, ModelCard> = new Map()
      let version = 0

      const rebuild = () => {
        models = merge([...rows.values()], views, catalogue)
        sorted = [...models.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
        const aliases = sorted.flatMap((card) => card.aliases.map((alias) => [alias, card] as const))
        names = new Map<string, ModelCard>([...aliases, ...models])
        version++
      }

      const reload = Effect.gen(function*() {
        views = yield* providers.list
        if (catalogue === undefined && views.some(({ card }) => covers(card.providerType))) catalogue = yield* loadCatalogue
        rows = new Map((yield* store.all).map((card) => [card.name, card]))
        rebuild()
      }).pipe(lock.withPermits(1))

      yield* reload
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          providers.onChange(() => {
            run(Effect.catch(reload, (error) => Effect.logWarning("The models could not be read again", error)))
          })
        ),
        (stop) => Effect.sync(stop)
      )

      const isChanging = () => changes.state._tag === "Open" && changes.state.backing.size > 0
      const ready = Effect.suspend(() => (isChanging() ? FiberSet.awaitEmpty(changes) : Effect.void))

      const named = (nameOrAlias: string): Effect.Effect<ModelCard, ModelNotFound> => {
        const card = names.get(nameOrAlias)
        return card === undefined
          ? Effect.fail(new ModelNotFound({ model: nameOrAlias.slice(0, longestName), near: near(nameOrAlias) }))
          : Effect.succeed(card)
      }

      const near = (wanted: string) => wanted.length > longestName ? [] : nearNames(wanted, names.keys())

      const check = (card: ModelCard): Effect.Effect<void, InvalidRequest | Conflict> => {
        if (card.name === routersChoice) {
          return refuse("name", "'auto' means the router's choice and can't name a model")
        }
        if (card.aliases.some((alias) => alias === routersChoice || alias === card.name)) {
          return refuse("aliases", "An alias can be neither 'auto' nor the model's own name")
        }
        if (!views.some((view) => view.card.name === card.provider)) {
          return refuse("provider", `There is no provider '${card.provider}'`)
        }
        for (const other of rows.values()) {
          if (other.name === card.name) continue
          if (other.aliases.includes(card.name)) {
            return Effect.fail(new Conflict({ message: `name: '${card.name}' is an alias of the model '${other.name}'`, param: "name" }))
          }
          const alias = card.aliases.find((name) => name === other.name || other.aliases.includes(name))
          if (alias !== undefined) {
            const owner = alias === other.name ? "a model" : `an alias of the model '${other.name}'`
            return Effect.fail(new Conflict({ message: `aliases: '${alias}' is ${owner}`, param: "aliases" }))
          }
        }
        return Effect.void
      }

      return ModelRegistry.of({
        put: Effect.fn("ModelRegistry.put")(function*(card: ModelCard, expected?: ModelCard) {
          yield* ready
          return yield* Effect.gen(function*() {
            if (expected !== undefined && !isDeepStrictEqual(models.get(card.name), expected)) return yield* changedMeanwhile(`The model '${card.name}'`)
            const stored = { ...card, aliases: [...new Set(card.aliases)] }
            yield* check(stored)
            const replaced = rows.has(card.name)
            yield* store.put(stored).pipe(Effect.mapError(toStoreUnavailable))
            rows = new Map(rows).set(card.name, stored)
            rebuild()
            return { replaced }
          }).pipe(lock.withPermits(1))
        }),
        remove: Effect.fn("ModelRegistry.remove")(function*(name: ModelName) {
          yield* ready
          return yield* Effect.gen(function*() {
            if (!rows.has(name)) {
              const message = `'${name}' comes from the catalogue; set it with "enabled": false to switch it off`
              return yield* models.has(name) ? new NotFound({ message }) : unknownModel(name)
            }
            yield* store.remove(name).pipe(Effect.mapError(toStoreUnavailable))
            rows = new Map([...rows].filter(([key]) => key !== name))
            rebuild()
          }).pipe(lock.withPermits(1))
        }),
        get: (name) =>
          Effect.flatMap(ready, () => {
            const card = models.get(name)
            return card === undefined ? Effect.fail(unknownModel(name)) : Effect.succeed(card)
          }),
        list: () => sorted,
        resolve: (nameOrAlias) => (isChanging() ? Effect.flatMap(ready, () => named(nameOrAlias)) : named(nameOrAlias)),
        fromCatalogue: (providerType, upstreamName) => catalogue?.describe(providerType, upstreamName),
        version: () => version,
        modelsOf: (provider) => sorted.filter((card) => card.provider === provider),
        ready
      })
    })
  )
}
