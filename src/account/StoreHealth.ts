/** Whether what is written now would be kept. */
import { Context, Effect, Layer } from "effect"
import { Database } from "../store/Database.ts"

export class StoreHealth extends Context.Service<StoreHealth, {
  readonly writable: Effect.Effect<boolean>
}>()("tokenhub/StoreHealth") {
  static readonly layer = Layer.effect(
    StoreHealth,
    Effect.map(Database, ({ writable }) => StoreHealth.of({ writable: Effect.map(writable, ({ ok }) => ok) }))
  )
}
