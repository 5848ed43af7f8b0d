/** What the contract says of `Idempotency-Key`, which every POST under `/v1` takes. */
import type { OpenApi } from "effect/http-api"

export const header = "Idempotency-Key"

type Spec = Pick<OpenApi.OpenAPISpec, "paths">

const parameter = {
  name: header,
  in: "header",
  required: false,
  schema: { type: "string", minLength: 1, maxLength: 255, pattern: "^[ -~]+$" },
  description: "The same key with the same body, within 24 hours, gets the same answer again, and no provider is asked"
}

/** Every operation that takes the header, with it among its parameters. */
export const withIdempotencyKey = (spec: Record<string, unknown>): Record<string, unknown> => ({
  ...spec,
  paths: Object.fromEntries(Object.entries((spec as Spec).paths).map(([path, item]) => [path, path.startsWith("/v1/") ? withParameter(item) : item]))
})

const withParameter = ({ post, ...item }: Spec["paths"][string]) => ({
  ...item,
  ...(post === undefined ? {} : { post: { ...post, parameters: [...post.parameters, parameter] } })
})

/** The paragraph on it for the OpenAPI page. */
export const description = `Any POST under /v1 may carry the header \`${header}\`, 1 to 255 printable ASCII characters that the client chooses. A request with the same key, \
the same bytes as its body, the same client key and route gets the answer of the first one again, byte for byte, for 24 hours: a stream as a \
stream, with \`idempotent-replayed: true\` and the first request's id as \`original-request\`. No provider is asked, and nothing is paid. The body alone \
decides whether a request is the same, not its other headers. Another body under the key is a 422 \`idempotency_key_reused\`, a request whose first \
one still runs a 409 \`idempotency_key_in_use\` with Retry-After. Only whole answers with a 2xx of at most 1 MiB are kept: after an error, a stream that broke off, \
a client that left or a larger answer the key is free again. While the vault is locked answers are not kept.`
