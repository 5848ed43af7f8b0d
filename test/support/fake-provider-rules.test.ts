/** The fake provider refuses what the vendors refuse: else tests would take for right what is a 400 in the world. */
import { assert, describe, it } from "@effect/vitest"
import { vendors } from "./fake-provider/Server.ts"
import type { VendorName } from "./fake-provider/Wire.ts"

type Body = Readonly<Record<string, unknown>>

/** The vendor's complaint; undefined: it takes the body. */
const complaint = (vendor: VendorName, path: string, model: string, body: Body): string | undefined => {
  const protocol = vendors[vendor].routes.find((route) => route.method === "POST" && route.path.test(path))?.protocol ?? assert.fail(path)
  const problem = protocol.check(body, protocol.read(body, model, new URLSearchParams()))
  return problem === undefined ? undefined : problem.message ?? problem.kind
}

type Row = readonly [what: string, body: Body, complaint: RegExp | undefined]

const rows = (name: string, check: (body: Body) => string | undefined, table: ReadonlyArray<Row>) =>
  describe(name, () => {
    for (const [what, body, expected] of table) {
      it(`${expected === undefined ? "takes" : "refuses"} ${what}`, () => {
        const said = check(body)
        if (expected === undefined) assert.isUndefined(said)
        else assert.match(said ?? "", expected)
      })
    }
  })

const open = { type: "object", properties: { a: { type: "string" } } }
const strict = { ...open, required: ["a"], additionalProperties: false }

// --- OpenAI's chat completions

const user = { role: "user", content: "Hi" }
const call = (id: string) => ({ id, type: "function", function: { name: "f", arguments: "{}" } })
const tool = { type: "function", function: { name: "f" } }
const said = (...messages: ReadonlyArray<unknown>) => ({ messages })

rows("OpenAI's chat completions", (body) => complaint("openai", "/v1/chat/completions", "gpt-4o", { model: "gpt-4o", ...said(user), ...body }), [
  ["a plain question", {}, undefined],
  ["fields of tomorrow", { brand_new: 1 }, undefined],
  ["TokenHub's object", { tokenhub: {} }, /tokenhub/],
  ["another protocol's fields", { top_k: 5 }, /top_k/],
  ["an empty list of messages", said(), /empty array/],
  ["a role that there is none of", said({ role: "robot", content: "x" }), /robot/],
  ["no content", said({ role: "user", content: null }), /expected a string, got null/],
  ["an assistant without content or calls", said({ role: "assistant", content: null }), /got null/],
  ["a call that is not answered", said(user, { role: "assistant", tool_calls: [call("a"), call("b")] }, { role: "tool", tool_call_id: "a", content: "" }), /did not have response messages: b/],
  ["something between calls and results", said(user, { role: "assistant", tool_calls: [call("a")] }, user, { role: "tool", tool_call_id: "a", content: "" }), /did not have response/],
  ["a result without its call", said(user, { role: "tool", tool_call_id: "a", content: "" }), /must be a response to/],
  ["a picture in a result", said(user, { role: "assistant", tool_calls: [call("a")] }, { role: "tool", tool_call_id: "a", content: [{ type: "image_url", image_url: { url: "https://e.com/a" } }] }), /'image_url'/],
  ["a call's id of 41 letters", said(user, { role: "assistant", tool_calls: [call("x".repeat(41))] }, { role: "tool", tool_call_id: "x".repeat(41), content: "" }), /maximum length 40/],
  ["an address that is none", said({ role: "user", content: [{ type: "image_url", image_url: { url: "file:///a" } }] }), /valid URL/],
  ["a file that is no PDF", said({ role: "user", content: [{ type: "file", file: { filename: "a", file_data: "data:text/plain;base64,aGk=" } }] }), /application\/pdf/],
  ["Anthropic's mark for a cache", said({ role: "user", content: [{ type: "text", text: "a", cache_control: {} }] }), /cache_control/],
  ["its own mark for a cache", said({ role: "user", content: [{ type: "text", text: "a", prompt_cache_breakpoint: { mode: "explicit" } }] }), undefined],
  ["thoughts", said(user, { role: "assistant", content: "a", reasoning_content: "hm" }, user), /reasoning_content/],
  ["no tools in their list", { tools: [] }, /empty array/],
  ["a name with a blank", { tools: [{ type: "function", function: { name: "a b" } }] }, /pattern/],
  ["a name of 65 letters", { tools: [{ type: "function", function: { name: "a".repeat(65) } }] }, /maximum length 64/],
  ["a choice without tools", { tool_choice: "auto" }, /only allowed when 'tools'/],
  ["a choice of a tool that is not there", { tools: [tool], tool_choice: { type: "function", function: { name: "g" } } }, /'g' not found/],
  ["an open strict tool", { tools: [{ type: "function", function: { name: "f", parameters: open, strict: true } }] }, /additionalProperties/],
  ["a strict tool with an optional property", { tools: [{ type: "function", function: { name: "f", parameters: { ...strict, required: [] }, strict: true } }] }, /Missing 'a'/],
  ["a strict schema", { response_format: { type: "json_schema", json_schema: { name: "s", schema: strict, strict: true } } }, undefined],
  ["an open schema that is not strict", { response_format: { type: "json_schema", json_schema: { name: "s", schema: open } } }, undefined],
  ["JSON without the word", { response_format: { type: "json_object" } }, /'json'/],
  ["five stop texts", { stop: ["a", "b", "c", "d", "e"] }, /maximum length 4/],
  ["top_logprobs alone", { top_logprobs: 2 }, /logprobs/],
  ["a hot temperature", { temperature: 2.5 }, /temperature/],
  ["a user of 65 letters", { user: "u".repeat(65) }, /maximum length 64/],
  ["stream_options without a stream", { stream_options: {} }, /stream/],
  ["an effort of a model that does not think", { reasoning_effort: "low" }, /reasoning_effort/]
])

rows("OpenAI's thinking models", (body) => complaint("openai", "/v1/chat/completions", "gpt-5", { model: "gpt-5", ...said(user), ...body }), [
  ["an effort", { reasoning_effort: "low" }, undefined],
  ["a temperature", { temperature: 0.5 }, /Only the default/],
  ["max_tokens", { max_tokens: 5 }, /max_completion_tokens/],
  ["stop texts", { stop: "x" }, /stop/]
])

// --- OpenAI's responses

const item = { role: "user", content: "Hi" }
const made = (call_id: string, more: Body = {}) => ({ type: "function_call", call_id, name: "f", arguments: "{}", ...more })
const result = (call_id: string) => ({ type: "function_call_output", call_id, output: "" })

rows("OpenAI's responses", (body) => complaint("openai", "/v1/responses", "gpt-4.1", { model: "gpt-4.1", input: "Hi", ...body }), [
  ["a plain question", {}, undefined],
  ["no input", { input: undefined }, /'input'/],
  ["fields of chat completions", { stop: ["a"] }, /stop/],
  ["a user's output", { input: [{ role: "user", content: [{ type: "output_text", text: "a" }] }] }, /'output_text'/],
  ["an assistant's input", { input: [{ role: "assistant", content: [{ type: "input_text", text: "a" }] }] }, /'input_text'/],
  ["a call without its output", { input: [item, made("a")] }, /No tool output found/],
  ["an output without its call", { input: [item, result("a")] }, /No tool call found/],
  ["a call's id of 65 letters", { input: [item, made("x".repeat(65)), result("x".repeat(65))] }, /maximum length 64/],
  ["an item's id of another kind", { input: [item, made("a", { id: "toolu_1" }), result("a")] }, /begins with 'fc'/],
  ["a thought that leads to nothing", { input: [{ type: "reasoning", id: "rs_1", summary: [] }, item] }, /required following item/],
  ["an output limit below 16", { max_output_tokens: 15 }, /16/],
  ["encrypted thoughts of a model that has none", { include: ["reasoning.encrypted_content"] }, /Encrypted content/],
  ["an effort of such a model", { reasoning: { effort: "low" } }, /reasoning.effort/],
  ["an open tool that says nothing of strict", { tools: [{ type: "function", name: "f", parameters: open }] }, /additionalProperties/],
  ["a forced call without tools", { tool_choice: "required" }, /tools/]
])

// --- Anthropic

const use = (id: string) => ({ type: "tool_use", id, name: "f", input: {} })
const used = (id: string) => ({ type: "tool_result", tool_use_id: id, content: "" })
const f = { name: "f", input_schema: { type: "object" } }
const claude = (model: string) => (body: Body) =>
  complaint("anthropic", "/v1/messages", model, { model, max_tokens: 9000, messages: [user], ...body })
const thinking = { thinking: { type: "enabled", budget_tokens: 2048 } }
const adaptive = { thinking: { type: "adaptive" } }

rows("Anthropic's messages", claude("claude-opus-4-5"), [
  ["a plain question", {}, undefined],
  ["fields of tomorrow", { brand_new: 1 }, undefined],
  ["another protocol's fields", { stop: ["a"] }, /Extra inputs/],
  ["null where there is none", { temperature: null }, /temperature/],
  ["no message", said(), /at least one message/],
  ["a role that there is none of", said({ role: "tool", content: "x" }), /tool/],
  ["an empty content", said({ role: "user", content: [] }, user), /non-empty/],
  ["a blank text", said({ role: "user", content: [{ type: "text", text: " " }] }), /non-whitespace/],
  ["a blank string", said({ role: "user", content: "\n" }), /non-whitespace/],
  ["an answer that was begun with a blank at its end", said(user, { role: "assistant", content: "Well, " }), /trailing whitespace/],
  ["a call without its result", { ...said(user, { role: "assistant", content: [use("a"), use("b")] }, { role: "user", content: [used("a")] }), tools: [f] }, /without `tool_result` blocks immediately after: b/],
  ["a result without its call", { ...said({ role: "user", content: [used("a")] }), tools: [f] }, /unexpected `tool_use_id`/],
  ["a result behind words", { ...said(user, { role: "assistant", content: [use("a")] }, { role: "user", content: [{ type: "text", text: "x" }, used("a")] }), tools: [f] }, /come first/],
  ["an id with a colon", { ...said(user, { role: "assistant", content: [use("a:1")] }, { role: "user", content: [used("a:1")] }), tools: [f] }, /pattern/],
  ["an id that is there twice", { ...said(user, { role: "assistant", content: [use("a")] }, { role: "user", content: [used("a")] }, { role: "assistant", content: [use("a")] }, { role: "user", content: [used("a")] }), tools: [f] }, /unique/],
  ["an input that is no object", { ...said(user, { role: "assistant", content: [{ ...use("a"), input: "x" }] }, { role: "user", content: [used("a")] }), tools: [f] }, /dictionary/],
  ["calls without tools", said(user, { role: "assistant", content: [use("a")] }, { role: "user", content: [used("a")] }), /must define tools/],
  ["a choice without tools", { tool_choice: { type: "auto" } }, /while providing tools/],
  ["a choice of a tool that is not there", { tools: [f], tool_choice: { type: "tool", name: "g" } }, /'g' not found/],
  ["a tool whose input is no object", { tools: [{ name: "f", input_schema: {} }] }, /'object'/],
  ["an open schema", { output_config: { format: { type: "json_schema", schema: open } } }, /additionalProperties/],
  ["a thought that nobody signed", said(user, { role: "assistant", content: [{ type: "thinking", thinking: "hm", signature: "" }] }, user), /signature/],
  ["another vendor's thought", said(user, { role: "assistant", content: [{ type: "thinking", thinking: "hm", signature: "gemini:c2ln" }] }, user), /signature/],
  ["a picture of another kind", said({ role: "user", content: [{ type: "image", source: { type: "base64", media_type: "image/bmp", data: "aa" } }] }), /media_type/],
  ["a document of another kind", said({ role: "user", content: [{ type: "document", source: { type: "base64", media_type: "text/html", data: "aa" } }] }), /application\/pdf/],
  ["five marks", said({ role: "user", content: Array.from({ length: 5 }, () => ({ type: "text", text: "a", cache_control: { type: "ephemeral" } })) }), /maximum of 4/],
  ["a blank stop text", { stop_sequences: ["\n"] }, /non-whitespace/],
  ["a temperature above 1", { temperature: 1.5 }, /range/],
  ["two ways of sampling", { temperature: 0.5, top_p: 0.5 }, /cannot both/],
  ["a budget", thinking, undefined],
  ["a budget that is too small", { thinking: { type: "enabled", budget_tokens: 1000 } }, /1024/],
  ["a budget above the output limit", { ...thinking, max_tokens: 2048 }, /must be greater/],
  ["a budget and a temperature", { ...thinking, temperature: 0.5 }, /may only be set to 1/],
  ["a budget and a forced tool", { ...thinking, tools: [f], tool_choice: { type: "any" } }, /forces tool use/],
  ["adaptive thinking", adaptive, /not supported/],
  ["a system turn", said(user, { role: "system", content: "x" }), /Unexpected role "system"/]
])

rows("Anthropic's newer models", claude("claude-opus-5"), [
  ["adaptive thinking with an effort", { ...adaptive, output_config: { effort: "low" } }, undefined],
  ["a budget", thinking, /thinking.type.enabled/],
  ["a temperature", { temperature: 0.5 }, /deprecated/],
  ["the usual temperature", { temperature: 1 }, undefined],
  ["an answer that was begun", said(user, { role: "assistant", content: "Well," }), /prefill/],
  ["a system turn behind the user's", said(user, { role: "system", content: "x" }, { role: "assistant", content: "y" }, user), undefined],
  ["a system turn in front of the user's", said(user, { role: "assistant", content: "y" }, { role: "system", content: "x" }, user), /must follow/]
])

rows("Anthropic's models that always think", claude("claude-opus-5-5"), [["thinking switched off", { thinking: { type: "disabled" } }, /thinking.type.disabled/]])

// --- Gemini

const parts = (...list: ReadonlyArray<unknown>) => ({ role: "user", parts: list })
const model = (...list: ReadonlyArray<unknown>) => ({ role: "model", parts: list })
const made2 = { functionCall: { name: "f", args: {} } }
const response = { functionResponse: { name: "f", response: {} } }
const hi = parts({ text: "Hi" })
const declared = { tools: [{ functionDeclarations: [{ name: "f" }] }] }
const config = (fields: Body) => ({ generationConfig: fields })
const google = (name: string) => (body: Body) => complaint("gemini", `/v1beta/models/${name}:generateContent`, name, { contents: [hi], ...body })

rows("Gemini", google("gemini-2.5-pro"), [
  ["a plain question", {}, undefined],
  ["a field that it does not know", { messages: [] }, /Unknown name "messages"/],
  ["such a field in the configuration", config({ maxTokens: 5 }), /Unknown name "maxTokens"/],
  ["such a field in a part", { contents: [parts({ text: "a", cache_control: {} })] }, /cache_control/],
  ["a part of two kinds", { contents: [parts({ text: "a", inlineData: { mimeType: "image/png", data: "" } })] }, /oneof/],
  ["a part of none", { contents: [parts({ thought: true })] }, /oneof/],
  ["a content without parts", { contents: [parts()] }, /must not be empty/],
  ["a role that there is none of", { contents: [{ role: "assistant", parts: [{ text: "a" }] }] }, /valid role/],
  ["calls and as many results", { contents: [hi, model(made2, made2), parts(response, response)], ...declared }, undefined],
  ["fewer results than calls", { contents: [hi, model(made2, made2), parts(response)], ...declared }, /number of function response parts/],
  ["a result without a call", { contents: [hi, model({ text: "a" }), parts(response)], ...declared }, /immediately after a function call/],
  ["a call behind the model's own turn", { contents: [hi, model({ text: "a" }), model(made2), parts(response)], ...declared }, /immediately after a user turn/],
  ["a function's name with a blank", { tools: [{ functionDeclarations: [{ name: "a b" }] }] }, /Invalid function name/],
  ["a forced function that is not there", { ...declared, toolConfig: { functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["g"] } } }, /contains g/],
  ["a schema without its media type", config({ responseJsonSchema: open }), /response_mime_type/],
  ["JSON and functions", { ...declared, ...config({ responseMimeType: "application/json" }) }, /Function calling with a response mime type/],
  ["six stop texts", config({ stopSequences: ["a", "b", "c", "d", "e", "f"] }), /limited to 5/],
  ["nine candidates", config({ candidateCount: 9 }), /1 and 8/],
  ["log probabilities that nobody asked for", config({ logprobs: 2 }), /response_logprobs/],
  ["no thinking", config({ thinkingConfig: { thinkingBudget: 0 } }), /Budget 0/],
  ["a level", config({ thinkingConfig: { thinkingLevel: "low" } }), /not supported/],
  ["a level and a budget", config({ thinkingConfig: { thinkingLevel: "low", thinkingBudget: 200 } }), /only set one/]
])

rows("Gemini's third generation", google("gemini-3-pro"), [
  ["a level", config({ thinkingConfig: { thinkingLevel: "low" } }), undefined],
  ["a level that there is none of", config({ thinkingConfig: { thinkingLevel: "max" } }), /thinking_level/],
  ["a call without its signature", { contents: [hi, model(made2), parts(response)], ...declared }, /thought_signature/],
  ["a call with it", { contents: [hi, model({ ...made2, thoughtSignature: "c2ln" }, made2), parts(response, response)], ...declared }, undefined],
  ["an earlier turn's call without it", { contents: [hi, model(made2), parts(response), model({ text: "a" }), hi], ...declared }, undefined]
])
