/**
 * What Anthropic's Messages API refuses (its reference, and the errors that it is known to answer with), also by model: thinking,
 * sampling, prefill and system turns changed over the generations. Fields that nobody knows pass.
 */
import { firstIn, firstOf, openObject } from "./Rules.ts"
import type { Json, Problem, Prompt } from "./Wire.ts"
import { isJson, listOf, numberOf, objectOf, stringsOf, textOf } from "./Wire.ts"

const invalid = (message: string): Problem => ({ kind: "invalid_request", message })

// --- models

/** A model's generation as a number (4.5, 5), and its line; undefined for a name without one. */
const modelOf = (name: string): { readonly line: string; readonly version: number } | undefined => {
  const [, line = "", major = "", minor] = /claude-(opus|sonnet|haiku|fable|mythos)-(\d)(?:-(\d)(?!\d))?/.exec(name) ?? []
  return line === "" ? undefined : { line, version: Number(major) + Number(minor ?? 0) / 10 }
}

const isFrom = (name: string, version: number): boolean => (modelOf(name)?.version ?? 0) >= version

const neverOff = /claude-(opus-5-5|fable-5|mythos-5)/

// --- messages

const isText = (block: Json): boolean => block["type"] === "text"

const imageTypes: ReadonlyArray<string> = ["image/jpeg", "image/png", "image/gif", "image/webp"]

const checkSource = (block: Json, at: string): Problem | undefined => {
  const source = objectOf(block["source"])
  const type = textOf(source["type"])
  const image = block["type"] === "image"
  if (type === "url" && !/^https?:\/\/./.test(textOf(source["url"]))) return invalid(`${at}.source.url.url: Only HTTPS URLs are supported.`)
  if (type !== "base64") return undefined
  const media = textOf(source["media_type"])
  if (image && !imageTypes.includes(media)) {
    return invalid(`${at}.image.source.base64.media_type: Input should be ${imageTypes.map((one) => `'${one}'`).join(", ")}`)
  }
  return image || media === "application/pdf" ? undefined : invalid(`${at}.document.source.base64.media_type: Input should be 'application/pdf'`)
}

const allowedBlocks: { readonly [role: string]: ReadonlyArray<string> } = {
  user: ["text", "image", "document", "tool_result", "search_result"],
  assistant: ["text", "thinking", "redacted_thinking", "tool_use"],
  system: ["text"]
}
const known = new Set(Object.values(allowedBlocks).flat())

const checkBlock = (block: Json, role: string, at: string): Problem | undefined => {
  const type = textOf(block["type"])
  if (known.has(type) && allowedBlocks[role]?.includes(type) === false) {
    return invalid(`${at}: \`${type}\` blocks are not permitted in ${role} messages`)
  }
  switch (type) {
    case "text":
      if (block["text"] === "") return invalid("messages: text content blocks must be non-empty")
      return textOf(block["text"]).trim() === "" ? invalid("messages: text content blocks must contain non-whitespace text") : undefined
    case "image":
    case "document":
      return checkSource(block, at)
    case "tool_use":
      if (!isJson(block["input"])) return invalid(`${at}.tool_use.input: Input should be a valid dictionary`)
      return /^[a-zA-Z0-9_-]+$/.test(textOf(block["id"])) ? undefined : invalid(`${at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`)
    case "thinking":
      return /^[A-Za-z0-9+/=_-]+$/.test(textOf(block["signature"])) ? undefined : invalid(`${at}: Invalid \`signature\` in \`thinking\` block`)
    case "redacted_thinking":
      return textOf(block["data"]) === "" ? invalid(`${at}: Invalid \`data\` in \`redacted_thinking\` block`) : undefined
    case "tool_result":
      return firstIn(listOf(block["content"]), (inner, i) =>
        "cache_control" in inner ? invalid(`${at}.content.${i}.cache_control: Extra inputs are not permitted`) : checkSource(inner, `${at}.content.${i}`))
    default:
      return undefined
  }
}

/** Where a system turn may stand: behind the user's, before the assistant's or last. */
const checkSystemTurn = (messages: ReadonlyArray<Json>, at: number, model: string): Problem | undefined => {
  if (!isFrom(model, 4.8) || /sonnet-5(?!-5)/.test(model)) {
    return invalid(
      `messages: Unexpected role "system". The Messages API accepts a top-level \`system\` parameter, not "system" as an input message role.`
    )
  }
  const before = messages[at - 1]?.["role"]
  const after = messages[at + 1]?.["role"]
  return before === "user" && (after === undefined || after === "assistant")
    ? undefined
    : invalid(`messages.${at}: a \`system\` message must follow a \`user\` message and be last or be followed by an \`assistant\` message`)
}

const checkTurn = (messages: ReadonlyArray<Json>, at: number, model: string): Problem | undefined => {
  const message = objectOf(messages[at])
  const role = textOf(message["role"])
  if (!(role in allowedBlocks)) return invalid(`messages: Unexpected role "${role}". Allowed roles are "user" or "assistant"`)
  const { content } = message
  const blocks = listOf(content)
  const isLast = at === messages.length - 1
  const empty = content === "" || (Array.isArray(content) && blocks.length === 0)
  if (empty && !(isLast && role === "assistant")) {
    return invalid(`messages.${at}: all messages must have non-empty content except for the optional final assistant message`)
  }
  if (typeof content === "string" && content !== "" && content.trim() === "") return invalid("messages: text content blocks must contain non-whitespace text")
  const answered = new Set(listOf(messages[at + 1]?.["content"]).map((block) => block["tool_use_id"]))
  const open = blocks.filter((block) => block["type"] === "tool_use" && !answered.has(block["id"]))
  const made = new Set(listOf(messages[at - 1]?.["content"]).map((block) => block["id"]))
  const orphan = blocks.findIndex((block) => block["type"] === "tool_result" && !made.has(block["tool_use_id"]))
  const late = blocks.findIndex((block, i) => block["type"] === "tool_result" && blocks.slice(0, i).some(({ type }) => type !== "tool_result"))
  return firstOf(
    () => (role === "system" ? checkSystemTurn(messages, at, model) : undefined),
    () => firstIn(blocks, (block, i) => checkBlock(block, role, `messages.${at}.content.${i}`)),
    () =>
      open.length === 0 ? undefined : invalid(
        `messages.${at}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${
          open.map((block) => textOf(block["id"])).join(", ")
        }. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`
      ),
    () =>
      orphan < 0 ? undefined : invalid(
        `messages.${at}.content.${orphan}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${
          textOf(blocks[orphan]?.["tool_use_id"])
        }. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`
      ),
    () => (late < 0 ? undefined : invalid(`messages.${at}.content.${late}: \`tool_result\` blocks must come first in the content`))
  )
}

/** An answer that is begun for the model: it may not end in a blank, and newer models take none. */
const checkPrefill = (messages: ReadonlyArray<Json>, model: string): Problem | undefined => {
  const last = messages.at(-1)
  if (last?.["role"] !== "assistant") return undefined
  if (isFrom(model, 4.6)) return invalid("This model does not support assistant message prefill. The conversation must end with a user message.")
  const block = listOf(last["content"]).at(-1)
  const words = typeof last["content"] === "string" ? last["content"] : block !== undefined && isText(block) ? textOf(block["text"]) : ""
  return words === words.trimEnd() ? undefined : invalid("messages: final assistant content cannot end with trailing whitespace")
}

const checkIds = (messages: ReadonlyArray<Json>): Problem | undefined => {
  const ids = messages.flatMap(({ content }) => listOf(content)).filter(({ type }) => type === "tool_use").map(({ id }) => id)
  return new Set(ids).size === ids.length ? undefined : invalid("messages: `tool_use` ids must be unique")
}

const marksIn = (value: unknown): number =>
  Array.isArray(value)
    ? value.reduce((sum: number, item: unknown) => sum + marksIn(item), 0)
    : isJson(value)
    ? ("cache_control" in value && value["cache_control"] !== null ? 1 : 0) + marksIn(value["content"])
    : 0

export const checkMessages = (body: Json): Problem | undefined => {
  const model = textOf(body["model"])
  if (model === "") return invalid("model: Field required")
  if (!Array.isArray(body["messages"])) return invalid("messages: Field required")
  const messages = listOf(body["messages"])
  if (messages.length === 0) return invalid("messages: at least one message is required")
  const marks = marksIn(body["system"]) + marksIn(body["tools"]) + messages.reduce((sum, message) => sum + marksIn(message["content"]), 0)
  const blank = listOf(body["system"]).some((block) => textOf(block["text"]) === "")
  return firstOf(
    () => (blank ? invalid("system: text content blocks must be non-empty") : undefined),
    () => firstIn(messages, (_, at) => checkTurn(messages, at, model)),
    () => checkIds(messages),
    () => checkPrefill(messages, model),
    () => (marks <= 4 ? undefined : invalid(`A maximum of 4 blocks with cache_control may be provided. Found ${marks}.`))
  )
}

// --- tools

const checkTools = (body: Json): Problem | undefined => {
  const tools = listOf(body["tools"])
  const choice = objectOf(body["tool_choice"])
  const uses = listOf(body["messages"]).flatMap(({ content }) => listOf(content)).some(({ type }) => type === "tool_use" || type === "tool_result")
  if (uses && tools.length === 0) return invalid("Requests which include `tool_use` or `tool_result` blocks must define tools")
  if (body["tool_choice"] !== undefined && tools.length === 0) return invalid("tool_choice: tool_choice may only be specified while providing tools")
  if (choice["type"] === "tool" && !tools.some(({ name }) => name === choice["name"])) {
    return invalid(`Tool '${textOf(choice["name"])}' not found in provided tools`)
  }
  const names = tools.map(({ name }) => textOf(name))
  return new Set(names).size < names.length ? invalid("tools: Tool names must be unique.") : firstIn(tools, (tool, i) => {
    const custom = tool["type"] === undefined || tool["type"] === "custom"
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(textOf(tool["name"]))) return invalid(`tools.${i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`)
    if (custom && !isJson(tool["input_schema"])) return invalid(`tools.${i}.custom.input_schema: Field required`)
    if (custom && objectOf(tool["input_schema"])["type"] !== "object") return invalid(`tools.${i}.custom.input_schema.type: Input should be 'object'`)
    return tool["strict"] === true && openObject(tool["input_schema"]) !== undefined
      ? invalid(`tools.${i}.custom: For 'object' type, 'additionalProperties' must be explicitly set to false`)
      : undefined
  })
}

// --- thinking and sampling

const checkThinking = (body: Json, prompt: Prompt): Problem | undefined => {
  const thinking = objectOf(body["thinking"])
  const type = textOf(thinking["type"])
  const { model } = prompt
  const advice = `Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`
  if (type === "enabled" && isFrom(model, 4.7)) return invalid(`"thinking.type.enabled" is not supported for this model. ${advice}`)
  if (type === "adaptive" && modelOf(model) !== undefined && !isFrom(model, 4.6)) {
    return invalid("adaptive thinking is not supported on this model")
  }
  if (type === "disabled" && (neverOff.test(model) || /sonnet-5-5/.test(model))) return invalid(`"thinking.type.disabled" is not supported for this model. ${advice}`)
  if (objectOf(body["output_config"])["effort"] !== undefined && modelOf(model) !== undefined && !isFrom(model, 4.6) && !/opus-4-5/.test(model)) {
    return invalid("output_config.effort: This model does not support the effort parameter.")
  }
  const on = type === "enabled" || type === "adaptive"
  const choice = textOf(objectOf(body["tool_choice"])["type"])
  if (on && (choice === "any" || choice === "tool")) return invalid("Thinking may not be enabled when tool_choice forces tool use.")
  if (type !== "enabled") return undefined
  const budget = numberOf(thinking["budget_tokens"])
  if (budget === undefined) return invalid("thinking.enabled.budget_tokens: Field required")
  if (budget < 1024) return invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
  return budget < (prompt.maxTokens ?? 0) ? undefined : invalid(
    "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size"
  )
}

const checkSampling = (body: Json, { model }: Prompt): Problem | undefined => {
  const temperature = numberOf(body["temperature"])
  const topP = numberOf(body["top_p"])
  const topK = numberOf(body["top_k"])
  if (temperature !== undefined && (temperature < 0 || temperature > 1)) return invalid("temperature: range: 0..1")
  if (topP !== undefined && (topP < 0 || topP > 1)) return invalid("top_p: range: 0..1")
  if (isFrom(model, 4.7)) {
    const name = temperature !== undefined && temperature !== 1 ? "temperature" : topP !== undefined && topP !== 1 ? "top_p" : topK === undefined ? undefined : "top_k"
    if (name !== undefined) return invalid(`\`${name}\` is deprecated for this model.`)
  } else if (isFrom(model, 4.1) && temperature !== undefined && topP !== undefined) {
    return invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
  }
  if (!["enabled", "adaptive"].includes(textOf(objectOf(body["thinking"])["type"]))) return undefined
  if (temperature !== undefined && temperature !== 1) return invalid("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")
  if (topK !== undefined) return invalid("`top_k` must be unset when thinking is enabled or in adaptive mode.")
  return topP !== undefined && topP < 0.95
    ? invalid("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled or in adaptive mode.")
    : undefined
}

// --- the rest

const foreign = [
  "tokenhub", "stop", "max_completion_tokens", "seed", "n", "user", "response_format", "presence_penalty", "frequency_penalty", "logprobs",
  "parallel_tool_calls", "reasoning_effort", "input", "contents"
]
const neverNull = ["system", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice", "metadata", "thinking", "max_tokens"]

const checkFields = (body: Json): Problem | undefined => {
  const extra = foreign.find((name) => name in body)
  if (extra !== undefined) return invalid(`${extra}: Extra inputs are not permitted`)
  const none = neverNull.find((name) => body[name] === null)
  return none === undefined ? undefined : invalid(`${none}: Input should be a valid value`)
}

export const check = (body: Json, prompt: Prompt): Problem | undefined => {
  if (prompt.maxTokens === undefined) return invalid("max_tokens: Field required")
  if (prompt.maxTokens < 0) return invalid("max_tokens: Input should be greater than or equal to 0")
  const format = objectOf(objectOf(body["output_config"])["format"])
  return firstOf(
    () => checkFields(body),
    () => checkSampling(body, prompt),
    () => checkThinking(body, prompt),
    () => checkMessages(body),
    () => checkTools(body),
    () =>
      stringsOf(body["stop_sequences"]).some((stop) => stop.trim() === "")
        ? invalid("stop_sequences: each stop sequence must contain non-whitespace")
        : undefined,
    () =>
      format["type"] === "json_schema" && openObject(format["schema"]) !== undefined
        ? invalid("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false")
        : undefined
  )
}
