import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { Orchestrator } from "../../orchestrate/Orchestrator.ts"
import { Settings } from "../../Settings.ts"
import { readJson, tooLarge } from "../BodyLimit.ts"
import { EmbeddingsApi } from "./EmbeddingsApi.ts"
import * as EmbeddingsWire from "./EmbeddingsWire.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import * as RawRoutes from "../RawRoutes.ts"
import * as RunHttp from "../RunHttp.ts"

/** `POST /v1/embeddings`. */
export const EmbeddingsHttp = RawRoutes.layer(
  EmbeddingsApi,
  Effect.gen(function*() {
    const orchestrator = yield* Orchestrator
    const { maxBodyBytes } = yield* Settings

    const embeddings = Effect.fnUntraced(function*({ caller: { clientKey }, facts, request }: RawRoutes.Asked) {
      const body = yield* readJson(request)
      if (body.bytes > maxBodyBytes) return yield* tooLarge(maxBodyBytes)
      const call = yield* Effect.fromResult(EmbeddingsWire.decode(body.value, request.headers))
      facts.taken = true
      const result = yield* orchestrator.embed({ ...call, id: facts.id, clientKey }, ErrorEnvelope.describe)
      const answer = EmbeddingsWire.answerOf(result, call.embedding)
      return HttpServerResponse.jsonUnsafe(answer, { headers: RunHttp.headersOf(result) })
    }, Effect.catch(ErrorEnvelope.respond))

    return { embeddings }
  })
)
