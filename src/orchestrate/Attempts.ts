/** Runs one call of a run, for a completion or for embeddings: route, record, call, and on failure do what Escalation decides. */
import { Clock, Context, Effect, Exit, Layer, Option, Random } from "effect"
import type { Place } from "../account/Admission.ts"
import { Admission } from "../account/Admission.ts"
import type { RequestRow } from "../account/Ledger.ts"
import { Ledger } from "../account/Ledger.ts"
import type { Attempt, Outcome } from "../domain/Attempt.ts"
import type { Drop, DropReason } from "../domain/Candidate.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ChatRequest, Delta, Frame } from "../domain/Chat.ts"
import { inOrder } from "../domain/Eager.ts"
import type { EmbeddingRequest } from "../domain/Embedding.ts"
import type { ModelName } from "../domain/Ids.ts"
import type { NanoDollars } from "../domain/Money.ts"
import { ceilingOf, costOf, formatUsd } from "../domain/Money.ts"
import type { RoutingPolicy } from "../domain/Policy.ts"
import { retryAfterFailure } from "../domain/Retry.ts"
import type { Fault } from "../domain/ProviderError.ts"
import { ProviderError } from "../domain/ProviderError.ts"
import type { RequestError } from "../domain/RequestError.ts"
import { AllCoolingDown, BudgetExceeded, ContextLengthExceeded, NoCandidate, notAllowed, UpstreamFailed, VaultLocked } from "../domain/RequestError.ts"
import type { Usage } from "../domain/Usage.ts"
import * as Usages from "../domain/Usage.ts"
import type { ReadyProvider } from "../provider/ProviderRegistry.ts"
import { ProviderRegistry } from "../provider/ProviderRegistry.ts"
import { HealthBoard } from "../route/HealthBoard.ts"
import { defaultOutputTokens } from "../route/Ranking.ts"
import type { Question } from "../route/Router.ts"
import { Router } from "../route/Router.ts"
import { Settings } from "../Settings.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { spanned } from "../telemetry/Spans.ts"
import type { Asking, Receiver } from "./Asking.ts"
import { forCompletion, forEmbeddings } from "./Asking.ts"
import * as Escalation from "./Escalation.ts"
import * as Hedging from "./Hedging.ts"
import { RetryBudget } from "./RetryBudget.ts"
import type { CallResult, EmbeddingResult } from "./Run.ts"
import * as Schedules from "./Schedules.ts"
import { TryAgain } from "./Schedules.ts"

/** What every call says, whatever it asks for. */
interface Call {
  readonly step: string
  /** An exact name or alias; undefined: the router chooses. */
  readonly model: string | undefined
  readonly policy: RoutingPolicy
  /** The most that the whole run may cost. */
  readonly maxCost?: NanoDollars
  readonly insteadOf?: CallResult
  /** Where a stream goes as it comes; undefined: the answer is fetched in one piece. */
  readonly sink?: Hedging.Sink
}

/** One completion, as a mode asked for it. */
export interface StepCall extends Call {
  readonly request: ChatRequest
}

/** Embeddings of one list of texts. */
export interface EmbedCall extends Call {
  readonly request: EmbeddingRequest
}

/** What Attempts needs to know of the run, and where it leaves its record. */
export interface RunRecord {
  readonly id: string
  /** Whose rules, limits and budget hold: a client key's id, null for a caller without one. */
  readonly clientKey: string | null
  /** Every upstream call of the run so far, in order. */
  readonly attempts: ReadonlyArray<Attempt>
  /** Appends a call that is about to leave, or replaces it once it is settled. */
  readonly keep: (attempt: Attempt) => void
  readonly mode: string | null
  /** The request's own row, as its first call opens it. */
  readonly opening: (model: ModelCard, firstCall: NanoDollars) => RequestRow
  /** Milliseconds until the run's deadline. */
  readonly timeLeftMs: Effect.Effect<number>
}

export class Attempts extends Context.Service<Attempts, {
  /** The answer of the first model that gives one; fails when Escalation stops or nobody is left. */
  readonly run: (run: RunRecord, call: StepCall) => Effect.Effect<CallResult, RequestError>
  /** Likewise for embeddings. An explicit model never gives way to another: vectors of different models can't be compared. */
  readonly embed: (run: RunRecord, call: EmbedCall) => Effect.Effect<EmbeddingResult, RequestError>
}>()("tokenhub/Attempts") {
  static readonly layer = Layer.effect(
    Attempts,
    Effect.gen(function*() {
      const admission = yield* Admission
      const ledger = yield* Ledger
      const providers = yield* ProviderRegistry
      const health = yield* HealthBoard
      const retryBudget = yield* RetryBudget
      const router = yield* Router
      const { hedgeAfterMs, tracePrompts } = yield* Settings
      const clock = yield* Clock.Clock
      const context = yield* Effect.context<never>()

      const monotonicMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

      /** One call to one model: opened on the ledger, made, settled, whatever happens to it. */
      const callOnce = <A extends Answer>(
        run: RunRecord,
        state: State<A>,
        model: ModelCard,
        lane: Hedging.Lane = Hedging.alone
      ): Effect.Effect<Answered<A>, ProviderError | RequestError> =>
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMapEager(providers.ready(model.provider), (ready) => {
            const { need, mostPromptTokens } = state.asking
            const maxTokens = need.maxTokens ?? model.maxOutputTokens ?? model.contextSize
            const reserved = ceilingOf(model.price, mostPromptTokens, Math.min(maxTokens, model.contextSize))
            const unpayable = overspent(run, state, model, reserved)
            if (unpayable !== undefined) return Effect.fail(unpayable)
            const startedAt = clock.currentTimeMillisUnsafe()
            const wanted = { clientKey: run.clientKey, model, tokens: tokensAt(state.asking)(model), most: reserved, at: startedAt }
            const admitted = Effect.mapErrorEager(admission.call(wanted), (error) =>
              error._tag === "ModelLimited" ? fromDrop(limitReached(model, error.message, error.retryAfterMs)) : error)
            return Effect.flatMapEager(admitted, (place) =>
              Effect.ensuring(Effect.suspend(() => callPlaced(run, state, { ready, model, lane, place, reserved, startedAt, restore })), place.leave))
          }))

      /** The same, once there is a place for it. */
      const callPlaced = <A extends Answer>(
        run: RunRecord,
        state: State<A>,
        placed: PlacedCall
      ): Effect.Effect<Answered<A>, ProviderError | RequestError> =>
        Effect.flatMapEager(health.admit(placed.model), (admitted) => {
          const { model, reserved, startedAt } = placed
          if (!admitted) return Effect.fail(fromDrop(router.obstacle(model, state.asking.need) ?? busyProbe(model)))
          const began = monotonicMs()
          const opened: Attempt = {
            index: run.attempts.length,
            step: state.call.step,
            model: model.name,
            provider: model.provider,
            outcome: "unknown",
            startedAt,
            durationMs: 0,
            usage: Usages.zero,
            cost: 0n
          }
          // A probe that was not made: the circuit stays half open, and the next call may be it.
          const ofProbe = () => health.record(model, { ok: false, breaks: false, coolDownMs: 0, durationMs: 0 })
          return Effect.andThen(
            Effect.onError(ledger.open(run.opening(model, reserved), opened, reserved), ofProbe),
            callOpened(run, state, placed, opened, began)
          )
        })

      /** The same, once it is on the ledger. `began`: when, in monotonic milliseconds. */
      const callOpened = <A extends Answer>(
        run: RunRecord,
        state: State<A>,
        { lane, model, place, ready, reserved, restore }: PlacedCall,
        opened: Attempt,
        began: number
      ): Effect.Effect<Answered<A>, ProviderError> =>
        Effect.suspend(() => {
          if (!state.called) retryBudget.first()
          state.called = true
          run.keep(opened)
          state.running += reserved
          const { ask, need, promptTokens } = state.asking
          const tell = Hedging.telling(state.call.sink, lane, {
            model,
            promptTokens: need.promptTokens,
            onShown: () => {
              state.committed = true
              state.model = model
            }
          })
          const progress = new Progress(tell, () => monotonicMs() - began)
          // Whoever is told may be a client that reads slowly: that too ends with the call.
          const asked = Effect.flatMapEager(inOrder(() => tell.left(), () => lane.left), () => ask(ready, model, progress))
          return Effect.flatMap(Effect.exit(restore(asked)), (exit) => {
            state.running -= reserved
            const settled = settledAttempt(opened, exit, model, promptTokens, progress, monotonicMs() - began)
            return Effect.flatMapEager(settle(run, settled, exit, model, place, promptTokens), () => {
              if (exit._tag === "Failure") return failureOf(exit) ?? Effect.failCause(exit.cause)
              const whole = tell.whole()
              return Effect.flatMapEager(Exit.isExit(whole) ? whole : restore(whole), (isAnswer) =>
                isAnswer ? Effect.succeed({ answer: exit.value, model }) : restore(Effect.never))
            })
          })
        })

      /** Tells everyone who keeps account of a call how it ended. */
      const settle = (
        run: RunRecord,
        settled: Attempt,
        exit: Exit.Exit<unknown, ProviderError>,
        model: ModelCard,
        place: Place,
        estimatedPromptTokens: number
      ): Effect.Effect<void> => {
        const { cost, durationMs, outcome, timeToFirstTokenMs, usage } = settled
        const error = failureOf(exit)
        run.keep(settled)
        return inOrder(
          () => ledger.settleAttempt(run.id, settled, run),
          () => place.settle(usage, cost),
          () =>
            Metrics.modelCalled({
              model: model.name,
              provider: model.provider,
              outcome,
              seconds: durationMs / 1000,
              timeToFirstTokenSeconds: timeToFirstTokenMs === undefined ? undefined : timeToFirstTokenMs / 1000,
              usage,
              cost
            }, context),
          // A client that left says nothing about the model; it only gives the probe's place back.
          () =>
            error === undefined
              ? health.record(model, { ok: exit._tag === "Success", durationMs, breaks: false, coolDownMs: 0 })
              : Effect.flatMap(Random.next, (random) =>
                health.record(model, { ok: false, durationMs, fault: error.fault, ...Escalation.consequence(error, random) })),
          () => (exit._tag === "Success" && !usage.estimated ? router.learn(model, estimatedPromptTokens, usage) : Effect.void)
        )
      }

      /** The same, with a second call beside it where that was switched on and the first brings no token for long. */
      const callHedged = <A extends Answer>(run: RunRecord, state: State<A>, model: ModelCard) =>
        hedgeAfterMs === 0 ? callOnce(run, state, model) : raced(run, state, model)

      const raced = Effect.fnUntraced(function*<A extends Answer>(run: RunRecord, state: State<A>, model: ModelCard) {
        const hedge = Hedging.decide({ afterMs: hedgeAfterMs, named: state.call.model !== undefined, timeLeftMs: yield* run.timeLeftMs })
        if (hedge === undefined) return yield* callOnce(run, state, model)
        return yield* Hedging.race({
          afterMs: hedge.afterMs,
          first: (lane) => callOnce(run, state, model, lane),
          mayLeave: retryBudget.spend,
          second: Effect.fnUntraced(function*(lane) {
            const next = hedge.ask === "next_model" ? router.choose({ ...state.question, tried: state.tried }) : Effect.succeed(model)
            const other = yield* Effect.catch(next, () => Effect.succeed(model))
            state.tried.add(other.name)
            yield* Metrics.hedged({ model: model.name })
            return yield* callOnce(run, state, other, lane)
          })
        })
      })

      const coolingMs = (model: ModelCard) => health.of(model).retryAfterMs

      /** Turns a failure into another try, on this model or the next, or into what the client is told. */
      const afterFailure = Effect.fnUntraced(function*(
        run: RunRecord,
        state: State<unknown>,
        error: ProviderError
      ): Effect.fn.Return<never, TryAgain | RequestError> {
        const { model } = state
        state.failures.push({ model, error })
        const decision = Escalation.decide(error, {
          retries: state.retries,
          hops: state.hops,
          committed: state.committed,
          allowEscalation: state.call.policy.allowEscalation,
          timeLeftMs: yield* run.timeLeftMs
        })
        // A larger model for a larger prompt is no consequence of an upstream's trouble.
        const isExtra = decision.type === "retry" || (decision.type === "escalate" && decision.to === "any")
        if (isExtra && state.called && !(yield* retryBudget.spend)) return yield* lastWord(state, model, error, coolingMs)
        if (decision.type === "retry") {
          state.retries++
          yield* Metrics.retried({ model: model.name, fault: error.fault })
          return yield* new TryAgain({ on: "same_model", ...(decision.waitMs === undefined ? {} : { waitMs: decision.waitMs }) })
        }
        const next = decision.type === "escalate"
          ? yield* router.escalate(model, {
            ...state.question,
            tried: state.tried,
            ...(decision.to === "larger_context" ? { policy: largerThan(model, state.call.policy) } : {})
          })
          : undefined
        if (next === undefined) return yield* lastWord(state, model, error, coolingMs)
        yield* Metrics.escalated({ from: model.name, to: next.name, fault: error.fault })
        state.hops.push(error.fault)
        moveTo(state, next)
        return yield* new TryAgain({ on: "next_model" })
      })

      /** An explicit model that may not be called now fails like a call that never left. */
      const checkExplicit = (state: State<unknown>, model: ModelCard): Effect.Effect<void, ProviderError | NoCandidate> => {
        const drop = router.obstacle(model, state.asking.need)
        if (drop === undefined) return Effect.void
        return drop.reason in obstacleFaults ? Effect.fail(fromDrop(drop)) : Effect.fail(new NoCandidate({ drops: [drop] }))
      }

      /** Asks until a model answers, Escalation stops or nobody is left. */
      const answer = Effect.fnUntraced(function*<A extends Answer>(run: RunRecord, call: Call, asking: Asking<A>) {
        const { need } = asking
        const rules = admission.rules(run.clientKey, tokensAt(asking))
        const question: Question = {
          need,
          policy: call.policy,
          caller: { ...rules, priced: rules.priced || call.maxCost !== undefined },
          ...(call.insteadOf === undefined ? {} : { avoid: { model: call.insteadOf.model, provider: call.insteadOf.provider } })
        }
        const first = yield* call.model === undefined ? router.choose(question) : router.exact(call.model)
        if (!rules.allows(first)) return yield* notAllowed(call.model ?? first.name)
        if (rules.priced && first.price === null) return yield* unpriced(first, "the budget pays it")
        const state: State<A> = {
          call,
          asking,
          question,
          model: first,
          retries: 0,
          hops: [],
          tried: new Set([first.name]),
          failures: [],
          running: 0n,
          called: false,
          committed: false
        }
        const before = run.attempts.length

        const sameModel = Effect.suspend(() => {
          const model = state.model
          const explicit = call.model !== undefined && model === first
          const asked = callHedged(run, state, model)
          return (explicit ? Effect.andThen(checkExplicit(state, model), asked) : asked).pipe(
            Effect.catchTag("ProviderError", (error) => afterFailure(run, state, error))
          )
        })
        const retried = retryAfterFailure(sameModel, {
          schedule: Schedules.retry,
          while: (error) => error._tag === "TryAgain" && error.on === "same_model"
        })
        const answered = yield* retryAfterFailure(retried, { schedule: Schedules.escalation, while: (error) => error._tag === "TryAgain" }).pipe(
          Effect.catchTag("TryAgain", Effect.die)
        )
        const calls = run.attempts.slice(before)
        return {
          answer: answered.answer,
          model: answered.model.name,
          provider: answered.model.provider,
          usage: calls.reduce((sum, attempt) => Usages.add(sum, attempt.usage), Usages.zero),
          cost: calls.reduce((sum, attempt) => sum + attempt.cost, 0n)
        }
      })

      return Attempts.of({
        run: (run, call) => {
          const asking = forCompletion(call.request, router.need(call.request), { streamed: call.sink !== undefined, tracePrompts })
          return Effect.map(answer(run, call, asking), ({ answer: completion, ...result }) => ({ ...result, completion })).pipe(spanned("Attempts.run"))
        },
        embed: (run, call) => {
          const policy = call.model === undefined ? call.policy : { ...call.policy, allowEscalation: false }
          return answer(run, { ...call, policy }, forEmbeddings(call.request)).pipe(
            Effect.map(({ answer: embeddings, ...result }) => ({ ...result, embeddings })),
            spanned("Attempts.embed")
          )
        }
      })
    })
  )
}

/** What every answer says of itself. */
interface Answer {
  readonly usage: Usage
}

/** An answer and who gave it. */
interface Answered<A> {
  readonly answer: A
  readonly model: ModelCard
}

/** A call that limits and budgets let through. */
interface PlacedCall {
  readonly ready: ReadyProvider
  readonly model: ModelCard
  readonly lane: Hedging.Lane
  readonly place: Place
  /** The most that it can cost. */
  readonly reserved: NanoDollars
  /** Unix milliseconds. */
  readonly startedAt: number
  /** Makes what waits for others interruptible. */
  readonly restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** What one step has been through; changes as it goes on. */
interface State<A> {
  readonly call: Call
  readonly asking: Asking<A>
  readonly question: Question
  model: ModelCard
  retries: number
  readonly hops: Array<Fault>
  readonly tried: Set<ModelName>
  readonly failures: Array<{ readonly model: ModelCard; readonly error: ProviderError }>
  /** The most that the calls which are out now can cost. */
  running: NanoDollars
  /** Any call left. */
  called: boolean
  committed: boolean
}

const moveTo = (state: State<unknown>, model: ModelCard): void => {
  state.model = model
  state.retries = 0
  state.tried.add(model.name)
}

/** What the limits count for a call before it is made. */
const tokensAt = ({ need, promptTokens }: Asking<unknown>) => (model: ModelCard): number =>
  promptTokens + (need.maxTokens ?? defaultOutputTokens(model))

const unpriced = (model: ModelCard, whether: string): BudgetExceeded =>
  new BudgetExceeded({ message: `'${model.name}' has no price, so that nobody knows whether ${whether}` })

/** The error where what is left of the run's own limit can't pay the most that a call may cost. */
const overspent = (run: RunRecord, { call: { maxCost }, running }: State<unknown>, model: ModelCard, ceiling: NanoDollars): BudgetExceeded | undefined => {
  if (maxCost === undefined) return undefined
  if (model.price === null) return unpriced(model, "max_cost_usd pays it")
  const left = run.attempts.reduce((rest, attempt) => rest - attempt.cost, maxCost - running)
  if (ceiling <= left) return undefined
  const remains = formatUsd(left > 0n ? left : 0n)
  return new BudgetExceeded({
    message: `A call of '${model.name}' may cost ${formatUsd(ceiling)} $, and of max_cost_usd ${remains} $ are left; a lower max_tokens makes it cheaper`
  })
}

/** What a call has brought, counted on its way to the client. */
class Progress implements Receiver {
  characters = 0
  firstTokenMs: number | undefined
  private readonly tell: Hedging.Telling
  private readonly elapsedMs: () => number

  constructor(tell: Hedging.Telling, elapsedMs: () => number) {
    this.tell = tell
    this.elapsedMs = elapsedMs
  }

  onDelta(delta: Delta): Effect.Effect<void> {
    this.count(delta)
    return this.tell.delta(delta)
  }

  onFrame(frame: Frame): Effect.Effect<void> {
    for (const delta of frame.deltas) this.count(delta)
    return this.tell.frame(frame)
  }

  private count(delta: Delta): void {
    this.firstTokenMs ??= this.elapsedMs()
    this.characters += lengthOf(delta)
  }
}

const lengthOf = (delta: Delta): number => (delta.type === "tool_call" ? delta.arguments.length : delta.text.length)

const largerThan = (model: ModelCard, policy: RoutingPolicy): RoutingPolicy => ({
  ...policy,
  minContextSize: Math.max(policy.minContextSize, model.contextSize + 1)
})

/** The filters of the router that an explicit model fails like an upstream call would; any other is "no candidate". */
const obstacleFaults: { readonly [R in DropReason]?: Fault } = {
  no_credential: "credential_missing",
  vault_locked: "credential_locked",
  context_too_small: "context_overflow",
  circuit_open: "circuit_open",
  cooling_down: "cooling_down"
}

const fromDrop = (drop: Drop): ProviderError =>
  new ProviderError({
    // A model that cools for another cause than a limit is told of like one with an open circuit: 503, not 429.
    fault: drop.reason === "cooling_down" && drop.rateLimited !== true ? "circuit_open" : obstacleFaults[drop.reason] ?? "unavailable",
    message: `'${drop.model}' can't be called: ${drop.detail}`,
    sent: false,
    ...(drop.retryAfterMs === undefined ? {} : { retryAfterMs: drop.retryAfterMs })
  })

const limitReached = (model: ModelCard, detail: string, retryAfterMs: number): Drop => ({
  model: model.name,
  reason: "cooling_down",
  detail,
  retryAfterMs,
  rateLimited: true
})

/** Another call is the one probe of the model's half-open circuit. */
const busyProbe = (model: ModelCard): Drop => ({
  model: model.name,
  reason: "circuit_open",
  detail: "its circuit is half open and another call is the probe",
  retryAfterMs: 1000
})

const failureOf = (exit: Exit.Exit<unknown, ProviderError>): ProviderError | undefined =>
  exit._tag === "Success" ? undefined : Option.getOrUndefined(Exit.findErrorOption(exit))

/** A call as it ended. */
const settledAttempt = (
  opened: Attempt,
  exit: Exit.Exit<Answer, ProviderError>,
  { price }: ModelCard,
  promptTokens: number,
  progress: Progress,
  durationMs: number
): Attempt => {
  const error = failureOf(exit)
  const usage = exit._tag === "Success" ? exit.value.usage : bookedUsage(error, promptTokens, progress)
  return {
    ...opened,
    outcome: outcomeOf(exit, error),
    ...(error === undefined ? {} : { reason: error.message }),
    ...(progress.firstTokenMs === undefined ? {} : { timeToFirstTokenMs: Math.round(progress.firstTokenMs) }),
    durationMs: Math.round(durationMs),
    usage,
    cost: costOf(price, usage)
  }
}

const outcomeOf = (exit: Exit.Exit<unknown, unknown>, error: ProviderError | undefined): Outcome =>
  Exit.isSuccess(exit) ? "ok" : error?.fault ?? (Exit.hasInterrupts(exit) ? "cancelled" : "unknown")

/** What a call that brought no whole answer used: nothing where it surely was not billed, else the estimate and what had come. */
const bookedUsage = (error: ProviderError | undefined, promptTokens: number, progress: Progress): Usage =>
  error === undefined || progress.characters > 0 || Escalation.maybeBilled(error)
    ? { ...Usages.zero, promptTokens, completionTokens: Usages.tokensOfLength(progress.characters), estimated: true }
    : Usages.zero

const isTemporary = (fault: Fault): boolean => fault === "circuit_open" || fault === "cooling_down" || Escalation.isRateLimit(fault)

/** Where neither the upstream nor the health board names a time. */
const defaultWaitMs = 5_000

/** Every model of a run was busy: when the first of them may be asked again, and what each said. */
const allCoolingDown = ({ failures }: State<unknown>, coolingMs: (model: ModelCard) => number): AllCoolingDown => {
  const last = new Map(failures.map(({ error, model }) => [model, error]))
  return new AllCoolingDown({
    rateLimited: failures.every(({ error }) => error.fault !== "circuit_open"),
    retryAfterMs: Math.min(...[...last].map(([model, error]) => Math.max(coolingMs(model), error.retryAfterMs ?? 0) || defaultWaitMs)),
    drops: [...last].map(([{ name }, { fault, message }]) => ({
      model: name,
      reason: fault === "circuit_open" ? "circuit_open" : "cooling_down",
      detail: message
    }))
  })
}

const refusals: { readonly [F in Fault]?: string } = { authentication: "refused TokenHub's key", permission: "forbade the call" }

/** Whose words a client reads: a refusal of TokenHub's key at the provider must not be taken for one of the client's own. */
const told = ({ provider }: ModelCard, { fault, message, sent }: ProviderError): string =>
  sent && refusals[fault] !== undefined ? `The provider '${provider}' ${refusals[fault]}: ${message}` : message

/** What the client is told when nobody is left. `coolingMs`: until when the health board leaves a model alone. */
const lastWord = (state: State<unknown>, model: ModelCard, error: ProviderError, coolingMs: (model: ModelCard) => number): RequestError => {
  if (state.failures.every((failure) => isTemporary(failure.error.fault))) return allCoolingDown(state, coolingMs)
  switch (error.fault) {
    case "context_overflow":
      return new ContextLengthExceeded({
        model: model.name,
        neededTokens: state.asking.need.promptTokens + (state.asking.need.maxTokens ?? 0),
        contextSize: model.contextSize
      })
    case "credential_locked":
      return new VaultLocked({ message: error.message })
    default:
      return new UpstreamFailed({
        fault: error.fault,
        message: told(model, error),
        model: model.name,
        ...(error.param === undefined ? {} : { param: error.param }),
        ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs })
      })
  }
}
