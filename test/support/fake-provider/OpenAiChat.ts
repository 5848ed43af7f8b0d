/** OpenAI's chat completions, which Azure and many other vendors speak too. */
import { check } from "./OpenAiChatRules.ts"
import type { Frame, Json, Part, Prompt, Protocol, Reply, Usage } from "./Wire.ts"
import {
  argumentsText,
  hexOf,
  isJson,
  listOf,
  numberOf,
  objectOf,
  piecesOf,
  stringsOf,
  textOf,
  tokensOf
} from "./Wire.ts"

// --- request in

/** The text of a message's content: a string, or the text parts of a list. */
const contentText = (content: unknown): string =>
  typeof content === "string" ? content : listOf(content).map((part) => textOf(part["text"])).join("\n")

const read = (variant: string) => (body: Json, model: string | undefined): Prompt => {
  const messages = listOf(body["messages"])
  const last = messages.at(-1)
  const tools = listOf(body["tools"]).map((tool) => objectOf(tool["function"]))
  const choice = body["tool_choice"]
  const format = objectOf(body["response_format"])
  const asked = messages.map((message) =>
    contentText(message["content"]) + listOf(message["tool_calls"]).map((call) => JSON.stringify(call)).join("")
  )
  return {
    model: model ?? textOf(body["model"]),
    stream: body["stream"] === true,
    user: contentText(messages.findLast((message) => message["role"] === "user")?.["content"]),
    toolResult: last?.["role"] === "tool" ? contentText(last["content"]) : undefined,
    tokens: tokensOf(asked.join("") + (tools.length > 0 ? JSON.stringify(tools) : "")),
    maxTokens: numberOf(body["max_completion_tokens"]) ?? numberOf(body["max_tokens"]),
    stop: stringsOf(body["stop"]),
    tools: tools.map((tool) => ({ name: textOf(tool["name"]), schema: objectOf(tool["parameters"]) })),
    forcedTool: choice === "required" || (isJson(choice) && textOf(objectOf(choice["function"])["name"])),
    json: format["type"] === "json_schema"
      ? objectOf(objectOf(format["json_schema"])["schema"])
      : format["type"] === "json_object",
    choices: numberOf(body["n"]) ?? 1,
    logprobs: body["logprobs"] === true ? numberOf(body["top_logprobs"]) ?? 0 : undefined,
    includeUsage: objectOf(body["stream_options"])["include_usage"] === true,
    thinking: false,
    variant
  }
}

// --- answer out

const usageBody = (usage: Usage): Json => ({
  prompt_tokens: usage.prompt,
  completion_tokens: usage.completion,
  total_tokens: usage.prompt + usage.completion,
  prompt_tokens_details: { cached_tokens: usage.cached, audio_tokens: 0 },
  completion_tokens_details: {
    reasoning_tokens: usage.reasoning,
    audio_tokens: 0,
    accepted_prediction_tokens: 0,
    rejected_prediction_tokens: 0
  }
})

const textsOf = (reply: Reply, type: "text" | "reasoning" | "refusal"): string | undefined => {
  const texts = reply.parts.flatMap((part) => part.type === type ? [part.text] : [])
  return texts.length === 0 ? undefined : texts.join("")
}

const toolCallOf = (reply: Reply, part: Part & { type: "tool_call" }, at: number) => ({
  id: part.id ?? `call_${hexOf(reply.id + at, 24)}`,
  type: "function",
  function: { name: part.name, arguments: argumentsText(part.arguments) }
})

const toolCallsOf = (reply: Reply) =>
  reply.parts.flatMap((part, at) => part.type === "tool_call" ? [toolCallOf(reply, part, at)] : [])

const answer = (reply: Reply): Json => {
  const text = textsOf(reply, "text")
  const reasoning = textsOf(reply, "reasoning")
  const calls = toolCallsOf(reply)
  return {
    id: `chatcmpl-${reply.id}`,
    object: "chat.completion",
    created: reply.created,
    model: reply.prompt.model,
    choices: Array.from({ length: reply.choices }, (_, index) => ({
      index,
      message: {
        role: "assistant",
        content: text ?? null,
        ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
        ...(calls.length === 0 ? {} : { tool_calls: calls }),
        refusal: textsOf(reply, "refusal") ?? null,
        annotations: []
      },
      logprobs: logprobsOf(reply.prompt, text),
      finish_reason: reply.finish,
      ...azureFilter(reply)
    })),
    usage: reply.distort(usageBody(reply.usage)),
    service_tier: "default",
    system_fingerprint: `fp_${hexOf(reply.prompt.model, 10)}`,
    ...(reply.prompt.variant === "azure" ? { prompt_filter_results: promptFilter } : {})
  }
}

const logprobsOf = (prompt: Prompt, text: string | undefined): Json | null => {
  if (prompt.logprobs === undefined || text === undefined) return null
  const one = (token: string, logprob: number) => ({ token, logprob, bytes: [...Buffer.from(token)] })
  return {
    content: (text.match(/[^]{1,4}/gu) ?? []).map((token) => ({
      ...one(token, -0.1),
      top_logprobs: Array.from({ length: prompt.logprobs ?? 0 }, (_, rank) => one(token, -0.1 - rank))
    })),
    refusal: null
  }
}

const severities = Object.fromEntries(
  ["hate", "self_harm", "sexual", "violence"].map((category) => [category, { filtered: false, severity: "safe" }])
)

const promptFilter = [{ prompt_index: 0, content_filter_results: severities }]

const azureFilter = ({ finish, prompt }: Reply): Json =>
  prompt.variant === "azure" ? { content_filter_results: finish === "content_filter" ? {} : severities } : {}

// --- stream out

function* stream(reply: Reply): Iterable<Frame> {
  const { prompt } = reply
  const usage = (tokens: number) => reply.distort(usageBody({ ...reply.usage, completion: tokens }))
  const chunk = (choices: ReadonlyArray<Json>, tokens: number, last = false): Json => ({
    id: `chatcmpl-${reply.id}`,
    object: "chat.completion.chunk",
    created: reply.created,
    model: prompt.model,
    service_tier: "default",
    system_fingerprint: `fp_${hexOf(prompt.model, 10)}`,
    choices,
    ...(last || reply.usageInEachChunk ? { usage: usage(tokens) } : prompt.includeUsage ? { usage: null } : {})
  })
  const indices = Array.from({ length: reply.choices }, (_, index) => index)
  const each = function*(stage: Frame["stage"], delta: Json, tokens: number, more: Json = {}): Iterable<Frame> {
    for (const index of indices) {
      const choice = { index, delta, logprobs: null, finish_reason: null, ...more, ...azureFilter(reply) }
      yield { stage, data: chunk([choice], tokens), tokens }
    }
  }
  if (prompt.variant === "azure") {
    const unnamed = { id: "", created: 0, model: "" }
    yield { stage: "open", data: { ...chunk([], 0), ...unnamed, prompt_filter_results: promptFilter } }
  }
  if (reply.choices === 0) yield { stage: "content", data: chunk([], 0) }
  const content = reply.parts.some((part) => part.type === "text") ? "" : null
  yield* each("open", { role: "assistant", content, refusal: null }, 0)
  for (const piece of piecesOf(reply)) {
    const { part, text, tokens } = piece
    if (part.type !== "tool_call") {
      const logprobs = part.type === "text" ? logprobsOf(prompt, text) : null
      yield* each("content", { [deltaField[part.type]]: text }, tokens, { logprobs })
      continue
    }
    const call = toolCallOf(reply, part, piece.index)
    const index = reply.parts.slice(0, piece.index).filter((earlier) => earlier.type === "tool_call").length
    if (piece.first) {
      const begun = { index, ...call, function: { name: part.name, arguments: "" } }
      yield* each("content", { tool_calls: [begun] }, tokens)
    }
    yield* each("content", { tool_calls: [{ index, function: { arguments: text } }] }, tokens)
  }
  yield* each("finish", {}, reply.usage.completion, { finish_reason: reply.finish })
  if (prompt.includeUsage) yield { stage: "usage", data: chunk([], reply.usage.completion, true) }
  yield { stage: "end", data: "[DONE]" }
}

const deltaField = { text: "content", reasoning: "reasoning_content", refusal: "refusal" } as const

/** Chat completions; `variant` is `azure` for Azure's content filter fields, `compatible` for a vendor with fields of its own. */
export const chatCompletions = (variant: string): Protocol => ({
  read: read(variant),
  check: check(variant === "compatible"),
  answer,
  stream,
  errorEvent: (body) => ({ stage: "content", data: body }),
  newline: "\n"
})
