/** A whole orchestration on doubles: real modes, Orchestrator and Attempts over scripted upstreams and a fixed list of models. */
import { Effect, Layer } from "effect"
import type { Admission } from "../../src/account/Admission.ts"
import type { ModelCard } from "../../src/domain/Catalog.ts"
import { makeRequestId } from "../../src/domain/Ids.ts"
import { defaultPolicy } from "../../src/domain/Policy.ts"
import { ModelNotFound, NoCandidate } from "../../src/domain/RequestError.ts"
import * as ErrorEnvelope from "../../src/http/ErrorEnvelope.ts"
import { Attempts } from "../../src/orchestrate/Attempts.ts"
import type { Mode } from "../../src/orchestrate/Mode.ts"
import { Modes } from "../../src/orchestrate/Mode.ts"
import { Adversarial } from "../../src/orchestrate/modes/Adversarial.ts"
import { Simple } from "../../src/orchestrate/modes/Simple.ts"
import { Orchestrator } from "../../src/orchestrate/Orchestrator.ts"
import { RetryBudget } from "../../src/orchestrate/RetryBudget.ts"
import type { RunEvent, RunRequest } from "../../src/orchestrate/Run.ts"
import type { CallOutcome } from "../../src/route/HealthBoard.ts"
import { HealthBoard } from "../../src/route/HealthBoard.ts"
import type { Question } from "../../src/route/Router.ts"
import { Router } from "../../src/route/Router.ts"
import { Settings } from "../../src/Settings.ts"
import type { Reply } from "./Doubles.ts"
import { ask, memoryLedger, openAdmission, scriptedProviders } from "./Doubles.ts"

const byWeight = (a: ModelCard, b: ModelCard): number => b.weight - a.weight

/** A router over a fixed list: by weight, with `tried`, `avoid` and the context window heeded. */
const listRouter = (models: ReadonlyArray<ModelCard>, learned: Array<readonly [model: string, estimated: number, counted: number]>) => {
  const fitting = ({ avoid, need, policy, tried }: Question) =>
    models
      .filter((model) => !(tried?.has(model.name) ?? false) && model.contextSize >= Math.max(policy.minContextSize, need.promptTokens))
      .toSorted((a, b) => Number(a.name === avoid?.model) - Number(b.name === avoid?.model) || byWeight(a, b))
  return Layer.mock(Router, {
    need: (request) => ({ promptTokens: 100, maxTokens: request.maxTokens, capabilities: [] }),
    choose: (question) => {
      const [best] = fitting(question)
      return best === undefined ? Effect.fail(new NoCandidate({ drops: [] })) : Effect.succeed(best)
    },
    exact: (name) => {
      const found = models.find((model) => model.name === name)
      return found === undefined ? Effect.fail(new ModelNotFound({ model: name, near: [] })) : Effect.succeed(found)
    },
    obstacle: (model, need) =>
      model.contextSize < need.promptTokens
        ? { model: model.name, reason: "context_too_small", detail: "the context window is too small" }
        : undefined,
    escalate: (failed, question) =>
      Effect.succeed(fitting(question).find((model) => model.weight > failed.weight || model.contextSize > failed.contextSize)),
    learn: (model, estimated, { promptTokens }) => Effect.sync(() => void learned.push([model.name, estimated, promptTokens]))
  })
}

/** What a test of a run can look at and do. */
export const runBench = (options: {
  readonly models: ReadonlyArray<ModelCard>
  readonly script: { readonly [upstreamModel: string]: ReadonlyArray<Reply> }
  readonly modes?: ReadonlyArray<Mode>
  readonly env?: { readonly [name: string]: string }
  /** Absent: nobody is limited. */
  readonly admission?: Layer.Layer<Admission>
  /** Absent: the product's own, full at each run. */
  readonly retryBudget?: Layer.Layer<RetryBudget>
}) => {
  const ledger = memoryLedger()
  const providers = scriptedProviders(options.script)
  const outcomes: Array<readonly [model: string, CallOutcome]> = []
  const learned: Array<readonly [model: string, estimated: number, counted: number]> = []
  const health = Layer.mock(HealthBoard, {
    of: () => ({ circuit: "closed", retryAfterMs: 0, rateLimited: false, latencyMs: 0, errorRate: 0 }),
    admit: () => Effect.succeed(true),
    record: (model, outcome) => Effect.sync(() => void outcomes.push([model.name, outcome]))
  })
  const layer = Orchestrator.layer.pipe(
    Layer.provide(Attempts.layer),
    Layer.provide([options.admission ?? openAdmission, ledger.layer, providers.layer, health, listRouter(options.models, learned), Modes.layer(...(options.modes ?? [Simple, Adversarial]))]),
    Layer.provide(options.retryBudget ?? RetryBudget.layer),
    Layer.provide(Settings.layerTest(options.env))
  )
  const events: Array<RunEvent> = []
  /** Runs a request; `stream: true` collects its events, each once `reading` lets it through. */
  const run = ({ reading = () => Effect.void, stream, ...given }: Partial<RunRequest> & {
    readonly stream?: boolean
    readonly reading?: (event: RunEvent) => Effect.Effect<void>
  } = {}) =>
    Effect.gen(function*() {
      const orchestrator = yield* Orchestrator
      return yield* orchestrator.run(
        {
          id: makeRequestId(0),
          endpoint: "/v1/chat",
          clientKey: null,
          chat: ask("What is 2 + 2?"),
          model: undefined,
          mode: "simple",
          options: { refinements: 0 },
          policy: defaultPolicy,
          ...given
        },
        ErrorEnvelope.describe,
        stream === true ? (event) => Effect.andThen(Effect.sync(() => void events.push(event)), reading(event)) : undefined
      )
    }).pipe(Effect.provide(layer))
  return { run, events, ledger, calls: providers.calls, outcomes, learned }
}
