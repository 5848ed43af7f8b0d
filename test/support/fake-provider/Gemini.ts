/** Google's Gemini API (v1beta): generateContent, streamGenerateContent, batchEmbedContents, countTokens and models. */
import { check, field, isThirdGeneration } from "./GeminiRules.ts"
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
import { argumentsText, hexOf, listOf, numberOf, objectOf, piecesOf, stringsOf, textOf, tokensOf, vectorOf } from "./Wire.ts"

// --- request in

const partsText = (content: Json): string =>
  listOf(content["parts"]).map((part) => textOf(part["text"])).join("\n")

const read = (stream: boolean) => (body: Json, model: string | undefined, query: URLSearchParams): Prompt => {
  const contents = listOf(body["contents"])
  const last = contents.at(-1) ?? {}
  const results = listOf(last["parts"]).map((part) => field(part, "functionResponse"))
    .filter((item) => item !== undefined)
  const config = objectOf(field(body, "generationConfig"))
  const tools = listOf(body["tools"]).flatMap((tool) => listOf(field(tool, "functionDeclarations")))
  const calling = objectOf(field(objectOf(field(body, "toolConfig")), "functionCallingConfig"))
  const schema = field(config, "responseJsonSchema") ?? field(config, "responseSchema")
  const said = contents.filter((content) => content["role"] !== "model").map(partsText)
  const asked = contents.map((content) =>
    partsText(content) +
    listOf(content["parts"]).filter((part) => !("text" in part)).map((part) => JSON.stringify(part)).join("")
  )
  return {
    model: model ?? "",
    stream,
    user: said.findLast((text) => text !== "") ?? "",
    toolResult: results.length === 0
      ? undefined
      : results.map((result) => JSON.stringify(objectOf(result)["response"] ?? {})).join("\n"),
    tokens: tokensOf(
      partsText(objectOf(field(body, "systemInstruction"))) + asked.join("") +
        (tools.length > 0 ? JSON.stringify(tools) : "")
    ),
    maxTokens: numberOf(field(config, "maxOutputTokens")),
    stop: stringsOf(field(config, "stopSequences")),
    tools: tools.map((tool) => ({
      name: textOf(tool["name"]),
      schema: objectOf(field(tool, "parametersJsonSchema") ?? tool["parameters"])
    })),
    forcedTool: calling["mode"] === "ANY" && (stringsOf(field(calling, "allowedFunctionNames"))[0] ?? true),
    json: schema === undefined ? field(config, "responseMimeType") === "application/json" : objectOf(schema),
    choices: numberOf(field(config, "candidateCount")) ?? 1,
    logprobs: undefined,
    includeUsage: true,
    thinking: field(objectOf(field(config, "thinkingConfig")), "includeThoughts") === true,
    variant: stream && query.get("alt") !== "sse" ? "array" : "sse"
  }
}

// --- answer out

const usageBody = (usage: Usage): Json => ({
  promptTokenCount: usage.prompt,
  candidatesTokenCount: usage.completion - usage.reasoning,
  totalTokenCount: usage.prompt + usage.completion,
  ...(usage.cached > 0 ? { cachedContentTokenCount: usage.cached } : {}),
  promptTokensDetails: [{ modality: "TEXT", tokenCount: usage.prompt }],
  ...(usage.reasoning > 0 ? { thoughtsTokenCount: usage.reasoning } : {})
})

const finishReason = { stop: "STOP", tool_calls: "STOP", length: "MAX_TOKENS", content_filter: "SAFETY" } as const

/** From the third generation on, the first call of an answer is signed. */
const signed = ({ id, parts, prompt }: Reply, part: Part): Json =>
  isThirdGeneration(prompt.model) && parts.find(({ type }) => type === "tool_call") === part
    ? { thoughtSignature: Buffer.from(hexOf(`${id} signature`, 32)).toString("base64") }
    : {}

const partOf = (reply: Reply, part: Part, text: string): Json => {
  switch (part.type) {
    case "reasoning":
      return { text, thought: true, ...(part.signature === undefined ? {} : { thoughtSignature: part.signature }) }
    case "tool_call":
      return {
        functionCall: { ...(part.id === undefined ? {} : { id: part.id }), name: part.name, args: argumentsOf(part) },
        ...signed(reply, part)
      }
    default:
      return { text }
  }
}

const argumentsOf = (part: Part & { type: "tool_call" }): unknown => {
  try {
    return JSON.parse(argumentsText(part.arguments))
  } catch {
    return {}
  }
}

const body = (reply: Reply, parts: ReadonlyArray<Json>, finish: string | undefined, usage: Usage): Json => {
  const filtered = finish === "SAFETY" && parts.length === 0
  return {
    candidates: Array.from({ length: reply.choices }, (_, index) => ({
      ...(filtered ? {} : { content: { parts, role: "model" } }),
      ...(finish === undefined ? {} : { finishReason: finish }),
      index
    })),
    usageMetadata: reply.distort(usageBody(usage)),
    modelVersion: reply.prompt.model,
    responseId: hexOf(reply.id, 22)
  }
}

const answer = (reply: Reply): Json =>
  body(
    reply,
    reply.parts.map((part) => partOf(reply, part, part.type === "tool_call" ? "" : part.text)),
    finishReason[reply.finish],
    reply.usage
  )

// --- stream out

/** A function call arrives whole, in one event; each event counts the usage so far. */
function* stream(reply: Reply): Iterable<Frame> {
  const encode = reply.prompt.variant === "array" ? arrayItems() : (frame: Frame) => frame
  for (const { last, part, text, tokens } of piecesOf(reply)) {
    if (part.type === "tool_call" && !last) continue
    const usage = { ...reply.usage, completion: tokens, reasoning: Math.min(tokens, reply.usage.reasoning) }
    yield encode({ stage: "content", data: body(reply, [partOf(reply, part, text)], undefined, usage), tokens })
  }
  yield encode({
    stage: "finish",
    data: body(reply, [{ text: "" }], finishReason[reply.finish], reply.usage),
    tokens: reply.usage.completion
  })
  if (reply.prompt.variant === "array") yield { stage: "end", raw: "]" }
}

/** Without `alt=sse` the stream is one JSON array, item by item. */
const arrayItems = () => {
  let before = "["
  return ({ data, ...frame }: Frame): Frame => {
    const raw = before + JSON.stringify(data, undefined, 2)
    before = ",\r\n"
    return { ...frame, raw }
  }
}

const generate = (stream_: boolean): Protocol => ({
  read: read(stream_),
  check: (body, prompt) => check(body, prompt.model),
  answer,
  stream,
  errorEvent: (problem) => ({ stage: "content", data: problem }),
  newline: "\r\n"
})

// --- lookups

const models = ({ models, path, query }: Lookup) => {
  const cards = models.map((model) => ({
    name: `models/${model.id}`,
    version: "001",
    displayName: model.id.replaceAll("-", " "),
    description: "A model of the fake provider.",
    inputTokenLimit: model.context,
    outputTokenLimit: model.maxOutput,
    supportedGenerationMethods: ["generateContent", "countTokens"],
    temperature: 1,
    topP: 0.95,
    topK: 64
  }))
  if (path["model"] !== undefined) {
    const found = cards.find((card) => card.name === `models/${path["model"]}`)
    return found === undefined ? { kind: "model_not_found" as const } : { json: found }
  }
  const from = Number(query.get("pageToken") ?? 0)
  const page = cards.slice(from, from + Number(query.get("pageSize") ?? 50))
  const next = from + page.length
  return { json: { models: page, ...(next < cards.length ? { nextPageToken: String(next) } : {}) } }
}

const countTokens = ({ body: asked, path, query }: Lookup) => {
  const request = "generateContentRequest" in asked ? objectOf(asked["generateContentRequest"]) : asked
  const { tokens } = read(false)(request, path["model"], query)
  return { json: { totalTokens: tokens, promptTokensDetails: [{ modality: "TEXT", tokenCount: tokens }] } }
}

/** Vectors of 64-bit numbers; the answer says nothing of tokens. */
const batchEmbedContents = ({ body, path }: Lookup) => {
  const requests = listOf(body["requests"])
  const invalid = (message: string) => ({ kind: "invalid_request" as const, message: `* BatchEmbedContentsRequest.requests: ${message}\n` })
  if (requests.length === 0) return invalid("requests is not specified")
  if (requests.length > 100) return invalid("at most 100 requests can be in one batch")
  if (requests.some((request) => request["model"] !== `models/${path["model"]}`)) return invalid("model must match the one of the path")
  const texts = requests.map((request) => partsText(objectOf(request["content"])))
  const vectors = requests.map((request, at) =>
    vectorOf(texts[at] ?? "", numberOf(field(request, "outputDimensionality")) ?? 3072))
  return {
    json: { embeddings: vectors.map((vector) => ({ values: [...vector] })) },
    billed: texts.reduce((sum, text) => sum + tokensOf(text), 0)
  }
}

// --- errors out

type Row = readonly [status: number, name: string, message: string, details?: ReadonlyArray<Json>]

const typed = (type: string, fields: Json): Json => ({ "@type": `type.googleapis.com/google.rpc.${type}`, ...fields })

const badKey: ReadonlyArray<Json> = [
  typed("ErrorInfo", {
    reason: "API_KEY_INVALID",
    domain: "googleapis.com",
    metadata: { service: "generativelanguage.googleapis.com" }
  }),
  typed("LocalizedMessage", { locale: "en-US", message: "API key not valid. Please pass a valid API key." })
]

const quotaFailure = (id: string, model: string, retryAfter: string): ReadonlyArray<Json> => [
  typed("QuotaFailure", {
    violations: [{
      quotaMetric: "generativelanguage.googleapis.com/generate_content_free_tier_requests",
      quotaId: id,
      quotaDimensions: { location: "global", model },
      quotaValue: "10"
    }]
  }),
  typed("Help", {
    links: [{
      description: "Learn more about Gemini API quotas",
      url: "https://ai.google.dev/gemini-api/docs/rate-limits"
    }]
  }),
  typed("RetryInfo", { retryDelay: `${retryAfter || "37"}s` })
]

const exhausted =
  "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."

const problems: Readonly<Record<ProblemKind, (facts: ProblemFacts) => Row>> = {
  malformed_body: () => [400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unexpected token."],
  invalid_request: () => [400, "INVALID_ARGUMENT", "Request contains an invalid argument."],
  context_length: ({ limit, tokens }) => [
    400, "INVALID_ARGUMENT",
    `The input token count (${tokens}) exceeds the maximum number of tokens allowed (${limit}).`
  ],
  missing_key: () => [
    403, "PERMISSION_DENIED",
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API."
  ],
  invalid_key: () => [400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", badKey],
  billing: () => [
    400, "FAILED_PRECONDITION",
    "Gemini API free tier is not available in your country. Please enable billing on your project in Google AI Studio."
  ],
  permission: () => [
    403, "PERMISSION_DENIED",
    "Permission denied: Consumer does not have access to the requested resource."
  ],
  unknown_path: () => [404, "NOT_FOUND", "Requested entity was not found."],
  model_not_found: ({ model }) => [
    404, "NOT_FOUND",
    `models/${model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods.`
  ],
  timeout: () => [408, "DEADLINE_EXCEEDED", "Request timed out."],
  conflict: () => [409, "ABORTED", "The operation was aborted."],
  too_large: () => [413, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."],
  unprocessable: () => [422, "INVALID_ARGUMENT", "Request contains an invalid argument."],
  rate_limit: ({ model, retryAfter }) => [
    429, "RESOURCE_EXHAUSTED", `${exhausted}\nPlease retry in ${retryAfter || "37"}s.`,
    quotaFailure("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", model, retryAfter)
  ],
  quota: ({ model, retryAfter }) => [
    429, "RESOURCE_EXHAUSTED", exhausted,
    quotaFailure("GenerateRequestsPerDayPerProjectPerModel-FreeTier", model, retryAfter)
  ],
  content_policy: () => [400, "INVALID_ARGUMENT", "The request was blocked by our safety policy."],
  server_error: () => [
    500, "INTERNAL",
    "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
  ],
  bad_gateway: () => [502, "UNAVAILABLE", "Bad gateway."],
  unavailable: () => [503, "UNAVAILABLE", "The service is currently unavailable."],
  gateway_timeout: () => [504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."],
  overloaded: () => [503, "UNAVAILABLE", "The model is overloaded. Please try again later."]
}

const error: Vendor["error"] = (problem, facts) => {
  const [usual, name, message, details] = problems[problem.kind](facts)
  const status = problem.status ?? usual
  return {
    status,
    body: { error: { code: status, message: problem.message ?? message, status: name, ...(details && { details }) } }
  }
}

// --- the vendor

const verb = (name: string): RegExp => new RegExp(`^/v1beta/models/(?<model>.+):${name}$`)

export const gemini: Vendor = {
  name: "gemini",
  prefix: "/gemini",
  base: "/gemini",
  models: [
    { id: "gemini-2.5-pro", context: 1_048_576, maxOutput: 65_536 },
    { id: "gemini-2.5-flash", context: 1_048_576, maxOutput: 65_536 },
    { id: "gemini-embedding-001", context: 2_048, maxOutput: 0 }
  ],
  routes: [
    { method: "POST", path: verb("generateContent"), operation: "chat", protocol: generate(false) },
    { method: "POST", path: verb("streamGenerateContent"), operation: "chat", protocol: generate(true) },
    { method: "POST", path: verb("batchEmbedContents"), operation: "embeddings", lookup: batchEmbedContents },
    { method: "POST", path: verb("countTokens"), operation: "count_tokens", lookup: countTokens },
    { method: "GET", path: /^\/v1beta\/models(?:\/(?<model>[^/]+))?$/, operation: "models", lookup: models }
  ],
  key: (headers, query) =>
    typeof headers["x-goog-api-key"] === "string" ? headers["x-goog-api-key"] : query.get("key") ?? undefined,
  headers: () => ({
    vary: "Origin, X-Origin, Referer",
    server: "scaffolding on HTTPServer2",
    "server-timing": "gfet4t7; dur=12",
    "x-content-type-options": "nosniff"
  }),
  error
}
