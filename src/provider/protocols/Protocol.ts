/** What every protocol gives, and the adapter that it makes of an endpoint. */
import type { Redacted } from "effect"
import { Effect, Stream } from "effect"
import type { Completion } from "../../domain/Chat.ts"
import { ProviderError } from "../../domain/ProviderError.ts"
import type { ProviderAdapter, ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Endpoint, UpstreamRequest } from "../Upstream.ts"
import type { Feature } from "./Abilities.ts"
import { fitted } from "./Abilities.ts"

export interface Protocol {
  /** For messages. */
  readonly vendor: string
  readonly lacks: ReadonlyArray<Feature>
  readonly request: (call: ProviderCall, stream: boolean) => UpstreamRequest
  readonly answerIn: (call: ProviderCall, body: unknown) => Completion | ProviderError
  readonly reader: (call: ProviderCall) => () => StreamReader
  readonly models: (endpoint: Endpoint, apiKey: Redacted.Redacted | undefined) => Effect.Effect<ReadonlyArray<string>, ProviderError>
}

/** An adapter: a request that the vendor can't serve is refused before anything is sent. */
export const adapterOf = (endpoint: Endpoint, protocol: Protocol): ProviderAdapter => {
  const fit = (call: ProviderCall): ProviderCall | ProviderError => {
    const request = fitted(call.request, protocol.lacks, protocol.vendor)
    return request instanceof ProviderError ? request : { ...call, request }
  }
  return {
    complete: (given) =>
      Effect.suspend(() => {
        const call = fit(given)
        if (call instanceof ProviderError) return Effect.fail(call)
        return Effect.flatMap(endpoint.json(protocol.request(call, false)), (body) => {
          const completion = protocol.answerIn(call, body)
          return completion instanceof ProviderError ? Effect.fail(completion) : Effect.succeed(completion)
        })
      }),
    stream: (given) =>
      Stream.suspend(() => {
        const call = fit(given)
        return call instanceof ProviderError
          ? Stream.fail(call)
          : endpoint.events(protocol.request(call, true), protocol.reader(call))
      }),
    models: (apiKey) => protocol.models(endpoint, apiKey)
  }
}
