/** The models of this TokenHub: those that an admin set, and the catalogue's for providers that have a key. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ModelName } from "../domain/Ids.ts"
import type { Conflict, InvalidRequest, ModelNotFound, NotFound, StoreUnavailable } from "../domain/RequestError.ts"

export class ModelRegistry extends Context.Service<ModelRegistry, {
  /** Adds or replaces a model; its provider must exist. A name that is another model's alias, or the reverse, is a conflict. */
  readonly put: (card: ModelCard) => Effect.Effect<{ readonly replaced: boolean }, InvalidRequest | Conflict | StoreUnavailable>
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
  /** Whether models use the provider. */
  readonly modelsOf: (provider: string) => ReadonlyArray<ModelCard>
}>()("tokenhub/ModelRegistry") {}
