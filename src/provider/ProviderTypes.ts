/** The kinds of provider that this TokenHub knows. */
import { Context, Effect, Layer } from "effect"
import type { ProviderType } from "./ProviderAdapter.ts"

/**
 * A table of provider types by name. The vendors' table fills it at start; a type from outside comes in with
 * `ProviderTypes.layerRegister(myType)`.
 */
export class ProviderTypes extends Context.Service<ProviderTypes, {
  readonly register: (type: ProviderType) => Effect.Effect<void>
  readonly get: (name: string) => ProviderType | undefined
  /** Sorted names. */
  readonly names: () => ReadonlyArray<string>
}>()("tokenhub/ProviderTypes") {
  static readonly layer = Layer.sync(ProviderTypes, () => {
    const types = new Map<string, ProviderType>()
    return ProviderTypes.of({
      register: (type) => Effect.sync(() => void types.set(type.name, type)),
      get: (name) => types.get(name),
      names: () => [...types.keys()].toSorted()
    })
  })

  /** Adds one type: the registration of an adapter. */
  static readonly layerRegister = (...added: ReadonlyArray<ProviderType>): Layer.Layer<never, never, ProviderTypes> =>
    Layer.effectDiscard(Effect.gen(function*() {
      const types = yield* ProviderTypes
      yield* Effect.forEach(added, types.register, { discard: true })
    }))
}
