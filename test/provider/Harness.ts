/** Adapters of real provider types in front of the fake provider, over real sockets, with short limits. */
import { Context, Effect, Layer, Redacted } from "effect"
import type { ProviderCard } from "../../src/domain/Catalog.ts"
import type { ChatRequest, Completion, Delta, StreamEvent } from "../../src/domain/Chat.ts"
import type { ProviderError } from "../../src/domain/ProviderError.ts"
import type { ProviderAdapter, ProviderCall } from "../../src/provider/ProviderAdapter.ts"
import { ProviderTypes } from "../../src/provider/ProviderTypes.ts"
import { Upstream } from "../../src/provider/Upstream.ts"
import * as Vendors from "../../src/provider/Vendors.ts"
import { Settings } from "../../src/Settings.ts"
import { ask, providerCard } from "../support/Doubles.ts"
import type { FakeProvider } from "../support/FakeProvider.ts"
import * as FakeProviders from "../support/FakeProvider.ts"

export class Fake extends Context.Service<Fake, FakeProvider>()("test/Fake") {
  static readonly layer = Layer.effect(Fake, FakeProviders.scoped())
}

export const environment = {
  TOKENHUB_ALLOW_PRIVATE_UPSTREAMS: "true",
  TOKENHUB_UPSTREAM_BODY_BYTES: "4000000"
}

/** For calls whose point is a time-out. */
export const quick = { connectMs: 150, firstByteMs: 300, streamIdleMs: 150, wholeCallMs: 600 }

/** The vendors' table on a real Upstream. */
export const upstreams = (settings: { readonly [name: string]: string } = environment) =>
  Vendors.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(ProviderTypes.layer, Upstream.layer)),
    Layer.provideMerge(Settings.layerTest(settings))
  )

export const layer = Layer.mergeAll(Fake.layer, upstreams())

export const adapterFor = Effect.fn(function*(providerType: string, baseUrl: string | null, given: Partial<ProviderCard> = {}) {
  const types = yield* ProviderTypes
  const type = types.get(providerType)
  if (type === undefined) return yield* Effect.die(`no type ${providerType}`)
  return yield* type.make(providerCard(providerType, { providerType, baseUrl, ...given }))
})

export type FakeVendor = "openai" | "anthropic" | "gemini"
export const fakeVendors: ReadonlyArray<FakeVendor> = ["openai", "anthropic", "gemini"]

/** An adapter of the vendor's own type in front of the fake provider. */
export const fakeAdapter = (vendor: FakeVendor, given: Partial<ProviderCard> = {}) =>
  Effect.flatMap(Fake, (fake) => adapterFor(vendor, fake.url(vendor), given))

export const key = "sk-test-0123456789abcdef"

export const callOf = (upstreamModel: string, request: ChatRequest | string = "Say hello", given: Partial<ProviderCall> = {}): ProviderCall => ({
  upstreamModel,
  request: typeof request === "string" ? ask(request) : request,
  apiKey: Redacted.make(key),
  estimatedPromptTokens: 77,
  maxOutputTokens: 1024,
  ...given
})

/** All that a stream hands on. */
export const eventsOf = (adapter: ProviderAdapter, call: ProviderCall): Effect.Effect<ReadonlyArray<StreamEvent>, ProviderError> =>
  Effect.suspend(() => {
    const events: Array<StreamEvent> = []
    return Effect.as(adapter.stream(call, (event) => Effect.sync(() => void events.push(event))), events)
  })

/** A stream's deltas and its completion; fails as the stream does, and dies where it ends without `end`. */
export const collect = (adapter: ProviderAdapter, call: ProviderCall): Effect.Effect<{ deltas: ReadonlyArray<Delta>; completion: Completion }, ProviderError> =>
  Effect.flatMap(eventsOf(adapter, call), (events) => {
    const deltas = events.filter((event) => event.type !== "end" && event.type !== "frame")
    const ends = events.filter((event) => event.type === "end")
    const [end] = ends
    return end === undefined || ends.length > 1 || events.at(-1) !== end
      ? Effect.die(`a stream of ${events.length} events with ${ends.length} ends`)
      : Effect.succeed({ deltas, completion: end.completion })
  })

export const run = (adapter: ProviderAdapter, call: ProviderCall, stream: boolean): Effect.Effect<Completion, ProviderError> =>
  stream ? Effect.map(collect(adapter, call), ({ completion }) => completion) : adapter.complete(call)
