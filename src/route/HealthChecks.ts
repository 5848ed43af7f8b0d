/**
 * Asks providers whose models can't be called now for their list of models, in the background, where that was switched on: an
 * admin then sees whether a provider is back before the next request finds out.
 */
import { Clock, Context, Effect, Layer, Schedule } from "effect"
import { ProviderRegistry } from "../provider/ProviderRegistry.ts"
import { Settings } from "../Settings.ts"
import { HealthBoard } from "./HealthBoard.ts"
import { ModelRegistry } from "./ModelRegistry.ts"

export interface HealthCheck {
  /** Unix milliseconds. */
  readonly at: number
  readonly ok: boolean
  /** Why not, scrubbed. */
  readonly message?: string
}

/** Providers that are asked at once. */
const atOnce = 4

/** How long one check may take. */
const patience = "10 seconds"

export class HealthChecks extends Context.Service<HealthChecks, {
  /** What the last check of a provider found; undefined: it was not checked. */
  readonly last: (provider: string) => HealthCheck | undefined
}>()("tokenhub/HealthChecks") {
  static readonly layer: Layer.Layer<HealthChecks, never, Settings | ProviderRegistry | HealthBoard | ModelRegistry> = Layer.effect(
    HealthChecks,
    Effect.gen(function*() {
      const { healthCheckSeconds } = yield* Settings
      const providers = yield* ProviderRegistry
      const health = yield* HealthBoard
      const models = yield* ModelRegistry
      const found = new Map<string, HealthCheck>()

      const check = Effect.gen(function*() {
        yield* models.ready
        const troubled = (yield* providers.list).filter(({ card }) =>
          card.enabled && models.modelsOf(card.name).some((model) => health.of(model).circuit !== "closed"))
        yield* Effect.forEach(troubled, ({ card: { name } }) =>
          Effect.gen(function*() {
            const { message, valid } = yield* providers.validate(name)
            found.set(name, { at: yield* Clock.currentTimeMillis, ok: valid, ...(message === undefined ? {} : { message }) })
          }).pipe(
            Effect.timeoutOrElse({
              duration: patience,
              orElse: () => Effect.map(Clock.currentTimeMillis, (at) => void found.set(name, { at, ok: false, message: "No answer in time" }))
            }),
            Effect.catchTag("NotFound", () => Effect.sync(() => void found.delete(name)))
          ), { concurrency: atOnce, discard: true })
      })

      if (healthCheckSeconds > 0) {
        yield* Effect.forkScoped(Effect.delay(Effect.repeat(check, Schedule.spaced(healthCheckSeconds * 1000)), healthCheckSeconds * 1000))
      }
      return HealthChecks.of({ last: (provider) => found.get(provider) })
    })
  )
}
