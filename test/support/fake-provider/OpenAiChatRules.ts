/**
 * What OpenAI's chat completions refuse (API reference and the errors that it is known to answer with). Fields that nobody knows
 * pass, since tests stand for fields of tomorrow with them.
 */
import { firstIn, firstOf, openObject, optionalProperty } from "./Rules.ts"
import type { Json, Problem, Prompt } from "./Wire.ts"
import { isJson, listOf, numberOf, objectOf, stringsOf, textOf } from "./Wire.ts"

const invalid = (message: string, param: string | null = null, code?: string): Problem => ({
  kind: "invalid_request",
  message,
  ...(param === null ? {} : { param }),
  ...(code === undefined ? {} : { code })
})

/** OpenAI's refusal of a request without a parameter that it needs. */
export const missing = (param: string): Problem => invalid(`Missing required parameter: '${param}'.`, param, "missing_required_parameter")

export const emptyArray = (param: string): Problem =>
  invalid(`Invalid '${param}': empty array. Expected an array with minimum length 1, but got an empty array instead.`, param, "empty_array")

export const tooLong = (param: string, value: string, most: number): Problem | undefined =>
  value.length <= most
    ? undefined
    : invalid(
      `Invalid '${param}': string too long. Expected a string with maximum length ${most}, but got a string with length ${value.length} instead.`,
      param,
      "string_above_max_length"
    )

export const namePattern = (param: string, name: string, most = 64): Problem | undefined =>
  /^[a-zA-Z0-9_-]+$/.test(name)
    ? tooLong(param, name, most)
    : invalid(`Invalid '${param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.`, param, "invalid_value")

export const range = (param: string, value: unknown, least: number, most: number): Problem | undefined => {
  const number = numberOf(value)
  if (number === undefined) return undefined
  const bound = number < least ? "minimum" : number > most ? "maximum" : undefined
  return bound === undefined
    ? undefined
    : invalid(
      `Invalid '${param}': ${bound === "minimum" ? "integer below minimum" : "decimal above maximum"} value. Expected a value ${
        bound === "minimum" ? `>= ${least}` : `<= ${most}`
      }, but got ${number} instead.`,
      param,
      `${bound === "minimum" ? "integer_below_min" : "decimal_above_max"}_value`
    )
}

// --- schemas

/** What strict mode wants of a schema ("Structured outputs", supported schemas). */
export const strictSchema = (name: string, schema: unknown, strict: unknown, param: string, kind: string): Problem | undefined => {
  if (strict !== true) return undefined
  const context = (place: ReadonlyArray<string>) => `In context=(${place.map((step) => `'${step}'`).join(", ")})`
  const open = openObject(schema)
  if (open !== undefined) {
    return invalid(
      `Invalid schema for ${kind} '${name}': ${context(open)}, 'additionalProperties' is required to be supplied and to be false.`,
      param,
      `invalid_${kind === "function" ? "function_parameters" : "json_schema"}`
    )
  }
  const optional = optionalProperty(schema)
  return optional === undefined ? undefined : invalid(
    `Invalid schema for ${kind} '${name}': ${
      context(optional[1])
    }, 'required' is required to be supplied and to be an array including every key in properties. Missing '${optional[0]}'.`,
    param,
    `invalid_${kind === "function" ? "function_parameters" : "json_schema"}`
  )
}

// --- messages

const partKinds: { readonly [role: string]: ReadonlyArray<string> } = {
  system: ["text"],
  developer: ["text"],
  tool: ["text"],
  user: ["text", "image_url", "input_audio", "file"],
  assistant: ["text", "refusal"]
}

const imageUrl = /^(https?:\/\/.|data:image\/(png|jpe?g|gif|webp);base64,)/i

/** Fields of messages and parts that vendors of the same protocol have, and OpenAI refuses. */
const others: ReadonlyArray<string> = ["cache_control", "reasoning_content", "reasoning_details"]

const checkOthers = (fields: Json, at: string): Problem | undefined => {
  const name = others.find((field) => field in fields)
  return name === undefined ? undefined : invalid(`Unknown parameter: '${at}.${name}'.`, `${at}.${name}`, "unknown_parameter")
}

const checkPart = (part: Json, kinds: ReadonlyArray<string>, at: string): Problem | undefined => {
  const type = textOf(part["type"])
  if (type !== "" && !["text", "refusal", "image_url", "input_audio", "file"].includes(type)) return undefined
  if (!kinds.includes(type)) {
    return invalid(`Invalid value: '${type}'. Supported values are: ${kinds.map((kind) => `'${kind}'`).join(", ")}.`, at, "invalid_value")
  }
  if (type === "text" && typeof part["text"] !== "string") return missing(`${at}.text`)
  if (type === "image_url" && !imageUrl.test(textOf(objectOf(part["image_url"])["url"]))) {
    return invalid(`Invalid '${at}.image_url.url'. Expected a valid URL, but got a value with an invalid format.`, `${at}.image_url.url`, "invalid_value")
  }
  const file = objectOf(part["file"])
  if (type === "file" && file["file_id"] === undefined && !textOf(file["file_data"]).startsWith("data:application/pdf;base64,")) {
    return invalid(`Invalid file data: '${at}.file.file_data'. Expected a base64-encoded data URL with an application/pdf MIME type.`, `${at}.file.file_data`, "invalid_value")
  }
  return undefined
}

const checkContent = (message: Json, at: string, compatible: boolean): Problem | undefined => {
  const { content } = message
  const role = textOf(message["role"])
  if (typeof content === "string") return undefined
  const silent = role === "assistant" && ["tool_calls", "refusal", "audio", "function_call"].some((name) => (message[name] ?? null) !== null)
  if (content === undefined || content === null) {
    return silent || role === "function"
      ? undefined
      : invalid(`Invalid value for 'content': expected a string, got null.`, `${at}.content`)
  }
  if (!Array.isArray(content)) return invalid(`Invalid type for '${at}.content': expected one of a string or array of objects.`, `${at}.content`, "invalid_type")
  if (content.length === 0) return emptyArray(`${at}.content`)
  return firstIn(listOf(content), (part, i) => {
    const place = `${at}.content[${i}]`
    return (compatible ? undefined : checkOthers(part, place)) ?? checkPart(part, partKinds[role] ?? [], place)
  })
}

const unanswered = (ids: ReadonlyArray<string>, at: string): Problem =>
  invalid(
    `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${
      ids.join(", ")
    }`,
    at
  )

const checkMessages = (body: Json, compatible: boolean): Problem | undefined => {
  const messages = listOf(body["messages"])
  if (!Array.isArray(body["messages"])) return missing("messages")
  if (messages.length === 0) return emptyArray("messages")
  let open: ReadonlyArray<string> = []
  const problem = firstIn(messages, (message, i) => {
    const at = `messages[${i}]`
    const role = textOf(message["role"])
    if (!(role in partKinds) && role !== "function") {
      return invalid(`Invalid value: '${role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.`, `${at}.role`, "invalid_value")
    }
    if (role === "tool") {
      const id = textOf(message["tool_call_id"])
      if (!open.includes(id)) {
        return invalid(
          "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
          `messages.[${i}].role`
        )
      }
      open = open.filter((other) => other !== id)
    } else if (open.length > 0) return unanswered(open, `${at}.role`)
    const name = textOf(message["name"])
    if (name !== "" && !/^[^\s<|\\/>]+$/.test(name)) {
      return invalid(`Invalid '${at}.name': string does not match pattern. Expected a string that matches the pattern '^[^\\s<|\\\\/>]+$'.`, `${at}.name`, "invalid_value")
    }
    const calls = listOf(message["tool_calls"])
    if (role === "assistant" && Array.isArray(message["tool_calls"]) && calls.length === 0) return emptyArray(`${at}.tool_calls`)
    open = role === "assistant" ? calls.map((call) => textOf(call["id"])) : open
    return firstOf(
      () => (compatible ? undefined : checkOthers(message, at)),
      () => checkContent(message, at, compatible),
      () => firstIn(calls, (call, j) => tooLong(`${at}.tool_calls[${j}].id`, textOf(call["id"]), 40)),
      () => firstIn(calls.filter(({ type }) => type === "function"), (call, j) => {
        const made = objectOf(call["function"])
        return typeof made["arguments"] === "string"
          ? namePattern(`${at}.tool_calls[${j}].function.name`, textOf(made["name"]))
          : invalid(`Invalid type for '${at}.tool_calls[${j}].function.arguments': expected a string.`, `${at}.tool_calls[${j}].function.arguments`, "invalid_type")
      })
    )
  })
  return problem ?? (open.length > 0 ? unanswered(open, `messages[${messages.length - 1}].role`) : undefined)
}

// --- parameters

const reasons = /^(o\d|gpt-5(?!-chat))/
const never = /^(gpt-4|gpt-3|chatgpt)/

const unsupported = (name: string, message: string): Problem => invalid(message, name, message.startsWith("Unsupported value") ? "unsupported_value" : "unsupported_parameter")

/** What models that think refuse, and what those refuse that don't. */
export const checkModel = (body: Json, model: string, effort: unknown, effortParam: string): Problem | undefined => {
  if (never.test(model) && (effort ?? null) !== null) {
    return unsupported(effortParam, `Unsupported parameter: '${effortParam}' is not supported with this model.`)
  }
  if (!reasons.test(model)) return undefined
  // From 5.1 on a model that does not think is sampled like any other.
  const rests = /^gpt-5\.\d/.test(model) && ["none", undefined, null].some((none) => effort === none)
  if (rests) return (body["stop"] ?? null) === null ? undefined : unsupported("stop", "Unsupported parameter: 'stop' is not supported with this model.")
  for (const [name, usual] of [["temperature", 1], ["top_p", 1]] as const) {
    const value = numberOf(body[name])
    if (value !== undefined && value !== usual) {
      return unsupported(name, `Unsupported value: '${name}' does not support ${value} with this model. Only the default (${usual}) value is supported.`)
    }
  }
  const refused = ["presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "stop", "max_tokens"]
  const name = refused.find((field) => (body[field] ?? null) !== null && body[field] !== 0 && body[field] !== false)
  return name === undefined ? undefined : unsupported(
    name,
    name === "max_tokens"
      ? "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
      : `Unsupported parameter: '${name}' is not supported with this model.`
  )
}

const checkTools = (body: Json): Problem | undefined => {
  const { parallel_tool_calls: parallel, tool_choice: choice, tools } = body
  if ((tools ?? null) === null) {
    if ((choice ?? null) !== null) return invalid("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    return (parallel ?? null) === null
      ? undefined
      : invalid("Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls")
  }
  const made = listOf(tools).map((tool) => objectOf(tool["function"]))
  if (listOf(tools).length === 0) return emptyArray("tools")
  const wanted = isJson(choice) && choice["type"] === "function" ? textOf(objectOf(choice["function"])["name"]) : undefined
  if (wanted !== undefined && !made.some(({ name }) => name === wanted)) {
    return invalid(`Invalid value for 'tool_choice': Tool choice '${wanted}' not found in 'tools' parameter.`, "tool_choice")
  }
  return firstIn(listOf(tools), (tool, i) => {
    if (tool["type"] !== "function") return undefined
    const { name, parameters, strict } = objectOf(tool["function"])
    const at = `tools[${i}].function`
    return namePattern(`${at}.name`, textOf(name)) ?? strictSchema(textOf(name), parameters, strict, `${at}.parameters`, "function")
  })
}

const checkFormat = (body: Json, prompt: Prompt): Problem | undefined => {
  const format = objectOf(body["response_format"])
  if (prompt.json === true && !/json/i.test(JSON.stringify(body["messages"]))) {
    return invalid("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.", "messages")
  }
  if (format["type"] !== "json_schema") return undefined
  const { name, schema, strict } = objectOf(format["json_schema"])
  if (typeof name !== "string") return missing("response_format.json_schema.name")
  return namePattern("response_format.json_schema.name", name) ?? strictSchema(name, schema, strict, "response_format", "response_format")
}

const checkParameters = (body: Json, prompt: Prompt): Problem | undefined => {
  const stop = stringsOf(body["stop"])
  if (stop.length > 4) {
    return invalid("Invalid 'stop': array too long. Expected an array with maximum length 4.", "stop", "array_above_max_length")
  }
  if ("stream_options" in body && !prompt.stream) {
    return invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
  }
  if ((body["top_logprobs"] ?? null) !== null && body["logprobs"] !== true) {
    return invalid("Invalid value for 'top_logprobs': 'logprobs' must be set to true when 'top_logprobs' is set.", "top_logprobs")
  }
  return firstOf(
    () => range("temperature", body["temperature"], 0, 2),
    () => range("top_p", body["top_p"], 0, 1),
    () => range("presence_penalty", body["presence_penalty"], -2, 2),
    () => range("frequency_penalty", body["frequency_penalty"], -2, 2),
    () => range("top_logprobs", body["top_logprobs"], 0, 20),
    () => range("n", body["n"], 1, 128),
    () => range("max_tokens", body["max_tokens"], 1, Infinity),
    () => range("max_completion_tokens", body["max_completion_tokens"], 1, Infinity),
    () => tooLong("user", textOf(body["user"]), 64)
  )
}

/** Fields of TokenHub's or of another protocol, which must never get here, and of vendors that took this one over. */
const foreign = ["tokenhub", "system", "stop_sequences", "max_output_tokens", "instructions", "thinking", "output_config", "contents", "generationConfig"]
const foreignToOpenAi = [...foreign, "top_k", "reasoning", "random_seed", "cache_control", "prompt"]

export const checkForeign = (body: Json, names: ReadonlyArray<string>): Problem | undefined => {
  const name = names.find((field) => field in body)
  return name === undefined ? undefined : invalid(`Unknown parameter: '${name}'.`, name, "unknown_parameter")
}

/** `compatible`: not OpenAI itself, but a vendor that has more fields. */
export const check = (compatible: boolean) => (body: Json, prompt: Prompt): Problem | undefined => {
  if (prompt.model === "") return { kind: "invalid_request", message: "you must provide a model parameter" }
  return firstOf(
    () => checkForeign(body, compatible ? foreign : foreignToOpenAi),
    () => checkMessages(body, compatible),
    () => checkModel(body, prompt.model, body["reasoning_effort"], "reasoning_effort"),
    () => checkTools(body),
    () => checkFormat(body, prompt),
    () => checkParameters(body, prompt)
  )
}
