import { Effect, Option } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import type { ModelCard } from "../../domain/Catalog.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { Modes } from "../../orchestrate/Mode.ts"
import { ProviderRegistry } from "../../provider/ProviderRegistry.ts"
import { ModelRegistry } from "../../route/ModelRegistry.ts"
import { audited } from "./AdminAudit.ts"
import { BuiltApi } from "../Api.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { virtualModels } from "../RunOptions.ts"
import type { NewModel } from "./ModelsApi.ts"
import { changedCard, newCard, shownModel } from "./ModelWire.ts"

/** `/admin/models`. */
export const ModelsHttp = HttpApiBuilder.group(
  BuiltApi,
  "models",
  Effect.fnUntraced(function*(handlers) {
    const models = yield* ModelRegistry
    const providers = yield* ProviderRegistry
    const record = yield* audited
    const { names } = yield* Modes
    const virtual = new Set(virtualModels(names))

    const present = (name: ModelCard["name"]) => Effect.andThen(models.ready, models.get(name))

    /** What the catalogue knows of it; nothing for a provider that is not there, which `put` refuses. */
    const known = Effect.fnUntraced(function*({ name, provider, upstream_name }: NewModel) {
      yield* models.ready
      const view = yield* Effect.option(providers.get(provider))
      return Option.isSome(view) ? models.fromCatalogue(view.value.card.providerType, upstream_name ?? name) : undefined
    })

    /** A model under the name of a virtual one could never be asked. */
    const checkNames = ({ aliases, name }: ModelCard) => {
      const taken = [name, ...aliases].find((given) => virtual.has(given))
      const param = taken === name ? "name" : "aliases"
      return taken === undefined
        ? Effect.void
        : Effect.fail(new InvalidRequest({ message: `${param}: '${taken}' is a virtual model of TokenHub's own`, param }))
    }

    const put = (card: ModelCard, before: Option.Option<ModelCard>, expected?: ModelCard) =>
      record(Effect.andThen(checkNames(card), models.put(card, expected)), ({ replaced }) => ({
        action: replaced ? "model.change" : "model.add",
        target: card.name,
        ...(Option.isSome(before) ? { before: shownModel(before.value) } : {}),
        after: shownModel(card)
      }))

    return handlers
      .handle("put", ({ payload }) =>
        Effect.gen(function*() {
          const card = yield* Effect.fromResult(newCard(payload, yield* known(payload)))
          const { replaced } = yield* put(card, yield* Effect.option(models.get(payload.name)))
          const model = shownModel(card)
          return replaced
            ? { message: "Model updated successfully" as const, model }
            : { message: "Model added successfully" as const, model }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("list", () => Effect.map(models.ready, () => ({ models: models.list().map(shownModel) })))
      .handle("get", ({ params }) => present(params.name).pipe(Effect.map(shownModel), Effect.catch(ErrorEnvelope.respond)))
      .handle("patch", ({ params, payload }) =>
        Effect.gen(function*() {
          const before = yield* present(params.name)
          const card = yield* Effect.fromResult(changedCard(before, payload))
          yield* put(card, Option.some(before), before)
          return shownModel(card)
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("remove", ({ params }) =>
        Effect.gen(function*() {
          const before = yield* present(params.name)
          yield* record(models.remove(before.name), () => ({ action: "model.remove", target: before.name, before: shownModel(before) }))
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)
