/** Which client protocol an error is told in, by the route. */
import { errorBody } from "./anthropic/AnthropicMessagesAnswer.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import type { ErrorBodyOf } from "./Failure.ts"
import { errorBody as responsesErrorBody } from "./openai/OpenAiResponsesErrors.ts"

const byPrefix: ReadonlyArray<readonly [prefix: string, body: ErrorBodyOf]> = [
  ["/v1/messages", errorBody],
  ["/v1/responses", responsesErrorBody]
]

const isUnder = (path: string, prefix: string): boolean => path === prefix || path.startsWith(`${prefix}/`)

/** `path`: the matched route's pattern, or the request's own path where none matched. */
export const errorBodyFor = (path: string): ErrorBodyOf =>
  byPrefix.find(([prefix]) => isUnder(path, prefix))?.[1] ?? ErrorEnvelope.bodyOf
