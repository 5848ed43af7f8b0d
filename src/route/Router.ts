/** Which models may serve a request, and in which order (API.md, Routing). */
import { Context, Effect, Layer, Schedule } from "effect"
import type { Drop, Need, Ranking } from "../domain/Candidate.ts"
import type { Capability, ModelCard } from "../domain/Catalog.ts"
import type { ChatRequest, Part } from "../domain/Chat.ts"
import type { ProviderName } from "../domain/Ids.ts"
import type { ModelNotFound } from "../domain/RequestError.ts"
import { AllCoolingDown, NoCandidate, VaultLocked } from "../domain/RequestError.ts"
import type { Usage } from "../domain/Usage.ts"
import { ProviderRegistry } from "../provider/ProviderRegistry.ts"
import { SettingStore } from "../store/SettingStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import { lastWrite } from "../store/Transaction.ts"
import { HealthBoard } from "./HealthBoard.ts"
import { ModelRegistry } from "./ModelRegistry.ts"
import type { Conditions, Question, Standing, Wish } from "./Ranking.ts"
import * as Ranker from "./Ranking.ts"
import { makeCalibration, promptTokens } from "./TokenEstimator.ts"

export type { Question } from "./Ranking.ts"

/** Rows of `settings` that keep a model's token ratio. */
const ratioPrefix = "token_ratio/"

/** What was learnt about token counts is written this often, and once more at the end. */
const calibrationFlush = Schedule.spaced("1 minute")

const needsVision = (part: Part): boolean => {
  switch (part.type) {
    case "image":
      return true
    case "file":
      return part.source.type === "url" || !part.source.mediaType.startsWith("text/")
    case "tool_result":
      return part.content.some(needsVision)
    default:
      return false
  }
}

const needsTools = (part: Part): boolean => part.type === "tool_call" || part.type === "tool_result"

const capabilitiesFor = ({ messages, responseFormat, tools }: ChatRequest): ReadonlyArray<Capability> => {
  const some = (test: (part: Part) => boolean) => messages.some((message) => message.content.some(test))
  return [
    ...((tools?.length ?? 0) > 0 || some(needsTools) ? ["tools" as const] : []),
    ...(some(needsVision) ? ["vision" as const] : []),
    ...(responseFormat?.type === "json_schema" ? ["json_schema" as const] : [])
  ]
}

export class Router extends Context.Service<Router, {
  /** What a request needs: an estimate of its prompt tokens, `max_tokens`, and the capabilities that its content asks for. Runs once a call. */
  readonly need: (request: ChatRequest) => Need
  /** The best candidate's model, or why there is none. */
  readonly choose: (question: Question) => Effect.Effect<ModelCard, NoCandidate | AllCoolingDown | VaultLocked>
  /** All candidates in order and every drop: what `/admin/routing/explain` shows. */
  readonly explain: (question: Question) => Effect.Effect<Ranking>
  /** An exact name or alias to its model. */
  readonly exact: (nameOrAlias: string) => Effect.Effect<ModelCard, ModelNotFound>
  /** Why this very model may not be called now, in the order of the filters; undefined: it may. Cost and weight are not asked. */
  readonly obstacle: (model: ModelCard, need: Need) => Drop | undefined
  /** The next model after a failure: a higher weight or a larger context than `failed`, fitting need and cost, not tried. */
  readonly escalate: (failed: ModelCard, question: Question) => Effect.Effect<ModelCard | undefined>
  /** Corrects the estimate of a model by what its provider counted. */
  readonly learn: (model: ModelCard, estimatedPromptTokens: number, actual: Usage) => Effect.Effect<void>
}>()("tokenhub/Router") {
  static readonly layer: Layer.Layer<Router, StoreError, HealthBoard | ModelRegistry | ProviderRegistry | SettingStore> = Layer.effect(
    Router,
    Effect.gen(function*() {
      const board = yield* HealthBoard
      const providers = yield* ProviderRegistry
      const registry = yield* ModelRegistry
      const settings = yield* SettingStore

      const stored = yield* settings.withPrefix(ratioPrefix)
      const calibration = makeCalibration(
        [...stored].map(([name, value]) => [name.slice(ratioPrefix.length), Number(value)])
      )
      const store = ([model, ratio]: readonly [string, number]) => settings.set(ratioPrefix + model, ratio.toFixed(4))
      const flush = Effect.suspend(() => Effect.forEach(calibration.changes(), store, { discard: true })).pipe(
        Effect.catch((error) => Effect.logWarning("Token ratios could not be stored", error))
      )
      yield* Effect.addFinalizer(() => lastWrite(flush))
      yield* flush.pipe(Effect.repeat(calibrationFlush), Effect.forkScoped)

      const standing = (provider: ProviderName): Standing => {
        const credential = providers.credential(provider)
        if (credential === undefined) return "no_credential"
        if (!providers.isEnabled(provider)) return "disabled"
        if (credential === "locked") return "vault_locked"
        return credential === "none" && providers.needsKey(provider) ? "no_credential" : "ready"
      }

      const conditions = (): Conditions => ({
        standing,
        health: board.of,
        tokenRatio: (model) => calibration.ratio(model.name),
        leastTokenRatio: calibration.least()
      })

      let index = Ranker.index(registry.list())
      let indexed = registry.version()
      const fresh = () => {
        if (indexed !== registry.version()) {
          indexed = registry.version()
          index = Ranker.index(registry.list())
        }
        return index
      }

      const whyNone = (question: Question): NoCandidate | AllCoolingDown | VaultLocked => {
        const now = conditions()
        const models = registry.list()
        const { drops } = Ranker.rank(models, question, now)
        const waiting = drops.filter((drop) => drop.retryAfterMs !== undefined && question.tried?.has(drop.model) !== true)
        if (waiting.length > 0) {
          const cooling = new Set(waiting.map((drop) => drop.model))
          const limited = (model: ModelCard) => board.of(model).rateLimited || (question.caller?.waitMs(model) ?? 0) > 0
          return new AllCoolingDown({
            retryAfterMs: Math.min(...waiting.map((drop) => drop.retryAfterMs ?? 0)),
            rateLimited: models.every((model) => !cooling.has(model.name) || limited(model)),
            drops
          })
        }
        const locked = models.find((model) => Ranker.onlyLocked(model, question, now))
        return locked === undefined
          ? new NoCandidate({ drops })
          : new VaultLocked({ message: `The vault is locked, and the key of provider '${locked.provider}' lies in it` })
      }

      const best = (wish: Wish): Effect.Effect<ModelCard | undefined> =>
        Effect.map(registry.ready, () => Ranker.best(fresh(), wish, conditions()))

      return Router.of({
        need: (request) => ({
          promptTokens: promptTokens(request),
          maxTokens: request.maxTokens,
          capabilities: capabilitiesFor(request)
        }),
        choose: Effect.fnUntraced(function*(question: Question) {
          return (yield* best(question)) ?? (yield* whyNone(question))
        }),
        explain: (question) => Effect.map(registry.ready, () => Ranker.rank(registry.list(), question, conditions())),
        exact: registry.resolve,
        obstacle: (model, need) => Ranker.obstacle(model, need, conditions()),
        escalate: (failed, question) =>
          question.policy.allowEscalation ? best({ ...question, after: failed }) : Effect.succeed(undefined),
        learn: (model, estimatedPromptTokens, actual) => {
          if (!actual.estimated) calibration.learn(model.name, estimatedPromptTokens, actual.promptTokens)
          return Effect.void
        }
      })
    })
  )
}
