import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { Modes } from "../../orchestrate/Mode.ts"
import { Router } from "../../route/Router.ts"
import { TokenCounter } from "../../route/TokenCounter.ts"
import { Settings } from "../../Settings.ts"
import { AnthropicMessagesApi } from "./AnthropicMessagesApi.ts"
import { anthropicMessages, decodeCount } from "./AnthropicMessagesWire.ts"
import { readJson, tooLarge } from "../BodyLimit.ts"
import * as DoorHttp from "../DoorHttp.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { isRecord, schemaFields } from "../Json.ts"
import * as RawRoutes from "../RawRoutes.ts"
import * as RunHttp from "../RunHttp.ts"
import * as RunOptions from "../RunOptions.ts"

/** `/v1/messages`, and `/v1/messages/count_tokens`, which is answered from here, whichever provider would be asked. */
export const AnthropicMessagesHttp = RawRoutes.layer(
  AnthropicMessagesApi,
  Effect.gen(function*() {
    const modes = yield* Modes
    const router = yield* Router
    const counter = yield* TokenCounter
    const { maxBodyBytes } = yield* Settings
    const serve = yield* DoorHttp.make

    const countTokens = Effect.fnUntraced(function*({ caller, request }: RawRoutes.Asked) {
      const { bytes, value } = yield* readJson(request, schemaFields)
      if (!isRecord(value)) return yield* new InvalidRequest({ message: "The body must be a JSON object" })
      const { tokenhub, ...body } = value
      const { chat, media, model } = yield* Effect.fromResult(decodeCount(body, request.headers))
      if (bytes > maxBodyBytes && !media) return yield* tooLarge(maxBodyBytes)
      const options = yield* Effect.fromResult(
        RunOptions.read({ headers: request.headers, model, tokenhub, modes: modes.names, refinements: 0 })
      )
      yield* RunHttp.checkNames(router, caller, options)
      return HttpServerResponse.jsonUnsafe({ input_tokens: yield* counter.count(chat) })
    }, Effect.catch(ErrorEnvelope.respond))

    return { messages: serve(anthropicMessages), countTokens }
  })
)
