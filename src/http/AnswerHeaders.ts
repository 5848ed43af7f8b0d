import type { HttpServerResponse } from "effect/http"

/**
 * Adds headers to an answer with a body that was made for one request alone: it changes that answer. A copy with more headers costs
 * a small answer as much as all else about it.
 */
export const addHeaders = (
  response: HttpServerResponse.HttpServerResponse,
  headers: { readonly [name: string]: string }
): HttpServerResponse.HttpServerResponse => {
  Object.assign(response.headers, headers)
  return response
}
