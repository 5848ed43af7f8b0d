/**
 * Azure OpenAI: OpenAI's chat completions under a deployment's path, with `api-key`, `api-version` and content filter
 * results.
 */
import { openAiError, openAiRoutes } from "./OpenAi.ts"
import { chatCompletions } from "./OpenAiChat.ts"
import type { Json, ProblemFacts, ProblemKind, Vendor } from "./Wire.ts"
import { bearerKey } from "./Wire.ts"

// --- errors out: Azure's front door has its own, the rest is OpenAI's

type Row = readonly [status: number, code: string, message: string]

const gateway: Partial<Record<ProblemKind, (facts: ProblemFacts) => Row>> = {
  missing_key: () => [401, "401", denied],
  invalid_key: () => [401, "401", denied],
  unknown_path: () => [404, "404", "Resource not found"],
  model_not_found: () => [
    404, "DeploymentNotFound",
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."
  ],
  rate_limit: ({ retryAfter }) => [
    429, "429",
    `Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after ${retryAfter || "6"} seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.`
  ],
  quota: () => [
    403, "403",
    "Out of call volume quota for Cognitive Services subscription. Quota will be replenished in 1 day."
  ],
  server_error: () => [500, "InternalServerError", "Internal server error"],
  gateway_timeout: () => [504, "Timeout", "The operation was timeout."]
}

const denied =
  "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."

const filteredPrompt: Json = {
  error: {
    message:
      "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
    type: null,
    param: "prompt",
    code: "content_filter",
    status: 400,
    innererror: {
      code: "ResponsibleAIPolicyViolation",
      content_filter_result: { violence: { filtered: true, severity: "medium" } }
    }
  }
}

const error: Vendor["error"] = (problem, facts) => {
  if (problem.kind === "content_policy") return { status: 400, body: filteredPrompt }
  const row = gateway[problem.kind]?.(facts)
  if (row === undefined) return openAiError(problem, facts)
  const [status, code, message] = row
  const body = { error: { code: problem.code ?? code, message: problem.message ?? message } }
  return { status: problem.status ?? status, body }
}

// --- the vendor

export const azure: Vendor = {
  name: "azure",
  prefix: "/azure",
  base: "/azure",
  models: [{ id: "gpt-4o", context: 128_000, maxOutput: 16_384 }],
  routes: [
    {
      method: "POST",
      path: /^\/openai\/deployments\/(?<model>[^/]+)\/chat\/completions$/,
      operation: "chat",
      protocol: chatCompletions("azure")
    },
    ...openAiRoutes("/openai/v1", "azure")
  ],
  key: (headers, query) => typeof headers["api-key"] === "string" ? headers["api-key"] : bearerKey(headers, query),
  precheck: (_headers, path, query) =>
    path.startsWith("/openai/deployments/") && !query.has("api-version") ? { kind: "unknown_path" } : undefined,
  headers: (requestId) => ({
    "apim-request-id": uuidOf(requestId),
    "x-request-id": uuidOf(requestId),
    "x-ms-region": "Sweden Central",
    "x-ms-rai-invoked": "true",
    "x-ratelimit-remaining-requests": "999",
    "x-ratelimit-remaining-tokens": "99990"
  }),
  error
}

const uuidOf = (hex: string): string =>
  hex.padEnd(32, "0").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, "$1-$2-$3-$4-$5")
