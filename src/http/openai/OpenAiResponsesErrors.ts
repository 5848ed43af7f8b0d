/** Errors as clients of OpenAI's Responses API read them: fields by their names there. */
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import type { ErrorBodyOf, Failure } from "../Failure.ts"

/** OpenAI's words for what ended a response (`ResponseError.code`). */
export const codeOf = ({ status }: Failure): string =>
  status === 429 ? "rate_limit_exceeded" : status >= 400 && status < 500 ? "invalid_prompt" : "server_error"

/** The canonical form's fields that have another name here. */
const fields: { readonly [param: string]: string } = {
  logprobs: "include",
  response_format: "text.format",
  reasoning_effort: "reasoning.effort",
  max_tokens: "max_output_tokens"
}

/** Messages are numbered otherwise than the items that they were raised from. */
const paramOf = (param: string): string => (/^messages\b/.test(param) ? "input" : fields[param] ?? param)

export const errorBody: ErrorBodyOf = (failure, requestId) => {
  const { message, param } = failure
  if (param === undefined) return ErrorEnvelope.bodyOf(failure, requestId)
  const named = paramOf(param)
  return ErrorEnvelope.bodyOf({ ...failure, param: named, message: message.replace(param, () => named) }, requestId)
}
