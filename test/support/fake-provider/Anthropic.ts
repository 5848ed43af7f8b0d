/** Anthropic: messages, token counting and models. */
import { check, checkMessages } from "./AnthropicRules.ts"
import type {
  Frame,
  Json,
  Lookup,
  Part,
  ProblemFacts,
  ProblemKind,
  Prompt,
  Protocol,
  Reply,
  Usage,
  Vendor
} from "./Wire.ts"
import {
  argumentsText,
  bearerKey,
  hexOf,
  listOf,
  numberOf,
  objectOf,
  piecesOf,
  stringsOf,
  textOf,
  tokensOf
} from "./Wire.ts"

// --- request in

const contentText = (content: unknown): string =>
  typeof content === "string" ? content : listOf(content).map((block) => textOf(block["text"])).join("\n")

/** Everything in a content that counts as tokens. */
const countedText = (content: unknown): string =>
  typeof content === "string"
    ? content
    : listOf(content).map((block) =>
      block["type"] === "tool_result"
        ? contentText(block["content"])
        : textOf(block["text"]) + textOf(block["thinking"]) + ("input" in block ? JSON.stringify(block["input"]) : "")
    ).join("")

const read = (body: Json): Prompt => {
  const messages = listOf(body["messages"])
  const users = messages.filter((message) => message["role"] === "user")
  const results = listOf(messages.at(-1)?.["content"]).filter((block) => block["type"] === "tool_result")
  const tools = listOf(body["tools"])
  const choice = objectOf(body["tool_choice"])
  const format = objectOf(objectOf(body["output_config"])["format"])
  return {
    model: textOf(body["model"]),
    stream: body["stream"] === true,
    user: users.map((message) => contentText(message["content"])).findLast((text) => text !== "") ?? "",
    toolResult: results.length === 0 ? undefined : results.map((block) => contentText(block["content"])).join("\n"),
    tokens: tokensOf(
      contentText(body["system"]) + messages.map((message) => countedText(message["content"])).join("") +
        (tools.length > 0 ? JSON.stringify(tools) : "")
    ),
    maxTokens: numberOf(body["max_tokens"]),
    stop: stringsOf(body["stop_sequences"]),
    tools: tools.map((tool) => ({ name: textOf(tool["name"]), schema: objectOf(tool["input_schema"]) })),
    forcedTool: choice["type"] === "any" || (choice["type"] === "tool" && textOf(choice["name"])),
    json: format["type"] === "json_schema" && objectOf(format["schema"]),
    choices: 1,
    logprobs: undefined,
    includeUsage: true,
    thinking: ["enabled", "adaptive"].includes(textOf(objectOf(body["thinking"])["type"])),
    variant: "messages"
  }
}

// --- answer out

const usageBody = (usage: Usage): Json => ({
  input_tokens: usage.prompt - usage.cached - usage.cacheWrite,
  cache_creation_input_tokens: usage.cacheWrite,
  cache_read_input_tokens: usage.cached,
  cache_creation: { ephemeral_5m_input_tokens: usage.cacheWrite, ephemeral_1h_input_tokens: 0 },
  output_tokens: usage.completion
})

const stopReason = (reply: Reply): string =>
  reply.finish === "stop"
    ? "end_turn"
    : ({ length: "max_tokens", tool_calls: "tool_use", content_filter: "refusal" } as const)[reply.finish]

const stopDetails = (reply: Reply): Json =>
  reply.finish === "content_filter" ? { stop_details: { type: "refusal", category: null, explanation: null } } : {}

const signatureOf = (reply: Reply, part: Part & { type: "reasoning" }): string =>
  part.signature ?? Buffer.from(hexOf(reply.id + part.text, 64)).toString("base64")

/** A content block; `empty` as its `content_block_start` shows it. */
const blockOf = (reply: Reply, part: Part, at: number, empty: boolean): Json => {
  switch (part.type) {
    case "reasoning":
      return { type: "thinking", thinking: empty ? "" : part.text, signature: empty ? "" : signatureOf(reply, part) }
    case "tool_call":
      return {
        type: "tool_use",
        id: part.id ?? `toolu_${hexOf(reply.id + at, 24)}`,
        name: part.name,
        input: empty ? {} : parsedArguments(part),
        caller: { type: "direct" }
      }
    default:
      return { type: "text", text: empty ? "" : part.text }
  }
}

const parsedArguments = (part: Part & { type: "tool_call" }): unknown => {
  try {
    return JSON.parse(argumentsText(part.arguments))
  } catch {
    return {}
  }
}

const message = (reply: Reply, fields: Json): Json => ({
  id: `msg_01${reply.id.slice(0, 22)}`,
  type: "message",
  role: "assistant",
  model: reply.prompt.model,
  container: null,
  stop_details: null,
  ...fields
})

const answer = (reply: Reply): Json =>
  message(reply, {
    content: reply.choices === 0 ? [] : reply.parts.map((part, at) => blockOf(reply, part, at, false)),
    stop_reason: stopReason(reply),
    stop_sequence: null,
    ...stopDetails(reply),
    usage: reply.distort({ ...usageBody(reply.usage), service_tier: "standard" })
  })

// --- stream out

function* stream(reply: Reply): Iterable<Frame> {
  const event = (stage: Frame["stage"], type: string, fields: Json, tokens = 0): Frame => ({
    stage,
    event: type,
    data: { type, ...fields },
    tokens
  })
  const opening = reply.distort({ ...usageBody({ ...reply.usage, completion: 1 }), service_tier: "standard" })
  yield event("open", "message_start", {
    message: message(reply, { content: [], stop_reason: null, stop_sequence: null, usage: opening })
  })
  const progress = (tokens: number, fields: Json) => ({
    delta: { stop_reason: null, stop_sequence: null, ...fields },
    usage: reply.distort(usageBody({ ...reply.usage, completion: tokens }))
  })
  let pinged = false
  for (const { first, index, last, part, text, tokens } of reply.choices === 0 ? [] : piecesOf(reply)) {
    if (first) {
      yield event("open", "content_block_start", { index, content_block: blockOf(reply, part, index, true) }, tokens)
    }
    if (!pinged) yield event("open", "ping", {})
    pinged = true
    yield event("content", "content_block_delta", { index, delta: deltaOf(part, text) }, tokens)
    if (reply.usageInEachChunk) yield event("content", "message_delta", progress(tokens, {}), tokens)
    if (last && part.type === "reasoning") {
      const delta = { type: "signature_delta", signature: signatureOf(reply, part) }
      yield event("content", "content_block_delta", { index, delta }, tokens)
    }
    if (last) yield event("content", "content_block_stop", { index }, tokens)
  }
  const finish = { stop_reason: stopReason(reply), ...stopDetails(reply) }
  yield event("finish", "message_delta", progress(reply.usage.completion, finish), reply.usage.completion)
  yield event("end", "message_stop", {})
}

const deltaOf = (part: Part, text: string): Json => {
  switch (part.type) {
    case "reasoning":
      return { type: "thinking_delta", thinking: text }
    case "tool_call":
      return { type: "input_json_delta", partial_json: text }
    default:
      return { type: "text_delta", text }
  }
}

const messages: Protocol = {
  read,
  check,
  answer,
  stream,
  errorEvent: (body) => ({ stage: "content", event: "error", data: body }),
  newline: "\n"
}

// --- lookups

const models = ({ models, path, query }: Lookup) => {
  const cards = models.map((model) => ({
    type: "model",
    id: model.id,
    display_name: model.id.replaceAll("-", " "),
    created_at: "2025-09-29T00:00:00Z",
    max_input_tokens: model.context,
    max_tokens: model.maxOutput
  }))
  if (path["model"] !== undefined) {
    const found = cards.find((card) => card.id === path["model"])
    return found === undefined ? { kind: "model_not_found" as const } : { json: found }
  }
  const from = cards.findIndex((card) => card.id === query.get("after_id")) + 1
  const data = cards.slice(from, from + Number(query.get("limit") ?? 20))
  return {
    json: {
      data,
      has_more: from + data.length < cards.length,
      first_id: data[0]?.id ?? null,
      last_id: data.at(-1)?.id ?? null
    }
  }
}

const countTokens = ({ body }: Lookup) => checkMessages(body) ?? { json: { input_tokens: read(body).tokens } }

// --- errors out

type Row = readonly [status: number, type: string, message: string]

const problems: Readonly<Record<ProblemKind, (facts: ProblemFacts) => Row>> = {
  malformed_body: () => [400, "invalid_request_error", "The request body is not valid JSON"],
  invalid_request: () => [400, "invalid_request_error", "Invalid request"],
  context_length: ({ limit, tokens }) => [
    400, "invalid_request_error",
    `prompt is too long: ${tokens} tokens > ${limit} maximum`
  ],
  missing_key: () => [401, "authentication_error", "x-api-key header is required"],
  invalid_key: () => [401, "authentication_error", "invalid x-api-key"],
  billing: () => [402, "billing_error", "There is an issue with your billing or payment information."],
  permission: () => [403, "permission_error", "Your API key does not have permission to use the specified resource."],
  unknown_path: () => [404, "not_found_error", "Not Found"],
  model_not_found: ({ model }) => [404, "not_found_error", `model: ${model}`],
  timeout: () => [408, "timeout_error", "Request timed out"],
  conflict: () => [409, "conflict_error", "Conflict"],
  too_large: () => [413, "request_too_large", "Request exceeds the maximum size"],
  unprocessable: () => [422, "invalid_request_error", "Unprocessable request"],
  rate_limit: () => [
    429, "rate_limit_error",
    "This request would exceed your organization's rate limit of 50 requests per minute. For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for current usage. Please reduce the prompt length or the maximum tokens requested, or try again later."
  ],
  quota: () => [
    400, "invalid_request_error",
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
  ],
  content_policy: () => [400, "invalid_request_error", "Output blocked by content filtering policy"],
  server_error: () => [500, "api_error", "Internal server error"],
  bad_gateway: () => [502, "api_error", "Bad gateway"],
  unavailable: () => [503, "api_error", "Service unavailable"],
  gateway_timeout: () => [504, "timeout_error", "Request timed out"],
  overloaded: () => [529, "overloaded_error", "Overloaded"]
}

const error: Vendor["error"] = (problem, facts) => {
  const [status, type, text] = problems[problem.kind](facts)
  return {
    status: problem.status ?? status,
    body: { type: "error", error: { type, message: problem.message ?? text }, request_id: `req_${facts.requestId}` }
  }
}

// --- the vendor

export const anthropic: Vendor = {
  name: "anthropic",
  prefix: "/anthropic",
  base: "/anthropic",
  models: [
    { id: "claude-opus-4-5", context: 200_000, maxOutput: 64_000 },
    { id: "claude-sonnet-4-6", context: 200_000, maxOutput: 64_000 },
    { id: "claude-haiku-4-5", context: 200_000, maxOutput: 64_000 }
  ],
  routes: [
    { method: "POST", path: /^\/v1\/messages$/, operation: "chat", protocol: messages },
    { method: "POST", path: /^\/v1\/messages\/count_tokens$/, operation: "count_tokens", lookup: countTokens },
    { method: "GET", path: /^\/v1\/models(?:\/(?<model>[^/]+))?$/, operation: "models", lookup: models }
  ],
  key: (headers, query) => typeof headers["x-api-key"] === "string" ? headers["x-api-key"] : bearerKey(headers, query),
  precheck: (headers) =>
    "anthropic-version" in headers ? undefined : { kind: "invalid_request", message: "anthropic-version: header is required" },
  headers: (requestId) => ({
    "request-id": `req_${requestId}`,
    "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2030-01-01T00:00:00Z",
    "anthropic-ratelimit-tokens-limit": "80000",
    "anthropic-ratelimit-tokens-remaining": "79000",
    "anthropic-ratelimit-tokens-reset": "2030-01-01T00:00:00Z"
  }),
  errorHeaders: ({ kind }) => ({
    "x-should-retry": String(["rate_limit", "server_error", "unavailable", "overloaded", "timeout"].includes(kind))
  }),
  error
}
