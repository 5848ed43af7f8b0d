/**
 * OpenAI's Responses API: plain answers and its typed stream events, with text, reasoning summaries and function
 * calls.
 */
import { check } from "./OpenAiResponsesRules.ts"
import type { Frame, Json, Part, Prompt, Protocol, Reply, Usage } from "./Wire.ts"
import { argumentsText, hexOf, isJson, listOf, numberOf, objectOf, piecesOf, textOf, tokensOf } from "./Wire.ts"

// --- request in

const inputText = (content: unknown): string =>
  typeof content === "string" ? content : listOf(content).map((part) => textOf(part["text"])).join("\n")

const read = (body: Json): Prompt => {
  const input = typeof body["input"] === "string" ? [{ role: "user", content: body["input"] }] : listOf(body["input"])
  const items: ReadonlyArray<Json> = input
  const last = items.at(-1)
  const tools = listOf(body["tools"]).filter((tool) => tool["type"] === "function")
  const choice = body["tool_choice"]
  const format = objectOf(objectOf(body["text"])["format"])
  const texts = items.map((item) => inputText(item["content"]) + textOf(item["output"]) + textOf(item["arguments"]))
  return {
    model: textOf(body["model"]),
    stream: body["stream"] === true,
    user: inputText(items.findLast((item) => item["role"] === "user")?.["content"]),
    toolResult: last?.["type"] === "function_call_output" ? textOf(last["output"]) : undefined,
    tokens: tokensOf(textOf(body["instructions"]) + texts.join("") + (tools.length > 0 ? JSON.stringify(tools) : "")),
    maxTokens: numberOf(body["max_output_tokens"]),
    stop: [],
    tools: tools.map((tool) => ({ name: textOf(tool["name"]), schema: objectOf(tool["parameters"]) })),
    forcedTool: choice === "required" || (isJson(choice) && textOf(choice["name"])),
    json: format["type"] === "json_schema" ? objectOf(format["schema"]) : format["type"] === "json_object",
    choices: 1,
    logprobs: undefined,
    includeUsage: true,
    thinking: "summary" in objectOf(body["reasoning"]),
    variant: Array.isArray(body["include"]) && body["include"].includes("reasoning.encrypted_content") ? "sealed" : "responses"
  }
}

// --- answer out

const usageBody = (usage: Usage): Json => ({
  input_tokens: usage.prompt,
  input_tokens_details: { cached_tokens: usage.cached },
  output_tokens: usage.completion,
  output_tokens_details: { reasoning_tokens: usage.reasoning },
  total_tokens: usage.prompt + usage.completion
})

const itemOf = (reply: Reply, part: Part, at: number, status: string): Json => {
  const id = hexOf(reply.id + at, 48)
  const empty = status === "in_progress"
  switch (part.type) {
    case "reasoning":
      return {
        id: `rs_${id}`,
        type: "reasoning",
        summary: empty ? [] : [{ type: "summary_text", text: part.text }],
        ...(reply.prompt.variant === "sealed" && !empty ? { encrypted_content: Buffer.from(hexOf(`${id} sealed`, 32)).toString("base64") } : {})
      }
    case "tool_call":
      return {
        id: `fc_${id}`,
        type: "function_call",
        status,
        arguments: empty ? "" : argumentsText(part.arguments),
        call_id: part.id ?? `call_${hexOf(reply.id + at, 24)}`,
        name: part.name
      }
    default: {
      const content = empty ? [] : [contentOf(part, part.text)]
      return { id: `msg_${id}`, type: "message", status, role: "assistant", content }
    }
  }
}

const contentOf = (part: Part, text: string): Json =>
  part.type === "refusal"
    ? { type: "refusal", refusal: text }
    : { type: "output_text", annotations: [], logprobs: [], text }

const response = (reply: Reply, status: "in_progress" | "completed" | "incomplete"): Json => ({
  id: `resp_${hexOf(reply.id, 48)}`,
  object: "response",
  created_at: reply.created,
  status,
  background: false,
  error: null,
  incomplete_details: status === "incomplete"
    ? { reason: reply.finish === "length" ? "max_output_tokens" : "content_filter" }
    : null,
  instructions: null,
  max_output_tokens: reply.prompt.maxTokens ?? null,
  metadata: {},
  model: reply.prompt.model,
  output: status === "in_progress" ? [] : reply.parts.map((part, at) => itemOf(reply, part, at, "completed")),
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  service_tier: "default",
  store: true,
  temperature: 1,
  text: { format: { type: "text" }, verbosity: "medium" },
  tool_choice: "auto",
  tools: [],
  top_logprobs: 0,
  top_p: 1,
  truncation: "disabled",
  usage: status === "in_progress" ? null : reply.distort(usageBody(reply.usage)),
  user: null
})

const finalStatus = (reply: Reply) =>
  reply.finish === "length" || reply.finish === "content_filter" ? "incomplete" as const : "completed" as const

// --- stream out

function* stream(reply: Reply): Iterable<Frame> {
  let sequence = 0
  const event = (stage: Frame["stage"], type: string, fields: Json, tokens = 0): Frame => ({
    stage,
    event: type,
    data: { type, sequence_number: sequence++, ...fields },
    tokens
  })
  yield event("open", "response.created", { response: response(reply, "in_progress") })
  yield event("open", "response.in_progress", { response: response(reply, "in_progress") })
  for (const { first, index, last, part, text, tokens } of piecesOf(reply)) {
    const done = itemOf(reply, part, index, "completed")
    const [delta, inner] = streamed[part.type]
    const at = { item_id: done["id"], output_index: index, ...inner }
    const whole = part.type === "tool_call" ? argumentsText(part.arguments) : part.text
    const content = part.type === "reasoning" ? { type: "summary_text", text: whole } : contentOf(part, whole)
    const scope = part.type === "reasoning" ? "response.reasoning_summary_part" : "response.content_part"
    const field = part.type === "tool_call" ? "arguments" : part.type === "refusal" ? "refusal" : "text"
    const extra = part.type === "text" ? { logprobs: [] } : {}
    if (first) {
      const item = itemOf(reply, part, index, "in_progress")
      yield event("open", "response.output_item.added", { output_index: index, item })
      if (part.type !== "tool_call") yield event("open", `${scope}.added`, { ...at, part: { ...content, [field]: "" } })
    }
    yield event("content", `${delta}.delta`, { ...at, delta: text, ...extra }, tokens)
    if (last) {
      yield event("content", `${delta}.done`, { ...at, [field]: whole, ...extra }, tokens)
      if (part.type !== "tool_call") yield event("content", `${scope}.done`, { ...at, part: content }, tokens)
      yield event("content", "response.output_item.done", { output_index: index, item: done }, tokens)
    }
  }
  const status = finalStatus(reply)
  yield event("finish", `response.${status}`, { response: response(reply, status) }, reply.usage.completion)
}

const streamed: Readonly<Record<Part["type"], readonly [event: string, index: Json]>> = {
  text: ["response.output_text", { content_index: 0 }],
  refusal: ["response.refusal", { content_index: 0 }],
  reasoning: ["response.reasoning_summary_text", { summary_index: 0 }],
  tool_call: ["response.function_call_arguments", {}]
}

/** `POST /v1/responses` */
export const responses: Protocol = {
  read,
  check,
  answer: (reply) => response(reply, finalStatus(reply)),
  stream,
  errorEvent: (body) => {
    const { code, message, param } = objectOf(body["error"])
    return { stage: "content", event: "error", data: { type: "error", code, message, param, sequence_number: 0 } }
  },
  newline: "\n"
}
