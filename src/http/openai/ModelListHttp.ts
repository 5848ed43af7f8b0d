import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { ModelNotFound } from "../../domain/RequestError.ts"
import { Modes } from "../../orchestrate/Mode.ts"
import { ProviderRegistry } from "../../provider/ProviderRegistry.ts"
import { ModelRegistry } from "../../route/ModelRegistry.ts"
import { BuiltApi } from "../Api.ts"
import { Caller } from "../Authentication.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { anthropicPage, namedModels, toAnthropic, toOpenAi } from "./ModelListWire.ts"

/** `/v1/models`. */
export const ModelListHttp = HttpApiBuilder.group(
  BuiltApi,
  "modelList",
  Effect.fnUntraced(function*(handlers) {
    const models = yield* ModelRegistry
    const modes = yield* Modes
    const providers = yield* ProviderRegistry

    const all = Effect.gen(function*() {
      const { allows } = yield* Caller
      yield* models.ready
      const listed = models.list().filter((card) => card.enabled && providers.isEnabled(card.provider) && allows(card))
      return namedModels(listed, modes.names)
    })

    return handlers
      .handle("list", ({ headers, query }) =>
        Effect.map(all, (list) =>
          headers["anthropic-version"] === undefined
            ? { object: "list" as const, data: list.map(toOpenAi) }
            : anthropicPage(list, query)))
      .handle("get", ({ headers, params: { name } }) =>
        Effect.gen(function*() {
          const found = (yield* all).find(({ id }) => id === name)
          // The registry's own answer names what is near; a model that is there but switched off is as unknown.
          if (found === undefined) return yield* Effect.andThen(models.resolve(name), Effect.fail(new ModelNotFound({ model: name, near: [] })))
          return headers["anthropic-version"] === undefined ? toOpenAi(found) : toAnthropic(found)
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)
