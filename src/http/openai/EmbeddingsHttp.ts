import { Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Orchestrator } from "../../orchestrate/Orchestrator.ts"
import { Settings } from "../../Settings.ts"
import { Api } from "../Api.ts"
import { Caller } from "../Authentication.ts"
import { readJson, tooLarge } from "../BodyLimit.ts"
import * as EmbeddingsWire from "./EmbeddingsWire.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { RequestContext } from "../RequestContext.ts"
import * as RunHttp from "../RunHttp.ts"

/** `POST /v1/embeddings`. */
export const EmbeddingsHttp = HttpApiBuilder.group(
  Api,
  "embeddings",
  Effect.fnUntraced(function*(handlers) {
    const orchestrator = yield* Orchestrator
    const { maxBodyBytes } = yield* Settings

    const serve = Effect.fnUntraced(function*({ request }: { readonly request: HttpServerRequest.HttpServerRequest }) {
      const { clientKey } = yield* Caller
      const facts = yield* RequestContext
      const body = yield* readJson(request)
      if (body.bytes > maxBodyBytes) return yield* tooLarge(maxBodyBytes)
      const call = yield* Effect.fromResult(EmbeddingsWire.decode(body.value, request.headers))
      facts.taken = true
      const result = yield* orchestrator.embed({ ...call, id: facts.id, clientKey }, ErrorEnvelope.describe)
      const answer = EmbeddingsWire.answerOf(result, call.embedding)
      return HttpServerResponse.jsonUnsafe(answer, { headers: RunHttp.headersOf(result) })
    }, Effect.catch(ErrorEnvelope.respond))

    return handlers.handleRaw("embeddings", serve)
  })
)
