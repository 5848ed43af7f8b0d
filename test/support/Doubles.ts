/** Test doubles: cards, completions, and services that remember what they were asked. */
import { Effect, Layer, Redacted } from "effect"
import type { StoreUnavailable } from "../../src/domain/RequestError.ts"
import type { Attempt } from "../../src/domain/Attempt.ts"
import { Admission } from "../../src/account/Admission.ts"
import type { RequestRow } from "../../src/account/Ledger.ts"
import { Ledger } from "../../src/account/Ledger.ts"
import type { ModelCard, ProviderCard } from "../../src/domain/Catalog.ts"
import type { ChatRequest, Completion, Delta, Frame } from "../../src/domain/Chat.ts"
import { text } from "../../src/domain/Chat.ts"
import { ModelName, ProviderName } from "../../src/domain/Ids.ts"
import type { Fault } from "../../src/domain/ProviderError.ts"
import { ProviderError } from "../../src/domain/ProviderError.ts"
import type { Usage } from "../../src/domain/Usage.ts"
import { zero } from "../../src/domain/Usage.ts"
import type { ProviderCall, Receive } from "../../src/provider/ProviderAdapter.ts"
import { ProviderRegistry } from "../../src/provider/ProviderRegistry.ts"

/** A model at provider `p` unless told otherwise: context 8,192, weight 100, 1 $ per million tokens in and 2 $ out. */
export const modelCard = (name: string, given: Partial<Omit<ModelCard, "name" | "provider">> & { readonly provider?: string } = {}): ModelCard => ({
  upstreamName: name,
  contextSize: 8192,
  maxOutputTokens: 1024,
  weight: 100,
  price: { input: 1_000_000_000n, output: 2_000_000_000n },
  capabilities: new Set(["tools", "vision", "json_schema", "streaming", "reasoning"] as const),
  aliases: [],
  enabled: true,
  source: "admin",
  ...given,
  name: ModelName.make(name),
  provider: ProviderName.make(given.provider ?? "p")
})

export const providerCard = (name: string, given: Partial<Omit<ProviderCard, "name">> = {}): ProviderCard => ({
  providerType: "mock",
  baseUrl: null,
  apiKeyEnv: null,
  timeouts: {},
  maxConcurrency: null,
  allowPrivate: false,
  enabled: true,
  source: "admin",
  ...given,
  name: ProviderName.make(name)
})

export const ask = (question: string): ChatRequest => ({ messages: [{ role: "user", content: [text(question)] }] })

export const usageOf = (promptTokens: number, completionTokens: number): Usage => ({ ...zero, promptTokens, completionTokens })

export const completion = (answer: string, usage: Usage = usageOf(10, 5)): Completion => ({
  content: [text(answer)],
  finishReason: "stop",
  upstreamModel: "upstream",
  usage
})

export const fault = (name: Fault, given: Partial<ProviderError> = {}): ProviderError =>
  new ProviderError({ fault: name, message: `the provider said ${name}`, sent: true, ...given })

/** What a scripted upstream does with one call. */
export type Reply = Completion | ProviderError | {
  readonly deltas: ReadonlyArray<Delta | Frame>
  readonly last: Completion | ProviderError | "hang"
  /** Milliseconds before the last. */
  readonly lateMs?: number
}

const isError = (reply: unknown): reply is ProviderError => reply instanceof ProviderError

/** Upstreams by model name; each call takes the next reply of its model's list. `calls` remembers what was asked. */
export const scriptedProviders = (script: { readonly [upstreamModel: string]: ReadonlyArray<Reply> }) => {
  const calls: Array<ProviderCall> = []
  const rest = new Map(Object.entries(script).map(([name, replies]) => [name, [...replies]]))
  const next = (call: ProviderCall): Reply => {
    calls.push(call)
    const reply = rest.get(call.upstreamModel)?.shift()
    if (reply === undefined) throw new Error(`no reply is left for ${call.upstreamModel}`)
    return reply
  }
  const adapter = {
    complete: (call: ProviderCall) =>
      Effect.suspend(() => {
        const reply = next(call)
        const { last, lateMs = 0 } = "deltas" in reply ? reply : { last: reply }
        const answer = last === "hang" ? Effect.never : isError(last) ? Effect.fail(last) : Effect.succeed(last)
        return lateMs === 0 ? answer : Effect.delay(answer, lateMs)
      }),
    stream: (call: ProviderCall, receive: Receive) =>
      Effect.suspend(() => {
        const reply = next(call)
        const { deltas, last, lateMs = 0 } = "deltas" in reply ? reply : { deltas: [], last: reply }
        const end = last === "hang" ? Effect.never : isError(last) ? Effect.fail(last) : receive({ type: "end", completion: last })
        return Effect.andThen(Effect.forEach(deltas, receive, { discard: true }), lateMs === 0 ? end : Effect.delay(end, lateMs))
      }),
    models: () => Effect.succeed([])
  }
  const layer = Layer.mock(ProviderRegistry, {
    ready: (name) => Effect.succeed({ card: providerCard(name), adapter, apiKey: Redacted.make("secret") }),
    credential: () => "vault",
    isEnabled: () => true,
    needsKey: () => true,
    onChange: () => () => {}
  })
  return { calls, layer }
}

/** Lets everyone do everything. */
export const openAdmission = Layer.mock(Admission, {
  rules: () => ({ allows: () => true, priced: false, waitMs: () => 0 }),
  call: () => Effect.succeed({ settle: () => Effect.void, leave: Effect.void })
})

/** A ledger in memory; `settled` holds each request's last row. */
export const memoryLedger = () => {
  const opened: Array<RequestRow> = []
  const settled: Array<RequestRow> = []
  const openedAttempts: Array<Attempt> = []
  const settledAttempts: Array<Attempt> = []
  const faults: Array<StoreUnavailable> = []
  const layer = Layer.mock(Ledger, {
    open: (request, attempt) =>
      Effect.suspend(() => {
        const fault = faults.shift()
        if (fault !== undefined) return Effect.fail(fault)
        if (!opened.includes(request)) opened.push(request)
        openedAttempts.push(attempt)
        return Effect.void
      }),
    settleAttempt: (_, attempt) => Effect.sync(() => void settledAttempts.push(attempt)),
    settle: (row) => Effect.sync(() => void settled.push(row)),
    pending: () => 0,
    onSettle: () => () => {}
  })
  return { opened, settled, openedAttempts, settledAttempts, faults, layer }
}
