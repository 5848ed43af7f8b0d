/**
 * Every metric of TokenHub, and the functions that update them. Times are seconds. A series is made once per set of labels
 * and kept; label values come from registered names and closed lists, and what is one too many counts as `other`.
 */
import type { Context, Scope } from "effect"
import { Effect, Metric } from "effect"
import type { Outcome } from "../domain/Attempt.ts"
import type { NanoDollars } from "../domain/Money.ts"
import type { Fault } from "../domain/ProviderError.ts"
import type { Usage } from "../domain/Usage.ts"

const other = "other"

/** Lets the first `limit` values pass and names every later one `other`, so that no caller can make series without end. */
const bounded = (limit: number) => {
  const known = new Set<string>()
  return (value: string): string => {
    if (known.has(value)) return value
    if (known.size >= limit) return other
    known.add(value)
    return value
  }
}

const modelLabel = bounded(1000)
const providerLabel = bounded(200)
const endpointLabel = bounded(200)
const budgetLabel = bounded(200)

type Labels = { readonly [label: string]: string }

type LabelNames = readonly [string] | readonly [string, string]

/**
 * Metrics of one name by the values of their labels, two at most; building one costs ten times what finding it does, and so does a
 * text that is made of the values.
 */
const family = <L extends LabelNames, M>(labels: L, make: (attributes: Labels) => M) => {
  const series = new Map<string, Map<string, M>>()
  return (...[first, second = ""]: { readonly [K in keyof L]: string }): M => {
    const found = series.get(first)?.get(second)
    if (found !== undefined) return found
    const metric = make(Object.fromEntries(labels.map((label, i) => [label, i === 0 ? first : second])))
    series.set(first, new Map([...series.get(first) ?? [], [second, metric]]))
    return metric
  }
}

const counters = <const L extends LabelNames>(name: string, description: string, labels: L) =>
  family(labels, (attributes) => Metric.counter(name, { description, attributes, incremental: true }))

const histograms = <const L extends LabelNames>(
  name: string,
  description: string,
  labels: L,
  boundaries: ReadonlyArray<number>
) => family(labels, (attributes) => Metric.histogram(name, { description, attributes, boundaries }))

const latencies = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]

const requests = counters("tokenhub_requests_total", "Requests by endpoint and HTTP status", ["endpoint", "status"])
const requestDuration = histograms("tokenhub_request_duration_seconds", "Time from a request's arrival to the end of its answer", ["endpoint"], latencies)
const tokens = counters("tokenhub_tokens_used_total", "Tokens by model; the kinds (prompt: uncached, cached, completion) are disjoint", ["model", "kind"])
const calls = counters("tokenhub_model_calls_total", "Upstream calls by model and outcome", ["model", "status"])
const cost = counters("tokenhub_cost_usd_total", "Dollars spent; the exact sum is on the ledger", ["model", "provider"])
const upstreamDuration = histograms("tokenhub_upstream_duration_seconds", "Duration of upstream calls", ["model", "provider"], latencies)
const firstToken = histograms("tokenhub_time_to_first_token_seconds", "Time to the first token of streamed upstream calls", ["model", "provider"], latencies)
const escalations = counters("tokenhub_escalations_total", "Escalations to another model, by the model that failed and why", ["model", "reason"])
const retries = counters("tokenhub_retries_total", "Retries of the same model, by why", ["model", "reason"])
const hedges = counters("tokenhub_hedges_total", "Second calls beside a call that brought no token for long, by the model of the first", ["model"])
const authFailures = counters("tokenhub_auth_failures_total", "Refused credentials", ["scope", "reason"])
const budgetAlerts = counters("tokenhub_budget_alerts_total", "Budgets of which so many percent were gone, by owner: a client key's id, or all", ["key", "percent"])
const limited = counters("tokenhub_rate_limited_total", "Refusals by a limit a minute, by whose limit and of what", ["of", "unit"])
const refused = counters("tokenhub_shed_total", "Requests refused because TokenHub itself has no room, by why", ["reason"])
const budgets = family(["key"], (attributes) =>
  Metric.gauge("tokenhub_budget_used_ratio", { description: "Spent part of a budget in its period, by owner: a client key's id, or all", attributes }))
const circuits = family(["model", "provider"], (attributes) =>
  Metric.gauge("tokenhub_circuit_state", { description: "Circuit breaker: 0 closed, 1 half open, 2 open", attributes }))

const inFlightGauge = Metric.gauge("tokenhub_in_flight", { description: "Requests being served" })
const pendingGauge = Metric.gauge("tokenhub_ledger_pending", { description: "Ledger writes that wait for their commit" })
const lagGauge = Metric.gauge("tokenhub_event_loop_lag_seconds", { description: "How late the event loop is, averaged over about a second" })
const heapGauge = Metric.gauge("tokenhub_heap_used_ratio", { description: "Part of the heap's limit that is in use" })
const unlockedGauge = Metric.gauge("tokenhub_vault_unlocked", { description: "1 while the vault is unlocked" })
const generationGauge = Metric.gauge("tokenhub_vault_generation", { description: "Changes of the vault so far" })

type Update = (context: Context.Context<never>) => void

/** Updates several series in one step of the fiber. */
const updating = (update: Update): Effect.Effect<void> => Effect.withFiberSucceed((fiber) => update(fiber.context))

/** The same in a registry that is known already, and without a step: done when called. */
const updatingIn = (context: Context.Context<never> | undefined, update: Update): Effect.Effect<void> => {
  if (context === undefined) return updating(update)
  update(context)
  return Effect.void
}

/**
 * A request was answered. `endpoint` is the matched route's template, undefined where none matched; 499: the client left.
 * `context`: where the registry is; done when called then.
 */
export const requestFinished = (request: {
  readonly endpoint: string | undefined
  readonly status: number
  readonly seconds: number
}, context?: Context.Context<never>): Effect.Effect<void> =>
  updatingIn(context, (context) => {
    const endpoint = request.endpoint === undefined ? other : endpointLabel(request.endpoint)
    requests(endpoint, String(request.status)).updateUnsafe(1, context)
    requestDuration(endpoint).updateUnsafe(request.seconds, context)
  })

/** An upstream call ended. `model` and `provider` are names of the registry. `context`: likewise. */
export const modelCalled = (call: {
  readonly model: string
  readonly provider: string
  readonly outcome: Outcome
  readonly seconds: number
  readonly timeToFirstTokenSeconds?: number | undefined
  readonly usage: Usage
  readonly cost: NanoDollars
}, context?: Context.Context<never>): Effect.Effect<void> =>
  updatingIn(context, (context) => {
    const model = modelLabel(call.model)
    const provider = providerLabel(call.provider)
    const { cachedTokens, completionTokens, promptTokens } = call.usage
    calls(model, call.outcome).updateUnsafe(1, context)
    upstreamDuration(model, provider).updateUnsafe(call.seconds, context)
    if (call.timeToFirstTokenSeconds !== undefined) firstToken(model, provider).updateUnsafe(call.timeToFirstTokenSeconds, context)
    tokens(model, "prompt").updateUnsafe(promptTokens - cachedTokens, context)
    if (cachedTokens > 0) tokens(model, "cached").updateUnsafe(cachedTokens, context)
    tokens(model, "completion").updateUnsafe(completionTokens, context)
    cost(model, provider).updateUnsafe(Number(call.cost) / 1e9, context)
  })

/** A run went on from a model that failed to another. */
export const escalated = (move: { readonly from: string; readonly to: string; readonly fault: Fault }): Effect.Effect<void> =>
  updating((context) => escalations(modelLabel(move.from), move.fault).updateUnsafe(1, context))

/** A call was made again to the same model. */
export const retried = (retry: { readonly model: string; readonly fault: Fault }): Effect.Effect<void> =>
  updating((context) => retries(modelLabel(retry.model), retry.fault).updateUnsafe(1, context))

/** A second call left beside one that brought no token for long; `model` is the first one's. */
export const hedged = ({ model }: { readonly model: string }): Effect.Effect<void> =>
  updating((context) => hedges(modelLabel(model)).updateUnsafe(1, context))

const circuitLevel = { closed: 0, half_open: 1, open: 2 }

/** A model's circuit changed its state. */
export const circuit = (change: {
  readonly model: string
  readonly provider: string
  readonly state: keyof typeof circuitLevel
}): Effect.Effect<void> =>
  updating((context) =>
    circuits(modelLabel(change.model), providerLabel(change.provider)).updateUnsafe(circuitLevel[change.state], context))

/** A budget's spending changed; `owner` is a client key's id, or `all`. `context`: likewise. */
export const budgetUsed = (budget: { readonly owner: string; readonly ratio: number }, context?: Context.Context<never>): Effect.Effect<void> =>
  updatingIn(context, (context) => budgets(budgetLabel(budget.owner)).updateUnsafe(budget.ratio, context))

/** So much of a budget is gone. */
export const budgetAlert = (alert: { readonly owner: string; readonly percent: number }): Effect.Effect<void> =>
  updating((context) => budgetAlerts(budgetLabel(alert.owner), String(alert.percent)).updateUnsafe(1, context))

/** A limit a minute let a request or a call not pass. */
export const rateLimited = (limit: { readonly of: "key" | "model" | "all"; readonly unit: "requests" | "tokens" }): Effect.Effect<void> =>
  updating((context) => limited(limit.of, limit.unit).updateUnsafe(1, context))

/** A credential was refused: `missing`, `wrong`, or not even looked at because the address is `throttled`. */
export const authFailure = (failure: {
  readonly scope: "client" | "admin" | "metrics"
  readonly reason: "missing" | "wrong" | "throttled"
}): Effect.Effect<void> =>
  updating((context) => authFailures(failure.scope, failure.reason).updateUnsafe(1, context))

export const vaultUnlocked = (unlocked: boolean): Effect.Effect<void> => Metric.update(unlockedGauge, unlocked ? 1 : 0)

export const vaultGeneration = (generation: bigint): Effect.Effect<void> => Metric.update(generationGauge, Number(generation))

/** From now until the scope closes, a scrape reads the gauge's value from `read`. */
const scraped = (gauge: Metric.Gauge<number>, read: () => number): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Effect.context<never>(), (context) =>
      Metric.registerUnsafe(gauge, context, { get: () => ({ value: read() }), update: () => {}, modify: () => {} })),
    (registration) => Effect.sync(registration.remove)
  )

/** From now until the scope closes, a scrape reads the number of requests being served from `read`. */
export const inFlight = (read: () => number): Effect.Effect<void, never, Scope.Scope> => scraped(inFlightGauge, read)

/** From now until the scope closes, a scrape reads the number of waiting writes from `read`. */
export const ledgerPending = (read: () => number): Effect.Effect<void, never, Scope.Scope> => scraped(pendingGauge, read)

/** Likewise how late the event loop is on average, and which part of the heap's limit is in use. */
export const processStrain = (read: {
  readonly lagSeconds: () => number
  readonly heapRatio: () => number
}): Effect.Effect<void, never, Scope.Scope> => Effect.andThen(scraped(lagGauge, read.lagSeconds), scraped(heapGauge, read.heapRatio))

/** New work was refused because TokenHub itself has no room. */
export const shed = (reason: "concurrency" | "event_loop_lag" | "heap_full" | "draining"): Effect.Effect<void> =>
  updating((context) => refused(reason).updateUnsafe(1, context))

/** Shows the gauges that must not be missing from the first scrape; a gauge that has a value keeps it. */
export const declare: Effect.Effect<void> = Effect.forEach(
  [inFlightGauge, pendingGauge, unlockedGauge, generationGauge],
  (gauge) => Metric.modify(gauge, 0),
  { discard: true }
)
