import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { Responses } from "../../account/Responses.ts"
import type { RequestError } from "../../domain/RequestError.ts"
import { NotFound } from "../../domain/RequestError.ts"
import type { RunResult } from "../../orchestrate/Run.ts"
import type { AnswerFacts, Json } from "../Door.ts"
import * as DoorHttp from "../DoorHttp.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import * as RawRoutes from "../RawRoutes.ts"
import { OpenAiResponsesApi } from "./OpenAiResponsesApi.ts"
import { itemsOf, openAiResponses } from "./OpenAiResponsesWire.ts"

/**
 * `/v1/responses`. What a request goes on from is spliced into its input here; what it asks to keep is kept before the client is
 * told of its end.
 */
export const OpenAiResponsesHttp = RawRoutes.layer(
  OpenAiResponsesApi,
  Effect.gen(function*() {
    const responses = yield* Responses
    const serve = yield* DoorHttp.make

    /** The conversation that a response ended. */
    const before = Effect.fnUntraced(function*(
      clientKey: string | null,
      id: unknown
    ): Effect.fn.Return<ReadonlyArray<Json>, RequestError> {
      if (typeof id !== "string") return []
      const kept = yield* responses.get(clientKey, id)
      return kept === undefined ? yield* notKept(id, "previous_response_id") : kept.items
    })

    /** An item, or the kept one that it refers to. */
    const resolve = (clientKey: string | null) => (item: Json): Effect.Effect<Json, RequestError> =>
      item["type"] === "item_reference" && typeof item["id"] === "string"
        ? Effect.map(responses.item(clientKey, item["id"]), (found) => found ?? item)
        : Effect.succeed(item)

    const prepare = Effect.fnUntraced(function*(body: Json, clientKey: string | null): Effect.fn.Return<Json, RequestError> {
      const earlier = yield* before(clientKey, body["previous_response_id"])
      const own = itemsOf(body)
      const refers = own.some(({ type }) => type === "item_reference")
      if (earlier.length === 0 && !refers && body["store"] !== true) return body
      const input = [...earlier, ...(refers ? yield* Effect.forEach(own, resolve(clientKey)) : own)]
      if (body["store"] === true) yield* responses.checkSize(input)
      return input.length === 0 ? body : { ...body, input }
    })

    /** An answer that can't be kept is given all the same: it is paid for. */
    const answered = (result: RunResult, facts: AnswerFacts, body: Json, clientKey: string | null): Effect.Effect<void> => {
      if (body["store"] !== true) return Effect.void
      const response = answerOf(result, facts, body)
      const output = Array.isArray(response["output"]) ? response["output"] : []
      return responses.keep(clientKey, { response, items: [...itemsOf(body), ...output] }).pipe(
        Effect.catch((error) => Effect.logWarning("A response could not be kept", { reason: error.message }))
      )
    }

    const get = Effect.fnUntraced(function*({ caller: { clientKey }, params: { id = "" } }: RawRoutes.Asked) {
      const kept = yield* responses.get(clientKey, id)
      return kept === undefined ? yield* notKept(id, "response_id") : HttpServerResponse.jsonUnsafe(kept.response)
    }, Effect.catch(ErrorEnvelope.respond))

    const remove = Effect.fnUntraced(function*({ caller: { clientKey }, params: { id = "" } }: RawRoutes.Asked) {
      return (yield* responses.remove(clientKey, id))
        ? HttpServerResponse.jsonUnsafe({ id, object: "response", deleted: true })
        : yield* notKept(id, "response_id")
    }, Effect.catch(ErrorEnvelope.respond))

    return { create: serve(openAiResponses, { prepare, answered }), get, remove }
  })
)

const notKept = (id: string, param: string): NotFound =>
  new NotFound({ message: `No response '${id}': only responses that were made with store: true are kept, for 30 days`, param })

/** The answer as the client gets it: the provider's own, with the settings that were served here, or ours. */
const answerOf = (result: RunResult, facts: AnswerFacts, body: Json): Json => {
  const { native } = result.completion
  if (native?.protocol !== openAiResponses.protocol) return openAiResponses.answer(result, facts, body)
  const own: Json = JSON.parse(Buffer.from(native.body).toString("utf8"))
  return { ...own, store: true, previous_response_id: body["previous_response_id"] ?? null }
}
