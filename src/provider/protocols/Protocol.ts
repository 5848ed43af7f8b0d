/** What every protocol gives, and the adapter that it makes of an endpoint. */
import type { Redacted } from "effect"
import { Effect } from "effect"
import type { Completion } from "../../domain/Chat.ts"
import { ProviderError } from "../../domain/ProviderError.ts"
import type { ProviderAdapter, ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Endpoint, UpstreamRequest } from "../Upstream.ts"
import type { Feature } from "./Abilities.ts"
import { fitted } from "./Abilities.ts"
import type { Json } from "./Json.ts"

export interface Protocol {
  /** Also the name of the client protocol whose own JSON this one takes (`ChatRequest.native`). */
  readonly name: string
  /** For messages. */
  readonly vendor: string
  readonly lacks: ReadonlyArray<Feature>
  /**
   * What the called model lacks beside that. It is asked only where the client can do without: models change faster than
   * TokenHub, and the vendor's own refusal names the field too.
   */
  readonly lacksAt?: (call: ProviderCall) => ReadonlyArray<Feature>
  /** The field of the canonical form (in the words of chat completions) that the vendor's own field stands for. */
  readonly fieldOf?: (param: string) => string
  /** `native`: what is sent in place of the canonical form. */
  readonly request: (call: ProviderCall, stream: boolean, native: Json | undefined) => UpstreamRequest
  /**
   * The client's own JSON with this vendor's limits; model and stream switch are seen to. undefined: the vendor departs from the
   * protocol in something that the request has, so that the canonical form must go. Absent: no client speaks this protocol.
   */
  readonly rewrite?: (call: ProviderCall, body: Json, stream: boolean) => Json | undefined
  readonly answerIn: (call: ProviderCall, body: unknown) => Completion | ProviderError
  readonly reader: (call: ProviderCall) => () => StreamReader
  readonly models: (endpoint: Endpoint, apiKey: Redacted.Redacted | undefined) => Effect.Effect<ReadonlyArray<string>, ProviderError>
}

/** The same error of another field. */
const withParam = ({ code, fault, message, retryAfterMs, sent, status, upstreamRequestId }: ProviderError, param: string): ProviderError =>
  new ProviderError({
    fault,
    message,
    sent,
    param,
    ...(status === undefined ? {} : { status }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(code === undefined ? {} : { code }),
    ...(upstreamRequestId === undefined ? {} : { upstreamRequestId })
  })

/** A call as it goes out. */
interface Outgoing {
  readonly call: ProviderCall
  readonly request: UpstreamRequest
  /** The client's own JSON is sent, and its own answer wanted back. */
  readonly native: boolean
}

/** An adapter: a request that the vendor can't serve is refused before anything is sent. */
export const adapterOf = (endpoint: Endpoint, protocol: Protocol): ProviderAdapter => {
  const fit = (call: ProviderCall, request: ProviderCall["request"]) => {
    const more = request.dropUnsupported === true ? protocol.lacksAt?.(call) ?? [] : []
    return fitted(request, more.length === 0 ? protocol.lacks : [...protocol.lacks, ...more], protocol.vendor, protocol.name)
  }

  const requestOf = (call: ProviderCall, stream: boolean, native: Json | undefined): UpstreamRequest => ({
    ...protocol.request(call, stream, native),
    source: call.request.source
  })

  /** The client's own JSON for a vendor that can serve all of it. */
  const nativeOf = (call: ProviderCall, stream: boolean): Outgoing | ProviderError | undefined => {
    const { native, unraised: _, ...request } = call.request
    if (native?.protocol !== protocol.name || protocol.rewrite === undefined) return undefined
    const fitting = fit(call, request)
    if (fitting instanceof ProviderError) return fitting
    const body = fitting === request ? protocol.rewrite(call, native.body, stream) : undefined
    if (body === undefined) return undefined
    const own: Json = { ...body, model: call.upstreamModel, ...(stream ? { stream } : {}) }
    return { call, request: requestOf(call, stream, own), native: true }
  }

  const outgoing = (call: ProviderCall, stream: boolean): Outgoing | ProviderError => {
    const native = nativeOf(call, stream)
    if (native !== undefined) return native
    const request = fit(call, call.request)
    if (request instanceof ProviderError) return request
    const fitting = { ...call, request }
    return { call: fitting, request: requestOf(fitting, stream, undefined), native: false }
  }

  /** A client that wrote another protocol reads a field by a name of its own. */
  const named = (error: ProviderError): ProviderError =>
    error.param === undefined || protocol.fieldOf === undefined ? error : withParam(error, protocol.fieldOf(error.param))

  return {
    complete: (given) =>
      Effect.suspend(() => {
        const out = outgoing(given, false)
        if (out instanceof ProviderError) return Effect.fail(out)
        const answer = Effect.flatMap(endpoint.whole(out.request), ({ bytes, value }) => {
          const completion = protocol.answerIn(out.call, value)
          if (completion instanceof ProviderError) return Effect.fail(completion)
          return Effect.succeed(out.native ? { ...completion, native: { protocol: protocol.name, body: bytes } } : completion)
        })
        return out.native ? answer : Effect.mapError(answer, named)
      }),
    stream: (given, receive) =>
      Effect.suspend(() => {
        const out = outgoing(given, true)
        if (out instanceof ProviderError) return Effect.fail(out)
        const events = endpoint.events(out.request, protocol.reader(out.call), receive, out.native ? protocol.name : undefined)
        return out.native ? events : Effect.mapError(events, named)
      }),
    models: (apiKey) => protocol.models(endpoint, apiKey)
  }
}
