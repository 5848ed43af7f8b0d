/**
 * Field by field: what a client may ask at each door, and what reaches each provider of it. The data of tests that send raw JSON,
 * and of the tables that docs/CLIENTS.md shows.
 */
import type { UpstreamName } from "./Table.ts"
import { upstreamNames, upstreams } from "./Table.ts"

type Json = { readonly [name: string]: unknown }

/** Where in the provider's request the field stands, with its value; the field of the 400; or null: nobody misses it there. */
type Outcome = readonly [path: string, value: unknown] | string | null

export interface Field {
  readonly name: string
  /** What it adds to the door's plainest request. */
  readonly asks: Json
  /** At every provider alike, or at each. */
  readonly outcomes: Readonly<Record<UpstreamName, Outcome>>
  /** A model that thinks is asked. */
  readonly thinks?: true
  /** What the answer must then have. */
  readonly answers?: (answer: Json) => void
}

export interface DoorFields {
  readonly title: string
  readonly path: string
  /** The plainest request, without its model. */
  readonly plain: Json
  readonly fields: ReadonlyArray<Field>
}

const each = (openai: Outcome, responses: Outcome, anthropic: Outcome, gemini: Outcome): Field["outcomes"] => ({
  openai,
  "openai-responses": responses,
  anthropic,
  gemini
})


const count = (answer: Json, name: string): number => {
  const list = answer[name]
  return Array.isArray(list) ? list.length : 0
}

const expectTwo = (answer: Json): void => {
  if (count(answer, "choices") !== 2) throw new Error(`Not two answers: ${JSON.stringify(answer)}`)
}

const png = "iVBORw0KGgo="
const pdf = "JVBERi0xLjcK"
const url = "https://example.com/a"
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false }
const parameters = { type: "object", properties: { city: { type: "string" } } }

// --- chat completions

const look = { type: "function", function: { name: "look", parameters } }
const chatUser = (...parts: ReadonlyArray<Json>) => ({ messages: [{ role: "user", content: [{ type: "text", text: "Hi" }, ...parts] }] })

const chat: DoorFields = {
  title: "Chat completions",
  path: "/v1/chat/completions",
  plain: { messages: [{ role: "user", content: "Hi" }] },
  fields: [
    { name: "`max_completion_tokens`, `max_tokens`", asks: { max_tokens: 77 }, outcomes: each(["max_completion_tokens", 77], ["max_output_tokens", 77], ["max_tokens", 77], ["generationConfig.maxOutputTokens", 77]) },
    { name: "`temperature`", asks: { temperature: 0.5 }, outcomes: each(["temperature", 0.5], ["temperature", 0.5], ["temperature", 0.5], ["generationConfig.temperature", 0.5]) },
    { name: "`temperature` above 1", asks: { temperature: 1.5 }, outcomes: each(["temperature", 1.5], ["temperature", 1.5], "temperature", ["generationConfig.temperature", 1.5]) },
    { name: "`top_p`", asks: { top_p: 0.5 }, outcomes: each(["top_p", 0.5], ["top_p", 0.5], ["top_p", 0.5], ["generationConfig.topP", 0.5]) },
    { name: "`top_k`", asks: { top_k: 5 }, outcomes: each("top_k", "top_k", ["top_k", 5], ["generationConfig.topK", 5]) },
    { name: "`stop`", asks: { stop: ["END"] }, outcomes: each(["stop[0]", "END"], "stop", ["stop_sequences[0]", "END"], ["generationConfig.stopSequences[0]", "END"]) },
    { name: "`seed`", asks: { seed: 7 }, outcomes: each(["seed", 7], "seed", "seed", ["generationConfig.seed", 7]) },
    { name: "`frequency_penalty`", asks: { frequency_penalty: 0.5 }, outcomes: each(["frequency_penalty", 0.5], "frequency_penalty", "frequency_penalty", ["generationConfig.frequencyPenalty", 0.5]) },
    { name: "`presence_penalty`", asks: { presence_penalty: 0.5 }, outcomes: each(["presence_penalty", 0.5], "presence_penalty", "presence_penalty", ["generationConfig.presencePenalty", 0.5]) },
    { name: "`logprobs`, `top_logprobs`", asks: { logprobs: true, top_logprobs: 2 }, outcomes: each(["top_logprobs", 2], ["top_logprobs", 2], "logprobs", ["generationConfig.logprobs", 2]) },
    { name: "`n`", asks: { n: 2 }, outcomes: each(["n", 2], "n", "n", ["generationConfig.candidateCount", 2]), answers: expectTwo },
    { name: "`tools`, `tool_choice: \"auto\"`", asks: { tools: [look], tool_choice: "auto" }, outcomes: each(["tool_choice", "auto"], ["tool_choice", "auto"], ["tool_choice.type", "auto"], ["toolConfig.functionCallingConfig.mode", "AUTO"]) },
    { name: "`tool_choice: \"none\"`", asks: { tools: [look], tool_choice: "none" }, outcomes: each(["tool_choice", "none"], ["tool_choice", "none"], ["tool_choice.type", "none"], ["toolConfig.functionCallingConfig.mode", "NONE"]) },
    { name: "`tool_choice: \"required\"`", asks: { tools: [look], tool_choice: "required" }, outcomes: each(["tool_choice", "required"], ["tool_choice", "required"], ["tool_choice.type", "any"], ["toolConfig.functionCallingConfig.mode", "ANY"]) },
    { name: "`tool_choice` of one function", asks: { tools: [look], tool_choice: { type: "function", function: { name: "look" } } }, outcomes: each(["tool_choice.function.name", "look"], ["tool_choice.name", "look"], ["tool_choice.name", "look"], ["toolConfig.functionCallingConfig.allowedFunctionNames[0]", "look"]) },
    { name: "`parallel_tool_calls: false`", asks: { tools: [look], parallel_tool_calls: false }, outcomes: each(["parallel_tool_calls", false], ["parallel_tool_calls", false], ["tool_choice.disable_parallel_tool_use", true], "parallel_tool_calls") },
    { name: "`response_format`: JSON", asks: { messages: [{ role: "user", content: "Say it as JSON" }], response_format: { type: "json_object" } }, outcomes: each(["response_format.type", "json_object"], ["text.format.type", "json_object"], "response_format", ["generationConfig.responseMimeType", "application/json"]) },
    { name: "`response_format`: JSON schema", asks: { response_format: { type: "json_schema", json_schema: { name: "city", schema, strict: true } } }, outcomes: each(["response_format.json_schema.schema", schema], ["text.format.schema", schema], ["output_config.format.schema", schema], ["generationConfig.responseJsonSchema", schema]) },
    { name: "`reasoning_effort`", asks: { reasoning_effort: "low", max_completion_tokens: 9000 }, outcomes: each(["reasoning_effort", "low"], ["reasoning.effort", "low"], ["thinking.budget_tokens", 2048], ["generationConfig.thinkingConfig.thinkingBudget", 2048]), thinks: true },
    { name: "`user`", asks: { user: "u1" }, outcomes: each(["user", "u1"], ["user", "u1"], ["metadata.user_id", "u1"], null) },
    { name: "`name` of a message", asks: { messages: [{ role: "user", name: "ann", content: "Hi" }] }, outcomes: each(["messages[0].name", "ann"], "messages[0].name", "messages[0].name", "messages[0].name") },
    { name: "`logit_bias`", asks: { logit_bias: { 50256: -100 } }, outcomes: each(["logit_bias", { 50256: -100 }], "logit_bias", "logit_bias", "logit_bias") },
    { name: "`metadata`, `store` and other hints", asks: { metadata: { a: "b" }, store: true }, outcomes: each(["metadata.a", "b"], null, null, null) },
    { name: "a field that nobody knows", asks: { brand_new: 1 }, outcomes: each(["brand_new", 1], "brand_new", "brand_new", "brand_new") },
    { name: "a picture's bytes", asks: chatUser({ type: "image_url", image_url: { url: `data:image/png;base64,${png}` } }), outcomes: each(["messages[0].content[1].image_url.url", `data:image/png;base64,${png}`], ["input[0].content[1].image_url", `data:image/png;base64,${png}`], ["messages[0].content[1].source.data", png], ["contents[0].parts[1].inlineData.data", png]) },
    { name: "a picture's address", asks: chatUser({ type: "image_url", image_url: { url } }), outcomes: each(["messages[0].content[1].image_url.url", url], ["input[0].content[1].image_url", url], ["messages[0].content[1].source.url", url], ["contents[0].parts[1].fileData.fileUri", url]) },
    { name: "a PDF's bytes", asks: chatUser({ type: "file", file: { filename: "a.pdf", file_data: `data:application/pdf;base64,${pdf}` } }), outcomes: each(["messages[0].content[1].file.filename", "a.pdf"], ["input[0].content[1].filename", "a.pdf"], ["messages[0].content[1].source.data", pdf], ["contents[0].parts[1].inlineData.data", pdf]) },
    { name: "a file that lies at OpenAI", asks: chatUser({ type: "file", file: { file_id: "file-1" } }), outcomes: each(["messages[0].content[1].file.file_id", "file-1"], "messages[0].content[1]", "messages[0].content[1]", "messages[0].content[1]") },
    { name: "a recording", asks: chatUser({ type: "input_audio", input_audio: { data: "AAAA", format: "wav" } }), outcomes: each(["messages[0].content[1].input_audio.data", "AAAA"], "messages[0].content[1]", "messages[0].content[1]", ["contents[0].parts[1].inlineData.data", "AAAA"]) },
    { name: "a custom tool", asks: { tools: [{ type: "custom", custom: { name: "g" } }] }, outcomes: each(["tools[0].custom.name", "g"], "tools[0]", "tools[0]", "tools[0]") },
    { name: "`functions`", asks: { functions: [{ name: "f" }] }, outcomes: each(["functions[0].name", "f"], "functions", "functions", "functions") }
  ]
}

// --- responses

const tool = { type: "function", name: "look", parameters, strict: false }
const input = (...parts: ReadonlyArray<Json>) => ({ input: [{ role: "user", content: [{ type: "input_text", text: "Hi" }, ...parts] }] })

const responses: DoorFields = {
  title: "Responses",
  path: "/v1/responses",
  plain: { input: "Hi" },
  fields: [
    { name: "`instructions`", asks: { instructions: "Be brief." }, outcomes: each(["messages[0].content", "Be brief."], ["instructions", "Be brief."], ["system", "Be brief."], ["systemInstruction.parts[0].text", "Be brief."]) },
    { name: "`max_output_tokens`", asks: { max_output_tokens: 77 }, outcomes: each(["max_completion_tokens", 77], ["max_output_tokens", 77], ["max_tokens", 77], ["generationConfig.maxOutputTokens", 77]) },
    { name: "`temperature`", asks: { temperature: 0.5 }, outcomes: each(["temperature", 0.5], ["temperature", 0.5], ["temperature", 0.5], ["generationConfig.temperature", 0.5]) },
    { name: "`top_logprobs`, included", asks: { include: ["message.output_text.logprobs"], top_logprobs: 2 }, outcomes: each(["top_logprobs", 2], ["top_logprobs", 2], "include", ["generationConfig.logprobs", 2]) },
    { name: "`tool_choice: \"required\"`", asks: { tools: [tool], tool_choice: "required" }, outcomes: each(["tool_choice", "required"], ["tool_choice", "required"], ["tool_choice.type", "any"], ["toolConfig.functionCallingConfig.mode", "ANY"]) },
    { name: "`tool_choice` of one function", asks: { tools: [tool], tool_choice: { type: "function", name: "look" } }, outcomes: each(["tool_choice.function.name", "look"], ["tool_choice.name", "look"], ["tool_choice.name", "look"], ["toolConfig.functionCallingConfig.allowedFunctionNames[0]", "look"]) },
    { name: "`parallel_tool_calls: false`", asks: { tools: [tool], parallel_tool_calls: false }, outcomes: each(["parallel_tool_calls", false], ["parallel_tool_calls", false], ["tool_choice.disable_parallel_tool_use", true], "parallel_tool_calls") },
    { name: "`text.format`: JSON", asks: { input: "Say it as JSON", text: { format: { type: "json_object" } } }, outcomes: each(["response_format.type", "json_object"], ["text.format.type", "json_object"], "text.format", ["generationConfig.responseMimeType", "application/json"]) },
    { name: "`text.format`: JSON schema", asks: { text: { format: { type: "json_schema", name: "city", schema, strict: true } } }, outcomes: each(["response_format.json_schema.schema", schema], ["text.format.schema", schema], ["output_config.format.schema", schema], ["generationConfig.responseJsonSchema", schema]) },
    { name: "`text.verbosity`", asks: { text: { verbosity: "low" } }, outcomes: each("text.verbosity", ["text.verbosity", "low"], "text.verbosity", "text.verbosity") },
    { name: "`reasoning.effort`", asks: { reasoning: { effort: "low" }, max_output_tokens: 9000 }, outcomes: each(["reasoning_effort", "low"], ["reasoning.effort", "low"], ["thinking.budget_tokens", 2048], ["generationConfig.thinkingConfig.thinkingBudget", 2048]), thinks: true },
    { name: "`reasoning.summary`", asks: { reasoning: { summary: "auto" } }, outcomes: each(null, ["reasoning.summary", "auto"], null, ["generationConfig.thinkingConfig.includeThoughts", true]), thinks: true },
    { name: "`truncation: \"auto\"`", asks: { truncation: "auto" }, outcomes: each("truncation", ["truncation", "auto"], "truncation", "truncation") },
    { name: "`max_tool_calls`", asks: { max_tool_calls: 3 }, outcomes: each("max_tool_calls", ["max_tool_calls", 3], "max_tool_calls", "max_tool_calls") },
    { name: "`metadata` and other hints", asks: { metadata: { a: "b" }, prompt_cache_key: "k" }, outcomes: each(null, ["metadata.a", "b"], null, null) },
    { name: "a field that nobody knows", asks: { brand_new: 1 }, outcomes: each("brand_new", ["brand_new", 1], "brand_new", "brand_new") },
    { name: "a picture's address", asks: input({ type: "input_image", image_url: url }), outcomes: each(["messages[0].content[1].image_url.url", url], ["input[0].content[1].image_url", url], ["messages[0].content[1].source.url", url], ["contents[0].parts[1].fileData.fileUri", url]) },
    { name: "a PDF's bytes", asks: input({ type: "input_file", filename: "a.pdf", file_data: `data:application/pdf;base64,${pdf}` }), outcomes: each(["messages[0].content[1].file.filename", "a.pdf"], ["input[0].content[1].filename", "a.pdf"], ["messages[0].content[1].source.data", pdf], ["contents[0].parts[1].inlineData.data", pdf]) },
    { name: "a PDF's address", asks: input({ type: "input_file", file_url: url }), outcomes: each("input", ["input[0].content[1].file_url", url], ["messages[0].content[1].source.url", url], ["contents[0].parts[1].fileData.fileUri", url]) },
    { name: "a file that lies at OpenAI", asks: input({ type: "input_file", file_id: "file-1" }), outcomes: each("input[0].content[1]", ["input[0].content[1].file_id", "file-1"], "input[0].content[1]", "input[0].content[1]") },
    { name: "OpenAI's own tools", asks: { tools: [{ type: "web_search" }] }, outcomes: each("tools[0]", ["tools[0].type", "web_search"], "tools[0]", "tools[0]") }
  ]
}

// --- messages

const blocks = (...more: ReadonlyArray<Json>) => ({ messages: [{ role: "user", content: [{ type: "text", text: "Hi" }, ...more] }] })
const ownTool = { name: "look", input_schema: parameters }
const begun = { messages: [{ role: "user", content: "Hi" }, { role: "assistant", content: "Well," }] }

const messages: DoorFields = {
  title: "Messages",
  path: "/v1/messages",
  plain: { max_tokens: 77, messages: [{ role: "user", content: "Hi" }] },
  fields: [
    { name: "`system`", asks: { system: "Be brief." }, outcomes: each(["messages[0].content", "Be brief."], ["input[0].content[0].text", "Be brief."], ["system", "Be brief."], ["systemInstruction.parts[0].text", "Be brief."]) },
    { name: "`max_tokens`", asks: {}, outcomes: each(["max_completion_tokens", 77], ["max_output_tokens", 77], ["max_tokens", 77], ["generationConfig.maxOutputTokens", 77]) },
    { name: "`temperature`", asks: { temperature: 0.5 }, outcomes: each(["temperature", 0.5], ["temperature", 0.5], ["temperature", 0.5], ["generationConfig.temperature", 0.5]) },
    { name: "`top_k`", asks: { top_k: 5 }, outcomes: each("top_k", "top_k", ["top_k", 5], ["generationConfig.topK", 5]) },
    { name: "`stop_sequences`", asks: { stop_sequences: ["END"] }, outcomes: each(["stop[0]", "END"], "stop_sequences", ["stop_sequences[0]", "END"], ["generationConfig.stopSequences[0]", "END"]) },
    { name: "`tool_choice`: any", asks: { tools: [ownTool], tool_choice: { type: "any" } }, outcomes: each(["tool_choice", "required"], ["tool_choice", "required"], ["tool_choice.type", "any"], ["toolConfig.functionCallingConfig.mode", "ANY"]) },
    { name: "`tool_choice`: one tool", asks: { tools: [ownTool], tool_choice: { type: "tool", name: "look" } }, outcomes: each(["tool_choice.function.name", "look"], ["tool_choice.name", "look"], ["tool_choice.name", "look"], ["toolConfig.functionCallingConfig.allowedFunctionNames[0]", "look"]) },
    { name: "`tool_choice`: none", asks: { tools: [ownTool], tool_choice: { type: "none" } }, outcomes: each(["tool_choice", "none"], ["tool_choice", "none"], ["tool_choice.type", "none"], ["toolConfig.functionCallingConfig.mode", "NONE"]) },
    { name: "`disable_parallel_tool_use`", asks: { tools: [ownTool], tool_choice: { type: "auto", disable_parallel_tool_use: true } }, outcomes: each(["parallel_tool_calls", false], ["parallel_tool_calls", false], ["tool_choice.disable_parallel_tool_use", true], "tool_choice.disable_parallel_tool_use") },
    { name: "`output_config.format`", asks: { output_config: { format: { type: "json_schema", schema } } }, outcomes: each(["response_format.json_schema.strict", true], ["text.format.strict", true], ["output_config.format.schema", schema], ["generationConfig.responseJsonSchema", schema]) },
    { name: "`thinking`: a budget", asks: { max_tokens: 9000, thinking: { type: "enabled", budget_tokens: 2048 } }, outcomes: each(["reasoning_effort", "low"], ["reasoning.effort", "low"], ["thinking.budget_tokens", 2048], ["generationConfig.thinkingConfig.thinkingBudget", 2048]), thinks: true },
    { name: "`thinking.display`", asks: { max_tokens: 9000, thinking: { type: "enabled", budget_tokens: 2048, display: "summarized" } }, outcomes: each(null, ["reasoning.summary", "auto"], ["thinking.display", "summarized"], ["generationConfig.thinkingConfig.includeThoughts", true]), thinks: true },
    { name: "`metadata.user_id`", asks: { metadata: { user_id: "u1" } }, outcomes: each(["user", "u1"], ["user", "u1"], ["metadata.user_id", "u1"], null) },
    { name: "`service_tier`, `cache_control` and other hints", asks: { service_tier: "auto", system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }] }, outcomes: each(null, null, ["system[0].cache_control.type", "ephemeral"], null) },
    { name: "a field that nobody knows", asks: { brand_new: 1 }, outcomes: each("brand_new", "brand_new", ["brand_new", 1], "brand_new") },
    { name: "an answer that is begun", asks: begun, outcomes: each("messages[1]", "messages[1]", ["messages[1].content", "Well,"], ["contents[1].parts[0].text", "Well,"]) },
    { name: "a picture's bytes", asks: blocks({ type: "image", source: { type: "base64", media_type: "image/png", data: png } }), outcomes: each(["messages[0].content[1].image_url.url", `data:image/png;base64,${png}`], ["input[0].content[1].image_url", `data:image/png;base64,${png}`], ["messages[0].content[1].source.data", png], ["contents[0].parts[1].inlineData.data", png]) },
    { name: "a PDF's address", asks: { system: "Be brief.", ...blocks({ type: "document", source: { type: "url", url } }) }, outcomes: each("messages[0].content[1]", ["input[1].content[1].file_url", url], ["messages[0].content[1].source.url", url], ["contents[0].parts[1].fileData.fileUri", url]) },
    { name: "a text document", asks: blocks({ type: "document", title: "a", source: { type: "text", media_type: "text/plain", data: "Buy milk" } }), outcomes: each(["messages[0].content[1].text", "a\n\nBuy milk"], ["input[0].content[1].filename", "a"], ["messages[0].content[1].source.data", "Buy milk"], ["contents[0].parts[1].inlineData.mimeType", "text/plain"]) },
    { name: "a file that lies at Anthropic", asks: blocks({ type: "document", source: { type: "file", file_id: "f" } }), outcomes: each("messages[0].content[1].source", "messages[0].content[1].source", ["messages[0].content[1].source.file_id", "f"], "messages[0].content[1].source") },
    { name: "citations", asks: blocks({ type: "document", citations: { enabled: true }, source: { type: "text", media_type: "text/plain", data: "a" } }), outcomes: each("messages[0].content[1].citations", "messages[0].content[1].citations", ["messages[0].content[1].citations.enabled", true], "messages[0].content[1].citations") },
    { name: "Anthropic's own tools", asks: { tools: [{ type: "web_search_20250305", name: "web_search" }] }, outcomes: each("tools[0]", "tools[0]", ["tools[0].name", "web_search"], "tools[0]") }
  ]
}

export const doorFields: ReadonlyArray<DoorFields> = [chat, responses, messages]

// --- as Markdown

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const shown = (outcome: Outcome): string => (outcome === null ? "left out" : typeof outcome === "string" ? `400 \`${outcome}\`` : "yes")

const table = ({ fields, path, title }: DoorFields): string =>
  [
    `#### ${title}, \`${path}\``,
    [
      row(["", ...upstreamNames.map((upstream) => upstreams[upstream].title)]),
      row(["", ...upstreamNames].map(() => "---")),
      ...fields.map(({ name, outcomes }) => row([name, ...upstreamNames.map((upstream) => shown(outcomes[upstream]))]))
    ].join("\n")
  ].join("\n\n")

/** The tables of fields for docs/CLIENTS.md. */
export const markdown: string = doorFields.map(table).join("\n\n")

