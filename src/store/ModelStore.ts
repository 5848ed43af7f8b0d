import type { Effect } from "effect"
import { Context } from "effect"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ModelName } from "../domain/Ids.ts"
import type { StoreError } from "./StoreError.ts"

/** The rows of `models`: those that an admin set, and the mock's; the catalogue's are not stored. */
export class ModelStore extends Context.Service<ModelStore, {
  readonly all: Effect.Effect<ReadonlyArray<ModelCard>, StoreError>
  /** Inserts or replaces the row of that name. */
  readonly put: (card: ModelCard) => Effect.Effect<void, StoreError>
  readonly remove: (name: ModelName) => Effect.Effect<void, StoreError>
}>()("tokenhub/ModelStore") {}
