/** OpenAI: chat completions, responses, models and embeddings. */
import { chatCompletions } from "./OpenAiChat.ts"
import { missing } from "./OpenAiChatRules.ts"
import { responses } from "./OpenAiResponses.ts"
import type { Lookup, ProblemFacts, ProblemKind, Route, Vendor } from "./Wire.ts"
import { bearerKey, numberOf, textOf, tokensOf, vectorOf } from "./Wire.ts"

// --- lookups

const models = ({ models, path }: Lookup) => {
  const cards = models.map((model) => ({ id: model.id, object: "model", created: 1_715_367_049, owned_by: "system" }))
  if (path["model"] === undefined) return { json: { object: "list", data: cards } }
  const found = cards.find((card) => card.id === path["model"])
  return found === undefined ? { kind: "model_not_found" as const } : { json: found }
}

const embeddings = ({ body }: Lookup) => {
  const input = body["input"]
  if (typeof input !== "string" && !Array.isArray(input)) return missing("input")
  const inputs: ReadonlyArray<unknown> = typeof input === "string" ? [input] : input
  const texts = inputs.map((item) => typeof item === "string" ? item : JSON.stringify(item))
  const dimensions = numberOf(body["dimensions"]) ?? 1536
  const tokens = texts.reduce((sum, text) => sum + tokensOf(text), 0)
  const data = texts.map((text, index) => {
    const vector = vectorOf(text, dimensions)
    const embedding = body["encoding_format"] === "base64" ? Buffer.from(vector.buffer).toString("base64") : [...vector]
    return { object: "embedding", index, embedding }
  })
  return {
    json: {
      object: "list",
      data,
      model: textOf(body["model"]),
      usage: { prompt_tokens: tokens, total_tokens: tokens }
    },
    billed: tokens
  }
}

// --- errors out

type Row = readonly [status: number, type: string | null, code: string | number | null, message: string]

const problems: Readonly<Record<ProblemKind, (facts: ProblemFacts) => Row>> = {
  malformed_body: () => [
    400, "invalid_request_error", null,
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)"
  ],
  invalid_request: () => [400, "invalid_request_error", null, "Invalid request."],
  context_length: ({ limit, tokens }) => [
    400, "invalid_request_error", "context_length_exceeded",
    `This model's maximum context length is ${limit} tokens. However, your messages resulted in ${tokens} tokens. Please reduce the length of the messages.`
  ],
  missing_key: () => [
    401, "invalid_request_error", null,
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys."
  ],
  invalid_key: ({ key }) => [
    401, "invalid_request_error", "invalid_api_key",
    `Incorrect API key provided: ${masked(key)}. You can find your API key at https://platform.openai.com/account/api-keys.`
  ],
  billing: () => [
    402, "billing_error", "billing_not_active",
    "Your account is not active, please check your billing details on our website."
  ],
  permission: ({ model }) => [
    403, "invalid_request_error", "model_not_found",
    `Project \`proj_fake\` does not have access to model \`${model}\``
  ],
  unknown_path: ({ method, path }) => [404, "invalid_request_error", null, `Invalid URL (${method} ${path})`],
  model_not_found: ({ model }) => [
    404, "invalid_request_error", "model_not_found",
    `The model \`${model}\` does not exist or you do not have access to it.`
  ],
  timeout: () => [408, "timeout", "timeout", "Request timed out."],
  conflict: () => [409, "invalid_request_error", "conflict", "The resource was updated by another process."],
  too_large: () => [413, "invalid_request_error", "request_too_large", "Request body is too large."],
  unprocessable: () => [
    422, "invalid_request_error", null,
    "Unable to process the request despite the format being correct."
  ],
  rate_limit: ({ model, retryAfter }) => [
    429, "requests", "rate_limit_exceeded",
    `Rate limit reached for ${model} in organization org-fake on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in ${retryAfter || "20"}s. Visit https://platform.openai.com/account/rate-limits to learn more.`
  ],
  quota: () => [
    429, "insufficient_quota", "insufficient_quota",
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
  ],
  content_policy: () => [
    400, "invalid_request_error", "content_policy_violation",
    "Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed by our safety system."
  ],
  server_error: ({ requestId }) => [
    500, "server_error", null,
    `The server had an error while processing your request. Sorry about that! You can retry your request, or contact us through our help center at help.openai.com if the error persists. (Please include the request ID ${requestId} in your message.)`
  ],
  bad_gateway: () => [502, "cf_bad_gateway", 502, "Bad gateway."],
  unavailable: () => [503, "cf_service_unavailable", 503, "Service Unavailable."],
  gateway_timeout: () => [504, "cf_gateway_timeout", 504, "Gateway timeout."],
  overloaded: () => [
    503, "server_error", "service_unavailable",
    "That model is currently overloaded with other requests. You can retry your request, or contact us through our help center at help.openai.com if the error persists."
  ]
}

const masked = (key: string): string =>
  key.length <= 12 ? "*".repeat(key.length) : `${key.slice(0, 8)}${"*".repeat(key.length - 12)}${key.slice(-4)}`

const contextParam: Partial<Record<ProblemKind, string>> = { context_length: "messages" }

/** OpenAI's error object; Azure answers most of its errors with it too. */
export const openAiError: Vendor["error"] = (problem, facts) => {
  const [status, type, code, message] = problems[problem.kind](facts)
  const param = problem.param ?? contextParam[problem.kind] ?? null
  return {
    status: problem.status ?? status,
    body: { error: { message: problem.message ?? message, type, param, code: problem.code ?? code } }
  }
}

// --- the vendor

/** The routes that OpenAI and Azure's newer surface share, below their base path. */
export const openAiRoutes = (base: string, variant: string): ReadonlyArray<Route> => [
  {
    method: "POST",
    path: new RegExp(`^${base}/chat/completions$`),
    operation: "chat",
    protocol: chatCompletions(variant)
  },
  { method: "POST", path: new RegExp(`^${base}/responses$`), operation: "responses", protocol: responses },
  { method: "POST", path: new RegExp(`^${base}/embeddings$`), operation: "embeddings", lookup: embeddings },
  { method: "GET", path: new RegExp(`^${base}/models(?:/(?<model>[^/]+))?$`), operation: "models", lookup: models }
]

export const openai: Vendor = {
  name: "openai",
  prefix: "/openai",
  base: "/openai/v1",
  models: [
    { id: "gpt-4o", context: 128_000, maxOutput: 16_384 },
    { id: "gpt-4o-mini", context: 128_000, maxOutput: 16_384 },
    { id: "gpt-4.1", context: 1_047_576, maxOutput: 32_768 },
    { id: "gpt-5", context: 400_000, maxOutput: 128_000 },
    { id: "text-embedding-3-small", context: 8_191, maxOutput: 0 }
  ],
  routes: openAiRoutes("/v1", "openai"),
  key: bearerKey,
  headers: (requestId) => ({
    "x-request-id": `req_${requestId}`,
    "openai-version": "2020-10-01",
    "openai-organization": "org-fake",
    "openai-processing-ms": "12",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999990",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "0s"
  }),
  errorHeaders: (problem) => problem.kind === "rate_limit" ? { "x-ratelimit-remaining-requests": "0" } : {},
  error: openAiError
}

/** One of the many vendors that took OpenAI's chat completions over, with fields of its own. */
export const compatible: Vendor = {
  ...openai,
  name: "compatible",
  prefix: "/compatible",
  base: "/compatible/v1",
  routes: openAiRoutes("/v1", "compatible")
}
