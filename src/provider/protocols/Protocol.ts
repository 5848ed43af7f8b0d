/** What every protocol gives, and the adapter that it makes of an endpoint. */
import type { Redacted } from "effect"
import { Effect, Stream } from "effect"
import type { Completion } from "../../domain/Chat.ts"
import { ProviderError } from "../../domain/ProviderError.ts"
import type { ProviderAdapter, ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Endpoint, UpstreamRequest } from "../Upstream.ts"
import type { Feature } from "./Abilities.ts"
import { refusal } from "./Abilities.ts"

export interface Protocol {
  /** For messages. */
  readonly vendor: string
  readonly lacks: ReadonlyArray<Feature>
  readonly request: (call: ProviderCall, stream: boolean) => UpstreamRequest
  readonly answerIn: (call: ProviderCall, body: unknown) => Completion | ProviderError
  readonly reader: (call: ProviderCall) => () => StreamReader
  readonly models: (endpoint: Endpoint, apiKey: Redacted.Redacted | undefined) => Effect.Effect<ReadonlyArray<string>, ProviderError>
}

/** An adapter: requests that the vendor can't serve are refused before anything is sent. */
export const adapterOf = (endpoint: Endpoint, protocol: Protocol): ProviderAdapter => ({
  complete: (call) =>
    Effect.suspend(() => {
      const refused = refusal(call.request, protocol.lacks, protocol.vendor)
      if (refused !== undefined) return Effect.fail(refused)
      return Effect.flatMap(endpoint.json(protocol.request(call, false)), (body) => {
        const completion = protocol.answerIn(call, body)
        return completion instanceof ProviderError ? Effect.fail(completion) : Effect.succeed(completion)
      })
    }),
  stream: (call) =>
    Stream.suspend(() => {
      const refused = refusal(call.request, protocol.lacks, protocol.vendor)
      return refused === undefined
        ? endpoint.events(protocol.request(call, true), protocol.reader(call))
        : Stream.fail(refused)
    }),
  models: (apiKey) => protocol.models(endpoint, apiKey)
})
