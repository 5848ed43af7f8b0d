import { Effect, References } from "effect"

/**
 * The effect in a span of that name where spans are exported, else the effect itself. For what runs at every request:
 * `Effect.fn` with a name takes a stack trace at each call, whether anyone looks at it or not.
 */
export const spanned = (name: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => (fiber.getRef(References.TracerEnabled) ? Effect.withSpan(effect, name) : effect))
