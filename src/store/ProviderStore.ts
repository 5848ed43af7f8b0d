import type { Effect } from "effect"
import { Context } from "effect"
import type { ProviderCard } from "../domain/Catalog.ts"
import type { ProviderName } from "../domain/Ids.ts"
import type { StoreError } from "./StoreError.ts"

/** The rows of `providers`. */
export class ProviderStore extends Context.Service<ProviderStore, {
  readonly all: Effect.Effect<ReadonlyArray<ProviderCard>, StoreError>
  /** Inserts or replaces the row of that name. */
  readonly put: (card: ProviderCard) => Effect.Effect<void, StoreError>
  /** Removes the row and, if asked, the models that use it, in one transaction. */
  readonly remove: (name: ProviderName, options: { readonly cascade: boolean }) => Effect.Effect<void, StoreError>
}>()("tokenhub/ProviderStore") {}
