/** Errors in the vendors' own words, as they were seen in their documentation and in public reports, and what TokenHub takes them for. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { Fault } from "../../src/domain/ProviderError.ts"
import type { VendorName } from "../support/fake-provider/Wire.ts"
import { adapterFor, callOf, Fake, layer as harness } from "./Harness.ts"

interface Row {
  readonly vendor: string
  readonly status: number
  readonly body: object | string
  readonly expected: Fault
  readonly headers?: Readonly<Record<string, string>>
  readonly retryAfterMs?: number
}

const openAi = (message: string, type: string | null, code: string | null, param: string | null = null) => ({ error: { message, type, param, code } })

const mistral = (message: string, type: string, code: string | null) => ({ object: "error", message, type, param: null, code })

const anthropic = (type: string, message: string) => ({ type: "error", error: { type, message }, request_id: "req_011" })

const google = (code: number, status: string, message: string, details: ReadonlyArray<object> = []) => ({ error: { code, message, status, details } })

const row = (vendor: string, status: number, expected: Fault, body: object | string, more: Pick<Row, "headers" | "retryAfterMs"> = {}): Row => ({ vendor, status, expected, body, ...more })

const rows: ReadonlyArray<Row> = [
  row("openai", 400, "context_overflow", openAi("This model's maximum context length is 128000 tokens. However, your messages resulted in 130017 tokens. Please reduce the length of the messages.", "invalid_request_error", "context_length_exceeded", "messages")),
  row("openai", 400, "context_overflow", openAi("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300010 tokens. Please reduce the length of the messages.", "invalid_request_error", "context_length_exceeded", "messages")),
  row("openai", 401, "authentication", openAi("Incorrect API key provided: sk-proj-****abcd. You can find your API key at https://platform.openai.com/account/api-keys.", "invalid_request_error", "invalid_api_key")),
  row("openai", 403, "permission", { error: { code: "unsupported_country_region_territory", message: "Country, region, or territory not supported", param: null, type: "request_forbidden" } }),
  row("openai", 404, "model_not_found", openAi("The model `gpt-9` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found")),
  row("openai", 429, "quota_exhausted", openAi("You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.", "insufficient_quota", "insufficient_quota")),
  row("openai", 429, "rate_limited", openAi("Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29031, Requested 2169. Please try again in 2.4s.", "tokens", "rate_limit_exceeded"), { headers: { "retry-after-ms": "2400", "retry-after": "3" }, retryAfterMs: 2400 }),
  row("openai", 400, "content_filter", openAi("Your request was rejected as a result of our safety system.", "invalid_request_error", "content_policy_violation")),
  row("openai", 500, "server_error", openAi("The server had an error while processing your request. Sorry about that!", "server_error", null)),
  row("openai", 503, "overloaded", openAi("That model is currently overloaded with other requests. You can retry your request, or contact us through our help center.", "server_error", null)),
  row("openai", 400, "invalid_request", openAi("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "invalid_request_error", "unsupported_parameter", "max_tokens")),

  row("azure-openai", 429, "rate_limited", { error: { code: "429", message: "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds." } }, { headers: { "retry-after": "7" }, retryAfterMs: 7000 }),
  row("azure-openai", 400, "content_filter", { error: { message: "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", type: null, param: "prompt", code: "content_filter", status: 400, innererror: { code: "ResponsibleAIPolicyViolation", content_filter_result: {} } } }),
  row("azure-openai", 404, "model_not_found", { error: { code: "DeploymentNotFound", message: "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again." } }),
  row("azure-openai", 401, "authentication", { error: { code: "401", message: "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription." } }),

  row("mistral", 401, "authentication", { message: "Unauthorized", request_id: "b1" }),
  row("mistral", 429, "rate_limited", mistral("Rate limit exceeded", "rate_limited", "1300")),
  row("mistral", 429, "rate_limited", { message: "Requests rate limit exceeded" }),
  row("mistral", 503, "overloaded", mistral("Service tier capacity exceeded for this model.", "invalid_request_error", null)),
  row("mistral", 400, "model_not_found", mistral("Invalid model: mistral-giant", "invalid_model", "1500")),
  row("mistral", 400, "context_overflow", mistral("Prompt contains 40960 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "invalid_request_prompt", "3051")),
  row("mistral", 422, "unprocessable", { detail: [{ type: "extra_forbidden", loc: ["body", "stream_options"], msg: "Extra inputs are not permitted", input: {} }] }),

  row("groq", 413, "payload_too_large", { error: { message: "Request too large for model `llama-3.1-8b-instant` in organization `org_x` service tier `on_demand` on tokens per minute (TPM): Limit 6000, Requested 12328, please reduce your message size and try again. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing", type: "tokens", code: "rate_limit_exceeded" } }),
  row("groq", 429, "rate_limited", { error: { message: "Rate limit reached for model `llama-3.3-70b-versatile` in organization `org_x` service tier `on_demand` on tokens per minute (TPM): Limit 12000, Used 11020, Requested 3619. Please try again in 13.1s. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing", type: "tokens", code: "rate_limit_exceeded" } }, { headers: { "retry-after": "14" }, retryAfterMs: 14_000 }),
  row("groq", 400, "context_overflow", openAi("Please reduce the length of the messages or completion.", "invalid_request_error", "context_length_exceeded", "messages")),
  row("groq", 498, "overloaded", { error: { message: "Flex tier capacity exceeded for this model", type: "flex_capacity", code: "capacity_exceeded" } }),
  row("groq", 503, "overloaded", { error: { message: "llama-3.3-70b-versatile is currently over capacity. Please try again and back off exponentially. Visit https://groqstatus.com to see if there is an active incident.", type: "internal_server_error" } }),
  row("groq", 401, "authentication", openAi("Invalid API Key", "invalid_request_error", "invalid_api_key")),

  row("deepseek", 402, "quota_exhausted", openAi("Insufficient Balance", "unknown_error", "invalid_request_error")),
  row("deepseek", 401, "authentication", openAi("Authentication Fails, Your api key: ****abcd is invalid", "authentication_error", "invalid_request_error")),
  row("deepseek", 400, "context_overflow", openAi("This model's maximum context length is 65536 tokens. However, you requested 70012 tokens (66012 in the messages, 4000 in the completion). Please reduce the length of the messages or completion.", "invalid_request_error", "invalid_request_error")),
  row("deepseek", 400, "model_not_found", openAi("Model Not Exist", "invalid_request_error", "invalid_request_error")),
  row("deepseek", 503, "overloaded", openAi("Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.", "service_unavailable_error", null)),

  row("together", 422, "context_overflow", openAi("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9001 `inputs` tokens and 512 `max_new_tokens`", "invalid_request_error", null, "max_tokens")),
  row("together", 404, "model_not_found", openAi("Unable to access model nobody/nothing. Please visit https://api.together.ai/models to view the list of supported models.", "invalid_request_error", "model_not_available")),
  row("together", 429, "rate_limited", openAi("You have reached the rate limit specific to this model. The maximum rate limit for this model is 6.0 queries per minute.", "model_rate_limit", null)),
  row("together", 402, "quota_exhausted", openAi("Credit limit exceeded, please navigate to https://api.together.ai/settings/billing to upgrade your plan.", "credit_limit", null)),

  row("openrouter", 400, "model_not_found", { error: { message: "deepseek/deepseek-coder is not a valid model ID", code: 400 }, user_id: "user_x" }),
  row("openrouter", 402, "quota_exhausted", { error: { message: "Insufficient credits. This account never purchased credits. Make sure your key is on the correct account or org, and if so, purchase more at https://openrouter.ai/settings/credits", code: 402 } }),
  row("openrouter", 402, "quota_exhausted", { error: { message: "This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, but can only afford 222.", code: 402 } }),
  row("openrouter", 403, "content_filter", { error: { message: "Your chosen model requires moderation and your input was flagged for violence. No credits were charged.", code: 403, metadata: { reasons: ["violence"], flagged_input: "…" } } }),
  row("openrouter", 400, "context_overflow", { error: { message: "This endpoint's maximum context length is 131072 tokens. However, you requested about 140212 tokens (136116 of text input, 4096 in the output). Please reduce the length of either one, or use the \"middle-out\" transform to compress your prompt automatically.", code: 400 } }),
  row("openrouter", 502, "unavailable", { error: { message: "Provider returned error", code: 502, metadata: { raw: "upstream connect error", provider_name: "X" } } }),

  row("xai", 400, "authentication", { code: "Client specified an invalid argument", error: "Incorrect API key provided: xa***cd. You can obtain an API key from https://console.x.ai." }),
  row("xai", 400, "context_overflow", { code: "Client specified an invalid argument", error: "This model's maximum prompt length is 131072 but the request contains 136973 tokens." }),
  row("xai", 400, "context_overflow", { code: "invalid-argument", error: "Failed to start sampling: [input_too_large] Current message (1149677 tokens) exceeds budget (975424 tokens)" }),
  row("xai", 404, "model_not_found", { code: "Some requested entity was not found", error: "The model grok-9 does not exist or your team does not have access to it." }),
  row("xai", 429, "rate_limited", { code: "Some resource has been exhausted", error: "Too many tokens for team 11111111-1111-1111-1111-111111111111 and model grok-4-0709. Your team's rate limit is — Tokens per Minute (actual/limit): 65605/16000." }),
  row("xai", 429, "quota_exhausted", { code: "Some resource has been exhausted", error: "Your team 11111111-1111-1111-1111-111111111111 has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit." }),

  row("ollama", 404, "model_not_found", openAi("model \"nothing\" not found, try pulling it first", "api_error", null)),
  row("vllm", 400, "context_overflow", { object: "error", message: "This model's maximum context length is 4096 tokens. However, you requested 5012 tokens (4000 in the messages, 1012 in the completion). Please reduce the length of the messages or completion.", type: "BadRequestError", param: null, code: 400 }),
  row("vllm", 400, "context_overflow", { error: { message: "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 12 input tokens (5000 > 4096 - 12).", type: "BadRequestError", param: "max_tokens", code: 400 } }),
  row("vllm", 404, "model_not_found", { object: "error", message: "The model `nothing` does not exist.", type: "NotFoundError", param: null, code: 404 }),
  row("vllm", 401, "authentication", { error: "Unauthorized" }),
  row("lm-studio", 400, "context_overflow", { error: "Trying to keep the first 14538 tokens when context the overflows. However, the model is loaded with context length of only 2048 tokens, which is not enough. Try to load the model with a larger context length, or provide a shorter input" }),
  row("openai-compatible", 400, "context_overflow", { error: { code: 400, message: "the request exceeds the available context size. try increasing the context size or enable context shift", type: "exceed_context_size_error", n_prompt_tokens: 5000, n_ctx: 4096 } }),
  row("openai-compatible", 400, "context_overflow", { message: "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4300. Try using a shorter prompt." }),
  row("openai-compatible", 429, "rate_limited", "Too Many Requests"),
  row("openai-compatible", 418, "invalid_request", { teapot: true }),

  row("anthropic", 400, "context_overflow", anthropic("invalid_request_error", "prompt is too long: 210049 tokens > 200000 maximum")),
  row("anthropic", 400, "context_overflow", anthropic("invalid_request_error", "input length and `max_tokens` exceed context limit: 190312 + 20000 > 200000, decrease input length or `max_tokens` and try again")),
  row("anthropic", 400, "quota_exhausted", anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.")),
  row("anthropic", 400, "permission", anthropic("invalid_request_error", "This organization has been disabled.")),
  row("anthropic", 401, "authentication", anthropic("authentication_error", "invalid x-api-key")),
  row("anthropic", 403, "permission", anthropic("permission_error", "Your API key does not have permission to use the specified resource.")),
  row("anthropic", 404, "model_not_found", anthropic("not_found_error", "model: claude-9")),
  row("anthropic", 413, "payload_too_large", anthropic("request_too_large", "Request exceeds the maximum size")),
  row("anthropic", 429, "rate_limited", anthropic("rate_limit_error", "This request would exceed the rate limit for your organization of 40,000 input tokens per minute. Please reduce the prompt length or the maximum tokens requested, or try again later."), { headers: { "retry-after": "21" }, retryAfterMs: 21_000 }),
  row("anthropic", 500, "server_error", anthropic("api_error", "Internal server error")),
  row("anthropic", 529, "overloaded", anthropic("overloaded_error", "Overloaded")),

  row("gemini", 400, "context_overflow", google(400, "INVALID_ARGUMENT", "The input token count (1200345) exceeds the maximum number of tokens allowed (1048576).")),
  row("gemini", 400, "authentication", google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "API_KEY_INVALID", domain: "googleapis.com" }])),
  row("gemini", 403, "authentication", google(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key.")),
  row("gemini", 400, "permission", google(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")),
  row("gemini", 404, "model_not_found", google(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods.")),
  row("gemini", 429, "rate_limited", google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.", [
    { "@type": "type.googleapis.com/google.rpc.QuotaFailure", violations: [{ quotaMetric: "generativelanguage.googleapis.com/generate_content_free_tier_requests", quotaId: "GenerateRequestsPerMinutePerProjectPerModel-FreeTier" }] },
    { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "37s" }
  ]), { retryAfterMs: 37_000 }),
  row("gemini", 429, "quota_exhausted", google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details.", [
    { "@type": "type.googleapis.com/google.rpc.QuotaFailure", violations: [{ quotaMetric: "generativelanguage.googleapis.com/generate_content_free_tier_requests", quotaId: "GenerateRequestsPerDayPerProjectPerModel-FreeTier" }] }
  ])),
  row("gemini", 503, "overloaded", google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
  row("gemini", 500, "server_error", google(500, "INTERNAL", "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"))
]

const speaks = (vendor: string): VendorName => (vendor === "anthropic" || vendor === "gemini" ? vendor : vendor === "azure-openai" ? "azure" : "openai")

layer(harness, { excludeTestServices: true })("an error in the words of", (it) => {
  for (const [at, { body, expected, headers = {}, retryAfterMs, status, vendor }] of rows.entries()) {
    const text = typeof body === "string" ? body : JSON.stringify(body)
    it.effect(`${vendor}, ${status} (${at}): ${expected}`, () =>
      Effect.gen(function*() {
        const fake = yield* Fake
        const adapter = yield* adapterFor(vendor, fake.url(speaks(vendor)) + (vendor === "azure-openai" ? "/openai/v1" : ""))
        fake.reset()
        fake.script(({ operation }) => operation === "chat" || operation === "responses" || operation === undefined, {
          raw: { status, headers: { "content-type": "application/json", ...headers }, body: text },
          always: true
        })
        const error = yield* Effect.flip(adapter.complete(callOf("some-model")))
        assert.strictEqual(error.fault, expected, text)
        if (retryAfterMs !== undefined) assert.strictEqual(error.retryAfterMs, retryAfterMs)
        assert.strictEqual(error.status, status)
      }).pipe(Effect.scoped))
  }
})
