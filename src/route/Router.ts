/** Which models may serve a request, and in which order (API.md, Routing). */
import type { Effect } from "effect"
import { Context } from "effect"
import type { Drop, Need, Ranking } from "../domain/Candidate.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ChatRequest } from "../domain/Chat.ts"
import type { ModelName } from "../domain/Ids.ts"
import type { RoutingPolicy } from "../domain/Policy.ts"
import type { AllCoolingDown, ModelNotFound, NoCandidate, VaultLocked } from "../domain/RequestError.ts"
import type { Usage } from "../domain/Usage.ts"

export interface Question {
  readonly need: Need
  readonly policy: RoutingPolicy
  /** Left out of the answer: models that this run tried already. */
  readonly tried?: ReadonlySet<ModelName>
  /** Models that the mode would rather not have: they rank after all others (a critic that is the planner). */
  readonly avoid?: { readonly model?: ModelName; readonly provider?: string }
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
}>()("tokenhub/Router") {}
