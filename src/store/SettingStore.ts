import type { Effect } from "effect"
import { Context } from "effect"
import type { StoreError } from "./StoreError.ts"

/** The rows of `settings`: facts that must outlive the process (`client_key_existed`, guess counters, token calibration, …). */
export class SettingStore extends Context.Service<SettingStore, {
  readonly get: (name: string) => Effect.Effect<string | undefined, StoreError>
  readonly set: (name: string, value: string) => Effect.Effect<void, StoreError>
  readonly remove: (name: string) => Effect.Effect<void, StoreError>
  /** Every row whose name starts with the prefix. */
  readonly withPrefix: (prefix: string) => Effect.Effect<ReadonlyMap<string, string>, StoreError>
}>()("tokenhub/SettingStore") {}
