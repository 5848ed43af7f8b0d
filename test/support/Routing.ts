/** A provider registry in memory whose instances and keys a test changes, a store of models, and layers of the routing services. */
import { Effect, Layer } from "effect"
import type { CredentialState, ModelCard, ProviderCard } from "../../src/domain/Catalog.ts"
import { ProviderRegistry } from "../../src/provider/ProviderRegistry.ts"
import { HealthBoard } from "../../src/route/HealthBoard.ts"
import { ModelRegistry } from "../../src/route/ModelRegistry.ts"
import { Router } from "../../src/route/Router.ts"
import { Settings } from "../../src/Settings.ts"
import { ModelStore } from "../../src/store/ModelStore.ts"
import { unavailable } from "./MemoryStores.ts"
import type { Faulty, MemorySettings } from "./MemoryStores.ts"

interface Instance {
  readonly card: ProviderCard
  readonly credential: CredentialState
}

/** Instances by name; `set` and `remove` tell the listeners. Providers of type `ollama` and `mock` need no key. */
export const memoryProviders = (...given: ReadonlyArray<Instance>) => {
  const instances = new Map<string, Instance>(given.map((instance) => [instance.card.name, instance]))
  const listeners = new Set<() => void>()
  const tell = () => {
    for (const listener of listeners) listener()
  }
  return {
    set: (instance: Instance) => {
      instances.set(instance.card.name, instance)
      tell()
    },
    remove: (name: string) => {
      instances.delete(name)
      tell()
    },
    layer: Layer.mock(ProviderRegistry, {
      list: Effect.sync(() => [...instances.values()].toSorted((a, b) => (a.card.name < b.card.name ? -1 : 1))),
      credential: (name) => instances.get(name)?.credential,
      isEnabled: (name) => instances.get(name)?.card.enabled === true,
      needsKey: (name) => !["ollama", "mock"].includes(instances.get(name)?.card.providerType ?? ""),
      onChange: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      }
    })
  }
}

export const memoryModels = (...given: ReadonlyArray<ModelCard>) => {
  const rows = new Map(given.map((card) => [card.name, card]))
  const faulty: Faulty = { fault: undefined }
  const guard = <A>(run: () => A) => Effect.suspend(() => faulty.fault === undefined ? Effect.sync(run) : Effect.fail(unavailable))
  return {
    rows,
    faulty,
    layer: Layer.mock(ModelStore, {
      all: guard(() => [...rows.values()]),
      put: (card) => guard(() => void rows.set(card.name, card)),
      remove: (name) => guard(() => void rows.delete(name))
    })
  }
}

export const registryOf = (providers: ReturnType<typeof memoryProviders>, models: ReturnType<typeof memoryModels>) =>
  ModelRegistry.layer.pipe(Layer.provide(models.layer), Layer.provideMerge(providers.layer))

/** The whole router over the doubles. The circuit opens after 2 failures, for 30 s. */
export const routerOf = (
  providers: ReturnType<typeof memoryProviders>,
  models: ReturnType<typeof memoryModels>,
  settings: MemorySettings
) =>
  Router.layer.pipe(
    Layer.provideMerge(registryOf(providers, models)),
    Layer.provideMerge(HealthBoard.layer),
    Layer.provide(settings.layer),
    Layer.provide(Settings.layerTest({ TOKENHUB_BREAKER_FAILURES: "2" }))
  )
