import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import type { Drop } from "../../domain/Candidate.ts"
import type { ModelCard } from "../../domain/Catalog.ts"
import { Modes } from "../../orchestrate/Mode.ts"
import { HealthBoard } from "../../route/HealthBoard.ts"
import { ModelRegistry } from "../../route/ModelRegistry.ts"
import type { Question } from "../../route/Router.ts"
import { Router } from "../../route/Router.ts"
import { Settings } from "../../Settings.ts"
import { BuiltApi } from "../Api.ts"
import { readJson, tooLarge } from "../BodyLimit.ts"
import * as ChatWire from "../chat/ChatWire.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { schemaFields } from "../Json.ts"
import { costOf } from "./ModelWire.ts"
import { healthOf } from "./ProvidersHttp.ts"

/** `/admin/routing/explain`: the body is read as `POST /v1/chat` reads it. */
export const RoutingHttp = HttpApiBuilder.group(
  BuiltApi,
  "routing",
  Effect.fnUntraced(function*(handlers) {
    const board = yield* HealthBoard
    const models = yield* ModelRegistry
    const router = yield* Router
    const { names } = yield* Modes
    const { maxBodyBytes } = yield* Settings

    const candidate = (model: ModelCard) => ({
      model: model.name,
      provider: model.provider,
      cost_per_1k_tokens: costOf(model),
      weight: model.weight,
      context_size: model.contextSize,
      health: healthOf(board.of(model))
    })

    const explicit = Effect.fnUntraced(function*(requested: string, question: Question) {
      const model = yield* router.exact(requested)
      const obstacle = router.obstacle(model, question.need)
      const next = yield* router.escalate(model, { ...question, tried: new Set([model.name]) })
      return {
        requested,
        model: candidate(model),
        callable: obstacle === undefined,
        obstacle: obstacle === undefined ? null : shownDrop(obstacle),
        escalates_to: next?.name ?? null
      }
    })

    return handlers.handleRaw("explain", ({ request }) =>
      Effect.gen(function*() {
        const body = yield* readJson(request, schemaFields)
        const { chat, media, model, policy } = yield* Effect.fromResult(ChatWire.decode(body.value, request.headers, names))
        if (body.bytes > maxBodyBytes && !media) return yield* tooLarge(maxBodyBytes)
        yield* models.ready
        const need = router.need(chat)
        const question = { need, policy }
        const { candidates, drops } = yield* router.explain(question)
        return {
          need: { prompt_tokens: need.promptTokens, max_tokens: need.maxTokens ?? null, capabilities: need.capabilities },
          candidates: candidates.map(candidate),
          drops: drops.map(shownDrop),
          ...(model === undefined ? {} : { explicit: yield* explicit(model, question) })
        }
      }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)

const shownDrop = ({ detail, model, reason, retryAfterMs }: Drop) => ({
  model,
  reason,
  detail,
  ...(retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(retryAfterMs) })
})
