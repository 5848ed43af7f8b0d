/** What OpenAI's Responses API refuses. Items and tools of kinds that TokenHub does not make pass as they are. */
import { checkForeign, checkModel, emptyArray, missing, namePattern, range, strictSchema, tooLong } from "./OpenAiChatRules.ts"
import { firstIn, firstOf } from "./Rules.ts"
import type { Json, Problem, Prompt } from "./Wire.ts"
import { isJson, listOf, objectOf, textOf } from "./Wire.ts"

const invalid = (message: string, param: string | null, code = "invalid_value"): Problem => ({
  kind: "invalid_request",
  message,
  ...(param === null ? {} : { param }),
  code
})

const inputKinds: ReadonlyArray<string> = ["input_text", "input_image", "input_file"]
const outputKinds: ReadonlyArray<string> = ["output_text", "refusal"]
const known: ReadonlySet<string> = new Set([...inputKinds, ...outputKinds, "text"])

const supported = (type: string, kinds: ReadonlyArray<string>, param: string): Problem =>
  invalid(`Invalid value: '${type}'. Supported values are: ${kinds.map((kind) => `'${kind}'`).join(", ")}.`, param)

const checkContent = (content: unknown, kinds: ReadonlyArray<string>, at: string): Problem | undefined => {
  if (typeof content === "string") return undefined
  if (!Array.isArray(content)) return missing(at)
  return firstIn(listOf(content), (part, i) => {
    const type = textOf(part["type"])
    const place = `${at}[${i}]`
    if (known.has(type) && !kinds.includes(type)) return supported(type, kinds, place)
    if (type.endsWith("_text") && typeof part["text"] !== "string") return missing(`${place}.text`)
    if (type === "input_image" && part["file_id"] === undefined && !/^(https?:\/\/.|data:image\/)/.test(textOf(part["image_url"]))) {
      return invalid(`Invalid '${place}.image_url'. Expected a valid URL, but got a value with an invalid format.`, `${place}.image_url`)
    }
    if (type === "input_file" && part["file_id"] === undefined && part["file_url"] === undefined && typeof part["filename"] !== "string") {
      return missing(`${place}.filename`)
    }
    return "cache_control" in part ? invalid(`Unknown parameter: '${place}.cache_control'.`, `${place}.cache_control`, "unknown_parameter") : undefined
  })
}

const prefixes: { readonly [type: string]: string } = { message: "msg", function_call: "fc", reasoning: "rs" }

const checkItem = (item: Json, i: number): Problem | undefined => {
  const at = `input[${i}]`
  const type = textOf(item["type"]) || "message"
  const id = item["id"]
  const prefix = prefixes[type]
  if (typeof id === "string" && prefix !== undefined && (type !== "message" || item["role"] === "assistant")) {
    if (!id.startsWith(prefix)) return invalid(`Invalid '${at}.id': '${id}'. Expected an ID that begins with '${prefix}'.`, `${at}.id`)
    const long = tooLong(`${at}.id`, id, 64)
    if (long !== undefined) return long
  }
  switch (type) {
    case "message": {
      const role = textOf(item["role"])
      if (!["user", "assistant", "system", "developer"].includes(role)) return supported(role, ["assistant", "system", "developer", "user"], `${at}.role`)
      return checkContent(item["content"], role === "assistant" ? outputKinds : inputKinds, `${at}.content`)
    }
    case "function_call":
      return firstOf(
        () => (typeof item["call_id"] === "string" ? tooLong(`${at}.call_id`, item["call_id"], 64) : missing(`${at}.call_id`)),
        () => (typeof item["arguments"] === "string" ? undefined : missing(`${at}.arguments`)),
        () => namePattern(`${at}.name`, textOf(item["name"]), 64)
      )
    case "function_call_output":
      return typeof item["call_id"] === "string" ? checkContent(item["output"], inputKinds, `${at}.output`) : missing(`${at}.call_id`)
    case "reasoning":
      return Array.isArray(item["summary"]) ? undefined : missing(`${at}.summary`)
    default:
      return undefined
  }
}

/** Every call has its output in what follows, and every output its call before it. */
const checkCalls = (items: ReadonlyArray<Json>): Problem | undefined => {
  const idsOf = (type: string, some: ReadonlyArray<Json>) => new Set(some.filter((item) => item["type"] === type).map((item) => textOf(item["call_id"])))
  return firstIn(items, (item, i) => {
    const id = textOf(item["call_id"])
    if (item["type"] === "function_call" && !idsOf("function_call_output", items.slice(i)).has(id)) {
      return invalid(`No tool output found for function call ${id}.`, "input", "invalid_request_error")
    }
    return item["type"] === "function_call_output" && !idsOf("function_call", items.slice(0, i)).has(id)
      ? invalid(`No tool call found for function call output with call_id ${id}.`, "input", "invalid_request_error")
      : undefined
  })
}

/** A thought leads to something of the assistant's. */
const checkThoughts = (items: ReadonlyArray<Json>): Problem | undefined =>
  firstIn(items, (item, i) => {
    const next = items[i + 1]
    const follows = next !== undefined && (next["type"] === "reasoning" || next["type"] === "function_call" || next["role"] === "assistant")
    return item["type"] !== "reasoning" || follows
      ? undefined
      : invalid(`Item '${textOf(item["id"])}' of type 'reasoning' was provided without its required following item.`, "input", "invalid_request_error")
  })

const checkInput = ({ input, prompt }: Json): Problem | undefined => {
  if (input === undefined || input === null) return prompt === undefined ? missing("input") : undefined
  if (typeof input === "string") return undefined
  const items = listOf(input)
  return items.length === 0 ? emptyArray("input") : firstIn(items, checkItem) ?? checkCalls(items) ?? checkThoughts(items)
}

const checkTools = ({ tool_choice: choice, tools }: Json): Problem | undefined => {
  const made = listOf(tools)
  const wanted = isJson(choice) && choice["type"] === "function" ? textOf(choice["name"]) : undefined
  if (wanted !== undefined && !made.some(({ name }) => name === wanted)) {
    return invalid(`Tool choice 'function' not found in 'tools' parameter.`, "tool_choice", "invalid_request_error")
  }
  if (choice === "required" && made.length === 0) {
    return invalid("Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice", "invalid_request_error")
  }
  return firstIn(made, (tool, i) => {
    if (tool["type"] !== "function") return undefined
    const name = textOf(tool["name"])
    // An absent `strict` is true here.
    return namePattern(`tools[${i}].name`, name) ??
      strictSchema(name, tool["parameters"], tool["strict"] === undefined ? true : tool["strict"], `tools[${i}].parameters`, "function")
  })
}

const checkFormat = (body: Json, prompt: Prompt): Problem | undefined => {
  const format = objectOf(objectOf(body["text"])["format"])
  if (prompt.json === true && !/json/i.test(JSON.stringify(body["input"]) + textOf(body["instructions"]))) {
    return invalid("Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.", "input")
  }
  if (format["type"] !== "json_schema") return undefined
  const name = textOf(format["name"])
  return namePattern("text.format.name", name) ?? strictSchema(name, format["schema"], format["strict"], "text.format.schema", "response_format")
}

const thinks = /^(o\d|codex|gpt-5(?!-chat))/
const never = /^(gpt-4|gpt-3|chatgpt)/

const checkInclude = ({ include }: Json, { model }: Prompt): Problem | undefined =>
  Array.isArray(include) && include.includes("reasoning.encrypted_content") && never.test(model) && !thinks.test(model)
    ? invalid("Encrypted content is not supported with this model.", "include", "unsupported_parameter")
    : undefined

const foreign = [
  "tokenhub", "messages", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "response_format", "reasoning_effort", "frequency_penalty",
  "presence_penalty", "logprobs", "system", "stop_sequences", "top_k", "contents"
]

export const check = (body: Json, prompt: Prompt): Problem | undefined => {
  if (prompt.model === "") return missing("model")
  const { max_output_tokens: most, temperature, top_logprobs, top_p, user } = body
  return firstOf(
    () => checkForeign(body, foreign),
    () => checkInput(body),
    () => checkModel(body, prompt.model, objectOf(body["reasoning"])["effort"], "reasoning.effort"),
    () => checkTools(body),
    () => checkFormat(body, prompt),
    () => checkInclude(body, prompt),
    () => range("max_output_tokens", most, 16, Infinity),
    () => range("temperature", temperature, 0, 2),
    () => range("top_p", top_p, 0, 1),
    () => range("top_logprobs", top_logprobs, 0, 20),
    () => tooLong("user", textOf(user), 64)
  )
}
