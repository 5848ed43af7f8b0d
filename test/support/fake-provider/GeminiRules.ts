/** What Gemini's generateContent refuses (its reference, and the errors that it is known to answer with), also by model. */
import { firstIn, firstOf } from "./Rules.ts"
import type { Json, Problem } from "./Wire.ts"
import { isJson, listOf, numberOf, objectOf, stringsOf, textOf } from "./Wire.ts"

/** The first of two spellings: protobuf JSON takes camelCase and snake_case. */
export const field = (object: Json, camel: string): unknown => object[camel] ?? object[snake(camel)]

const snake = (camel: string): string => camel.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const invalid = (message: string): Problem => ({ kind: "invalid_request", message })

const both = (...names: ReadonlyArray<string>): ReadonlySet<string> => new Set(names.flatMap((name) => [name, snake(name)]))

/** The fields of each message of the protocol; the API refuses any other. */
const fields = {
  request: both(
    "model", "contents", "tools", "toolConfig", "safetySettings", "systemInstruction", "generationConfig", "cachedContent", "labels", "serviceTier", "store"
  ),
  content: both("parts", "role"),
  part: both(
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult", "thought", "thoughtSignature",
    "videoMetadata", "partMetadata", "mediaResolution"
  ),
  functionDeclaration: both("name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"),
  generationConfig: both(
    "stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema", "responseModalities", "candidateCount", "maxOutputTokens", "temperature",
    "topP", "topK", "seed", "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "enableEnhancedCivicAnswers", "speechConfig",
    "thinkingConfig", "imageConfig", "mediaResolution"
  ),
  thinkingConfig: both("includeThoughts", "thinkingBudget", "thinkingLevel")
} as const

const unknownIn = (value: unknown, known: ReadonlySet<string>, at: string): Problem | undefined => {
  const name = Object.keys(objectOf(value)).find((key) => !known.has(key))
  return name === undefined ? undefined : invalid(`Invalid JSON payload received. Unknown name "${name}"${at === "" ? "" : ` at '${at}'`}: Cannot find field.`)
}

// --- contents

const callsIn = (content: Json | undefined) => listOf(content?.["parts"]).filter((part) => isJson(field(part, "functionCall")))
const responsesIn = (content: Json | undefined) => listOf(content?.["parts"]).filter((part) => isJson(field(part, "functionResponse")))

const dataKinds = ["text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"]

const checkPart = (part: Json, at: string): Problem | undefined => {
  const unknown = unknownIn(part, fields.part, at)
  if (unknown !== undefined) return unknown
  const kinds = dataKinds.filter((name) => field(part, name) !== undefined)
  if (kinds.length !== 1) return invalid(`* GenerateContentRequest.${at}.data: required oneof field 'data' must have one initialized field\n`)
  const call = objectOf(field(part, "functionCall"))
  if (kinds[0] === "functionCall" && call["args"] !== undefined && !isJson(call["args"])) return invalid(`Invalid value at '${at}.function_call.args' (Struct)`)
  const response = objectOf(field(part, "functionResponse"))
  if (kinds[0] === "functionResponse" && !isJson(response["response"])) return invalid(`Invalid value at '${at}.function_response.response' (Struct)`)
  if (kinds[0] === "functionResponse" && textOf(response["name"]) === "") {
    return invalid(`* GenerateContentRequest.${at}.function_response.name: Name cannot be empty.\n`)
  }
  const inline = objectOf(field(part, "inlineData"))
  return kinds[0] === "inlineData" && !/^\w+\/[\w.+-]+$/.test(textOf(field(inline, "mimeType"))) ? invalid("Unable to process input: unsupported MIME type") : undefined
}

export const isThirdGeneration = (model: string): boolean => /gemini-([3-9]|\d\d)/.test(model)

/** From the third generation on, the first call of each step of the current turn brings its signature back. */
const unsigned = (contents: ReadonlyArray<Json>): boolean => {
  const turn = contents.findLastIndex((content) => content["role"] !== "model" && responsesIn(content).length === 0)
  return contents.slice(turn + 1).some((content) => {
    const [first] = callsIn(content)
    return first !== undefined && textOf(field(first, "thoughtSignature")) === ""
  })
}

const checkContents = (body: Json, model: string): Problem | undefined => {
  const contents = listOf(body["contents"])
  if (contents.length === 0) return invalid("* GenerateContentRequest.contents: contents is not specified\n")
  return firstIn(contents, (content, i) => {
    const parts = listOf(content["parts"])
    const before = contents[i - 1]
    const [calls, responses] = [callsIn(content).length, responsesIn(content).length]
    if (!["user", "model", "function", ""].includes(textOf(content["role"]))) return invalid("Please use a valid role: user, model.")
    if (parts.length === 0) return invalid(`* GenerateContentRequest.contents[${i}].parts: contents.parts must not be empty.\n`)
    if (calls > 0 && (i === 0 || before?.["role"] === "model")) {
      return invalid("Please ensure that function call turn comes immediately after a user turn or after a function response turn.")
    }
    if (responses > 0 && callsIn(before).length === 0) {
      return invalid("Please ensure that function response turn comes immediately after a function call turn.")
    }
    if (callsIn(before).length > 0 && callsIn(before).length !== responses) {
      return invalid("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.")
    }
    return unknownIn(content, fields.content, `contents[${i}]`) ?? firstIn(parts, (part, j) => checkPart(part, `contents[${i}].parts[${j}]`))
  }) ?? (isThirdGeneration(model) && unsigned(contents) ? invalid("Function call is missing a thought_signature in functionCall parts.") : undefined)
}

// --- tools

const checkTools = (body: Json): Problem | undefined => {
  const declared = listOf(body["tools"]).flatMap((tool) => listOf(field(tool, "functionDeclarations")))
  const calling = objectOf(field(objectOf(field(body, "toolConfig")), "functionCallingConfig"))
  const allowed = stringsOf(field(calling, "allowedFunctionNames"))
  if (allowed.length > 0 && calling["mode"] !== "ANY" && calling["mode"] !== "VALIDATED") {
    return invalid("allowed_function_names should only be set when the function calling mode is ANY or VALIDATED.")
  }
  if (calling["mode"] === "ANY" && declared.length === 0) return invalid("Function calling config is set without function_declarations.")
  const lost = allowed.find((name) => !declared.some((tool) => tool["name"] === name))
  if (lost !== undefined) return invalid(`allowed_function_names contains ${lost}, which is not in the function declarations.`)
  return firstIn(declared, (tool, i) => {
    const at = `tools[0].function_declarations[${i}]`
    const name = textOf(tool["name"])
    return unknownIn(tool, fields.functionDeclaration, at) ?? (/^[a-zA-Z_][\w.:-]{0,63}$/.test(name)
      ? undefined
      : invalid(
        `* GenerateContentRequest.${at}.name: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 64.\n`
      ))
  })
}

// --- configuration

/** The least and the most that a thinking budget may be, and whether thinking can be switched off. */
const budgets: ReadonlyArray<readonly [model: RegExp, least: number, most: number, off: boolean]> = [
  [/2\.5-pro/, 128, 32_768, false],
  [/2\.5-flash-lite/, 512, 24_576, true],
  [/2\.5-flash/, 1, 24_576, true]
]

const levels = ["minimal", "low", "medium", "high"]

const checkThinking = (thinking: Json, model: string): Problem | undefined => {
  const unknown = unknownIn(thinking, fields.thinkingConfig, "generation_config.thinking_config")
  if (unknown !== undefined) return unknown
  const level = field(thinking, "thinkingLevel")
  const budget = numberOf(field(thinking, "thinkingBudget"))
  if (level !== undefined && budget !== undefined) return invalid("You can only set one of thinking_budget and thinking_level.")
  if (level !== undefined && !levels.includes(textOf(level).toLowerCase())) {
    return invalid(`Invalid value at 'generation_config.thinking_config.thinking_level' (ThinkingLevel), "${textOf(level)}"`)
  }
  const row = budgets.find(([pattern]) => pattern.test(model))
  if (row === undefined) return undefined
  const [, least, most, off] = row
  if (level !== undefined) return invalid("Thinking level is not supported for this model.")
  if (budget === undefined || budget === -1) return undefined
  if (budget === 0) return off ? undefined : invalid("Budget 0 is invalid. This model only works in thinking mode.")
  return budget >= least && budget <= most
    ? undefined
    : invalid(`The thinking budget ${budget} is invalid. Please choose a value between ${least} and ${most}.`)
}

const checkConfig = (config: Json, model: string, hasTools: boolean): Problem | undefined => {
  const unknown = unknownIn(config, fields.generationConfig, "generation_config")
  if (unknown !== undefined) return unknown
  const schema = field(config, "responseJsonSchema") ?? field(config, "responseSchema")
  const mime = textOf(field(config, "responseMimeType"))
  const candidates = numberOf(field(config, "candidateCount"))
  const temperature = numberOf(config["temperature"])
  const topP = numberOf(field(config, "topP"))
  const limit = numberOf(field(config, "maxOutputTokens"))
  if (schema !== undefined && mime !== "application/json") return invalid("Response schema is only supported with response_mime_type application/json.")
  if (hasTools && mime === "application/json" && !isThirdGeneration(model) && model.startsWith("gemini-")) {
    return invalid("Function calling with a response mime type: 'application/json' is unsupported")
  }
  if (stringsOf(field(config, "stopSequences")).length > 5) return invalid("The number of stop sequences is limited to 5.")
  if (candidates !== undefined && (candidates < 1 || candidates > 8)) return invalid("Only between 1 and 8 candidates can be specified")
  if (temperature !== undefined && (temperature < 0 || temperature > 2)) return invalid("Unable to submit request: temperature must be in the range [0.0, 2.0].")
  if (topP !== undefined && (topP < 0 || topP > 1)) return invalid("Unable to submit request: topP must be in the range [0.0, 1.0].")
  if (limit !== undefined && limit < 1) return invalid("max_output_tokens must be positive.")
  if (config["logprobs"] !== undefined && field(config, "responseLogprobs") !== true) return invalid("logprobs is only valid if response_logprobs is true.")
  return checkThinking(objectOf(field(config, "thinkingConfig")), model)
}

export const check = (body: Json, model: string): Problem | undefined => {
  const system = field(body, "systemInstruction")
  const hasTools = listOf(body["tools"]).some((tool) => listOf(field(tool, "functionDeclarations")).length > 0)
  return firstOf(
    () => unknownIn(body, fields.request, ""),
    () => (system !== undefined && listOf(objectOf(system)["parts"]).length === 0 ? invalid("system_instruction.parts must not be empty.") : undefined),
    () => checkContents(body, model),
    () => checkTools(body),
    () => checkConfig(objectOf(field(body, "generationConfig")), model, hasTools)
  )
}
