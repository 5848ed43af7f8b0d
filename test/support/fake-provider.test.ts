import { Anthropic } from "@anthropic-ai/sdk"
import { afterAll, assert, beforeEach, describe, it } from "@effect/vitest"
import { AzureOpenAI, OpenAI } from "openai"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { connect } from "node:net"
import { createInterface } from "node:readline"
import { gunzipSync } from "node:zlib"
import { faults } from "./fake-provider/Faults.ts"
import { scoped, startFakeProvider } from "./FakeProvider.ts"

const fake = await startFakeProvider()
afterAll(() => fake.close())
beforeEach(() => fake.reset())

const openai = new OpenAI({ apiKey: "sk-test", baseURL: fake.url("openai"), maxRetries: 0 })
const azure = new AzureOpenAI({
  apiKey: "az-test",
  endpoint: fake.url("azure"),
  apiVersion: "2024-10-21",
  maxRetries: 0
})
const anthropic = new Anthropic({
  apiKey: "sk-ant-test",
  authToken: null,
  baseURL: fake.url("anthropic"),
  maxRetries: 0
})

const ask = (content: string) => [{ role: "user" as const, content }]

const cityOnly = { type: "object" as const, properties: { city: { type: "string" } } }
const weather = { name: "weather", description: "", parameters: cityOnly }
const openaiTools = [{ type: "function" as const, function: weather }]
const anthropicTools = [{ name: "weather", input_schema: cityOnly }]

const collect = async <A>(stream: AsyncIterable<A>): Promise<Array<A>> => {
  const all: Array<A> = []
  for await (const item of stream) all.push(item)
  return all
}

const rejection = async (promise: PromiseLike<unknown>): Promise<unknown> => {
  try {
    await promise
  } catch (error) {
    return error
  }
  return assert.fail("was expected to reject")
}

const post = (path: string, body: unknown, headers: Record<string, string> = {}, signal?: AbortSignal) =>
  fetch(`http://127.0.0.1:${fake.port}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer sk-test", "x-goog-api-key": "g", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
    redirect: "manual",
    ...(signal && { signal })
  })

const chat = (model: string, stream = false, signal?: AbortSignal) =>
  post(
    "/openai/v1/chat/completions",
    { model, stream, messages: ask("Hello, how are you today, my friend?") },
    {},
    signal
  )

const contentOf = (chunks: ReadonlyArray<OpenAI.ChatCompletionChunk>): string =>
  chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")

const billed = () => fake.bill.map(({ completion, model, prompt }) => ({ model, prompt, completion }))

describe("OpenAI's client", () => {
  it("gets a plain answer that depends on the message and the model, and is billed", async () => {
    const answer = await openai.chat.completions.create({ model: "gpt-4o", messages: ask("Hi there") })
    assert.strictEqual(answer.choices[0]?.message.content, "gpt-4o heard: Hi there")
    assert.strictEqual(answer.choices[0]?.finish_reason, "stop")
    assert.deepInclude(answer.usage, { prompt_tokens: 2, completion_tokens: 6, total_tokens: 8 })
    assert.match(answer._request_id ?? "", /^req_/)
    assert.deepStrictEqual(billed(), [{ model: "gpt-4o", prompt: 2, completion: 6 }])
    assert.strictEqual(fake.calls[0]?.key, "sk-test")
  })

  it("streams the same text, with usage in an event of its own", async () => {
    const chunks = await collect(
      await openai.chat.completions.create({
        model: "gpt-4o",
        messages: ask("Grüße, 世界 🌍!"),
        stream: true,
        stream_options: { include_usage: true }
      })
    )
    assert.strictEqual(contentOf(chunks), "gpt-4o heard: Grüße, 世界 🌍!")
    assert.strictEqual(chunks.at(-2)?.choices[0]?.finish_reason, "stop")
    assert.deepStrictEqual(chunks.at(-1)?.choices, [])
    assert.deepStrictEqual(billed(), [{
      model: "gpt-4o",
      prompt: chunks.at(-1)?.usage?.prompt_tokens ?? -1,
      completion: chunks.at(-1)?.usage?.completion_tokens ?? -1
    }])
  })

  it("gets parallel tool calls, plain and streamed, and an answer after the tool's result", async () => {
    const messages = ask(`use tool weather {"city":"Oslo"} and use tool weather {"city":{"name":"Rom"}}`)
    const plain = await openai.chat.completions.create({ model: "gpt-4o", messages, tools: openaiTools })
    const streamed = await openai.chat.completions.stream({ model: "gpt-4o", messages, tools: openaiTools })
      .finalChatCompletion()
    for (const answer of [plain, streamed]) {
      const calls = answer.choices[0]?.message.tool_calls ?? []
      assert.deepStrictEqual(
        calls.map((call) => call.type === "function" && [call.function.name, JSON.parse(call.function.arguments)]),
        [["weather", { city: "Oslo" }], ["weather", { city: { name: "Rom" } }]]
      )
      assert.strictEqual(answer.choices[0]?.finish_reason, "tool_calls")
    }
    const calls = plain.choices[0]?.message.tool_calls ?? []
    const results = calls.map((call) => ({ role: "tool" as const, tool_call_id: call.id, content: "12 degrees" }))
    const after = await openai.chat.completions.create({
      model: "gpt-4o",
      messages: [...messages, { role: "assistant", tool_calls: calls }, ...results],
      tools: openaiTools
    })
    assert.strictEqual(after.choices[0]?.message.content, "gpt-4o got from the tool: 12 degrees")
  })

  it("gets JSON by mode and by schema, choices, log probabilities and the output limit", async () => {
    const days = { type: "array", items: { type: "integer" } }
    const schema = { type: "object", properties: { city: { type: "string" }, days } }
    const bySchema = await openai.chat.completions.create({
      model: "gpt-4o",
      messages: ask("Oslo"),
      response_format: { type: "json_schema", json_schema: { name: "x", schema } }
    })
    assert.deepStrictEqual(JSON.parse(bySchema.choices[0]?.message.content ?? ""), { city: "Oslo", days: [1] })
    const byMode = await openai.chat.completions.create({
      model: "gpt-4o",
      messages: ask("some json"),
      response_format: { type: "json_object" }
    })
    assert.deepStrictEqual(JSON.parse(byMode.choices[0]?.message.content ?? ""), { model: "gpt-4o", echo: "some json" })
    const two = await openai.chat.completions.create({
      model: "gpt-4o",
      messages: ask("Hello"),
      n: 2,
      logprobs: true,
      top_logprobs: 2,
      max_tokens: 2
    })
    assert.strictEqual(two.choices.length, 2)
    assert.strictEqual(two.choices[1]?.finish_reason, "length")
    assert.strictEqual(two.choices[1]?.message.content, "gpt-4o h")
    assert.strictEqual(two.choices[0]?.logprobs?.content?.[0]?.top_logprobs.length, 2)
  })

  it("gets a scripted refusal, reasoning and usage, each script once and in order", async () => {
    fake.script("gpt-4o", { refusal: "I can't." }, {
      reasoning: "Hm.",
      text: "Yes",
      usage: { prompt: 100, completion: 50, cached: 80, reasoning: 40 }
    })
    const request = { model: "gpt-4o", messages: ask("Hello") }
    const refused = await openai.chat.completions.create(request)
    assert.strictEqual(refused.choices[0]?.message.refusal, "I can't.")
    assert.isNull(refused.choices[0]?.message.content)
    const reasoned = await openai.chat.completions.create(request)
    assert.deepInclude(reasoned.choices[0]?.message ?? {}, { content: "Yes", reasoning_content: "Hm." })
    assert.strictEqual(reasoned.usage?.prompt_tokens_details?.cached_tokens, 80)
    assert.strictEqual(reasoned.usage?.completion_tokens_details?.reasoning_tokens, 40)
    assert.deepInclude(fake.bill[1], { prompt: 100, completion: 50, cached: 80, reasoning: 40 })
    assert.strictEqual(fake.unused(), 0)
    const third = await openai.chat.completions.create(request)
    assert.strictEqual(third.choices[0]?.message.content, "gpt-4o heard: Hello")
  })

  it("lists models and makes embeddings", async () => {
    const ids = (await collect(openai.models.list())).map(({ id }) => id)
    assert.include(ids, "gpt-4o")
    const asked = { model: "text-embedding-3-small", dimensions: 8 }
    const made = await openai.embeddings.create({ ...asked, input: ["one", "two"] })
    const floats = await openai.embeddings.create({ ...asked, input: "one", encoding_format: "float" })
    assert.strictEqual(made.data.length, 2)
    assert.deepStrictEqual(made.data[0]?.embedding, floats.data[0]?.embedding)
    assert.deepStrictEqual(billed().map(({ prompt }) => prompt), [2, 1])
  })

  it("speaks the Responses API, plain and as typed events", async () => {
    const tools = [{ type: "function" as const, strict: false, ...weather }]
    const plain = await openai.responses.create({ model: "gpt-4o", input: "Hello" })
    assert.strictEqual(plain.output_text, "gpt-4o heard: Hello")
    assert.strictEqual(plain.status, "completed")
    const streamed = openai.responses.stream({ model: "gpt-4o", input: `use tool weather {"city":"Oslo"}`, tools })
    const events = await collect(streamed)
    assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, at) => at))
    const final = await streamed.finalResponse()
    assert.deepInclude(final.output[0], { type: "function_call", name: "weather", arguments: `{"city":"Oslo"}` })
    assert.strictEqual(final.usage?.output_tokens, fake.bill[1]?.completion)
  })

  const kinds = [
    [400, OpenAI.BadRequestError, null],
    [401, OpenAI.AuthenticationError, "invalid_api_key"],
    [403, OpenAI.PermissionDeniedError, "model_not_found"],
    [404, OpenAI.NotFoundError, "model_not_found"],
    [409, OpenAI.ConflictError, "conflict"],
    [422, OpenAI.UnprocessableEntityError, null],
    [429, OpenAI.RateLimitError, "rate_limit_exceeded"],
    [500, OpenAI.InternalServerError, null],
    [503, OpenAI.InternalServerError, 503]
  ] as const
  it.for(kinds)("raises its typed error for %s", async ([status, type, code]) => {
    fake.script("gpt-4o", { error: status })
    const error = await rejection(openai.chat.completions.create({ model: "gpt-4o", messages: ask("Hello") }))
    assert.instanceOf(error, type)
    assert.deepStrictEqual<unknown>([error.status, error.code], [status, code])
    assert.match(error.requestID ?? "", /^req_/)
    assert.strictEqual(fake.bill.length, 0)
  })

  it("raises the errors that are known by their code", async () => {
    const create = () => rejection(openai.chat.completions.create({ model: "gpt-4o", messages: ask("Hello") }))
    fake.script("gpt-4o", { error: "context_length" }, { error: "quota" })
    assert.deepInclude(await create(), { status: 400, code: "context_length_exceeded", param: "messages" })
    assert.deepInclude(await create(), { status: 429, code: "insufficient_quota" })
    const wrongKey = new OpenAI({ apiKey: "sk-invalid", baseURL: fake.url("openai"), maxRetries: 0 })
    assert.deepInclude(await rejection(wrongKey.models.list()), { status: 401, code: "invalid_api_key" })
    const limit = rejection(openai.chat.completions.create({ model: "gpt-5", messages: ask("Hello"), max_tokens: 5 }))
    assert.deepInclude(await limit, { status: 400, code: "unsupported_parameter" })
  })

  it("raises an error inside a stream", async () => {
    fake.script("gpt-4o", { fault: "error-mid?after=1" })
    const stream = await openai.chat.completions.create({ model: "gpt-4o", messages: ask("Hello"), stream: true })
    assert.instanceOf(await rejection(collect(stream)), OpenAI.APIError)
  })

  it("calls Azure by deployment, and its newer path as OpenAI", async () => {
    const byDeployment = await azure.chat.completions.create({ model: "my-deployment", messages: ask("Hello") })
    assert.strictEqual(byDeployment.choices[0]?.message.content, "my-deployment heard: Hello")
    assert.strictEqual(fake.calls[0]?.headers["api-key"], "az-test")
    const chunks = await collect(
      await azure.chat.completions.create({ model: "my-deployment", messages: ask("Hello"), stream: true })
    )
    assert.deepStrictEqual(chunks[0]?.choices, [])
    assert.strictEqual(contentOf(chunks), "my-deployment heard: Hello")
    const newer = new OpenAI({ apiKey: "az-test", baseURL: `${fake.url("azure")}/openai/v1`, maxRetries: 0 })
    await newer.chat.completions.create({ model: "my-deployment", messages: ask("Hello") })
    fake.script({ vendor: "azure" }, { error: 404 })
    const error = await rejection(azure.chat.completions.create({ model: "gone", messages: ask("Hello") }))
    assert.deepInclude(error, { status: 404, code: "DeploymentNotFound" })
    assert.strictEqual(fake.bill.length, 3)
  })
})

describe("Anthropic's client", () => {
  const request = { model: "claude-haiku-4-5", max_tokens: 1000, messages: ask("Hello") }

  it("gets a plain answer, and usage with the cache's parts", async () => {
    fake.script({ vendor: "anthropic" }, { usage: { prompt: 100, completion: 7, cached: 60, cacheWrite: 30 } })
    const answer = await anthropic.messages.create(request)
    assert.deepInclude(answer.content[0], { type: "text", text: "claude-haiku-4-5 heard: Hello" })
    assert.strictEqual(answer.stop_reason, "end_turn")
    assert.deepInclude(answer.usage, {
      input_tokens: 10,
      cache_read_input_tokens: 60,
      cache_creation_input_tokens: 30,
      output_tokens: 7
    })
    assert.match(answer._request_id ?? "", /^req_/)
  })

  it("streams thinking with its signature, then text, with a ping", async () => {
    const stream = anthropic.messages.stream({
      ...request,
      max_tokens: 2000,
      thinking: { type: "enabled", budget_tokens: 1024 }
    })
    const message = await stream.finalMessage()
    const [thinking, text] = message.content
    assert.deepInclude(thinking, { type: "thinking", thinking: "Thinking about: Hello" })
    assert.isTrue(thinking?.type === "thinking" && thinking.signature.length > 10)
    assert.deepInclude(text, { type: "text", text: "claude-haiku-4-5 heard: Hello" })
    assert.strictEqual(message.usage.output_tokens, fake.bill[0]?.completion)
    const raw = await post("/anthropic/v1/messages", { ...request, stream: true }, {
      "x-api-key": "k",
      "anthropic-version": "2023-06-01"
    })
    const events = [...(await raw.text()).matchAll(/^event: (\w+)$/gm)].map(([, name]) => name)
    assert.deepStrictEqual(events.slice(0, 4), ["message_start", "content_block_start", "ping", "content_block_delta"])
    assert.deepStrictEqual(events.slice(-3), ["content_block_stop", "message_delta", "message_stop"])
  })

  it("gets parallel tool calls, plain and streamed", async () => {
    const asked = {
      ...request,
      messages: ask(`use tool weather {"city":"Oslo"} and use tool weather {"city":"Rom"}`),
      tools: anthropicTools
    }
    const plain = await anthropic.messages.create(asked)
    for (const answer of [plain, await anthropic.messages.stream(asked).finalMessage()]) {
      assert.strictEqual(answer.stop_reason, "tool_use")
      assert.deepStrictEqual(
        answer.content.map((block) => block.type === "tool_use" && [block.name, block.input]),
        [["weather", { city: "Oslo" }], ["weather", { city: "Rom" }]]
      )
    }
  })

  it("counts tokens without a bill, and lists models page by page", async () => {
    const { input_tokens } = await anthropic.messages.countTokens({ model: request.model, messages: ask("Hello, you") })
    assert.strictEqual(input_tokens, 3)
    const models = await collect(anthropic.models.list({ limit: 1 }))
    assert.strictEqual(models.length, 3)
    assert.strictEqual(fake.bill.length, 0)
  })

  const kinds = [
    [400, Anthropic.BadRequestError, "invalid_request_error"],
    [401, Anthropic.AuthenticationError, "authentication_error"],
    [403, Anthropic.PermissionDeniedError, "permission_error"],
    [404, Anthropic.NotFoundError, "not_found_error"],
    [413, Anthropic.APIError, "request_too_large"],
    [429, Anthropic.RateLimitError, "rate_limit_error"],
    [500, Anthropic.InternalServerError, "api_error"],
    [529, Anthropic.InternalServerError, "overloaded_error"]
  ] as const
  it.for(kinds)("raises its typed error for %s", async ([status, type, name]) => {
    fake.script({ vendor: "anthropic" }, { error: status })
    const error = await rejection(anthropic.messages.create(request))
    assert.instanceOf(error, type)
    assert.deepStrictEqual<unknown>([error.status, error.type], [status, name])
    assert.match(error.requestID ?? "", /^req_/)
    assert.strictEqual(fake.bill.length, 0)
  })

  it("raises what is known by its text, and an error inside a stream", async () => {
    fake.script({ vendor: "anthropic" }, { error: "context_length" }, { fault: "error-mid?after=1" })
    const tooLong = await rejection(anthropic.messages.create(request))
    assert.match(String(tooLong), /prompt is too long: 200001 tokens > 200000 maximum/)
    const broken = await rejection(collect(anthropic.messages.stream(request)))
    assert.deepInclude(broken, { type: "overloaded_error" })
  })

  const good = { "x-api-key": "k", "anthropic-version": "2023-06-01" }
  const toolUse = { type: "tool_use", id: "t1", name: "w", input: {} }
  const unanswered = { ...request, messages: [...ask("x"), { role: "assistant", content: [toolUse] }, ...ask("y")] }
  const refusals = [
    ["no version", { "x-api-key": "k" }, request, 400, /anthropic-version: header is required/],
    ["no key", { "anthropic-version": "2023-06-01", authorization: "" }, request, 401, /x-api-key header is required/],
    ["no max_tokens", good, { ...request, max_tokens: undefined }, 400, /max_tokens: Field required/],
    ["a system message", good, { ...request, messages: [{ role: "system", content: "x" }] }, 400, /Unexpected role/],
    ["an unanswered tool", good, unanswered, 400, /tool_use. ids were found without/],
    ["broken JSON", good, "{", 400, /not valid JSON/]
  ] as const
  it.for(refusals)("is refused with %s, in Anthropic's shape", async ([, headers, body, status, message]) => {
    const answer = await post("/anthropic/v1/messages", body, headers)
    const json = JSON.parse(await answer.text())
    assert.strictEqual(answer.status, status)
    assert.strictEqual(json.type, "error")
    assert.match(json.error.message, message)
    assert.strictEqual(json.request_id, answer.headers.get("request-id"))
    assert.strictEqual(fake.bill.length, 0)
  })
})

describe("Gemini", () => {
  const path = "/gemini/v1beta/models/gemini-2.5-flash"
  const contents = [{ role: "user", parts: [{ text: "Hello" }] }]
  const post_ = async (suffix: string, body: unknown, headers?: Record<string, string>) => {
    const answer = await post(path + suffix, body, headers)
    return { status: answer.status, json: JSON.parse(await answer.text()) }
  }

  it("answers with candidates, usage and function calls", async () => {
    const { json } = await post_(":generateContent", { contents })
    assert.deepStrictEqual(json.candidates, [{
      content: { parts: [{ text: "gemini-2.5-flash heard: Hello" }], role: "model" },
      finishReason: "STOP",
      index: 0
    }])
    assert.deepInclude(json.usageMetadata, { promptTokenCount: 2, candidatesTokenCount: 8, totalTokenCount: 10 })
    const called = await post_(":generateContent", {
      contents: [{ role: "user", parts: [{ text: `use tool weather {"city":"Oslo"}` }] }],
      tools: [{ functionDeclarations: [weather] }]
    })
    assert.deepStrictEqual(called.json.candidates[0].content.parts, [
      { functionCall: { name: "weather", args: { city: "Oslo" } } }
    ])
    assert.strictEqual(fake.bill.length, 2)
  })

  it("streams events with usage so far, thoughts first, and a JSON array without alt=sse", async () => {
    const body = { contents, generationConfig: { thinkingConfig: { includeThoughts: true } } }
    const sse = await (await post(`${path}:streamGenerateContent?alt=sse`, body)).text()
    const events = sse.trimEnd().split("\r\n\r\n").map((event) => JSON.parse(event.slice("data: ".length)))
    const array = (await post_(":streamGenerateContent", body)).json
    for (const chunks of [events, array]) {
      const parts: Array<{ text: string; thought?: boolean }> = chunks.flatMap((chunk: typeof events[0]) =>
        chunk.candidates[0].content.parts
      )
      const textOf = (thought: boolean) =>
        parts.filter((part) => (part.thought ?? false) === thought).map(({ text }) => text).join("")
      assert.strictEqual(textOf(true), "Thinking about: Hello")
      assert.strictEqual(textOf(false), "gemini-2.5-flash heard: Hello")
      assert.strictEqual(chunks.at(-1).candidates[0].finishReason, "STOP")
      const { candidatesTokenCount, thoughtsTokenCount } = chunks.at(-1).usageMetadata
      assert.strictEqual(candidatesTokenCount + thoughtsTokenCount, fake.bill[0]?.completion)
    }
  })

  it("lists models, and answers errors with Google's status", async () => {
    const list = await (await fetch(`${fake.url("gemini")}/v1beta/models?pageSize=1&key=g`)).json()
    assert.deepInclude(list, { nextPageToken: "1" })
    const wrong = await post_(":generateContent", { contents }, { "x-goog-api-key": "invalid" })
    assert.strictEqual(wrong.status, 400)
    assert.strictEqual(wrong.json.error.details[0].reason, "API_KEY_INVALID")
    fake.script({ vendor: "gemini" }, { error: "rate_limit" }, { error: "context_length" })
    const limited = await post_(":generateContent", { contents })
    assert.deepInclude(limited.json.error, { code: 429, status: "RESOURCE_EXHAUSTED" })
    assert.strictEqual(limited.json.error.details.at(-1).retryDelay, "37s")
    const long = await post_(":generateContent", { contents })
    assert.match(long.json.error.message, /input token count \(1048577\) exceeds/)
    const unknown = await post_(":generateContent", { contents, tokenhub: {} })
    assert.match(unknown.json.error.message, /Unknown name "tokenhub"/)
    assert.strictEqual(fake.bill.length, 0)
  })
})

describe("faults", () => {
  const broken = async (model: string, stream: boolean): Promise<string> => {
    const error = await rejection(chat(model, stream).then((answer) => answer.text()))
    return error instanceof Error ? `${error.message} ${String(error.cause)}` : ""
  }
  const text = async (model: string, stream = true) => (await chat(model, stream)).text()
  const plainText = "heard: Hello, how are you today, my friend?"

  it("cut, reset and truncated answers fail while they are read", async () => {
    const before = ["reset-before-headers", "close-before-headers"]
    const later = ["reset-mid-stream", "cut-mid-stream", "truncated-json", "truncated-chunked"]
    for (const stream of [false, true]) {
      for (const name of [...before, ...later]) {
        assert.match(await broken(`fault-${name}`, stream), before.includes(name) ? /fetch failed/ : /terminated/, name)
      }
    }
    assert.isTrue(fake.calls.every(({ state }) => state === "cut"))
  })

  it("what was sent before a cut arrives first, and only that is billed as generated", async () => {
    fake.script("gpt-4o", { text: "12345678abcdefgh", chunkSize: 8, fault: "cut-mid-stream?after=1" })
    const answer = await chat("gpt-4o", true)
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
    let seen = ""
    await rejection((async () => {
      for (;;) seen += (await reader?.read())?.value ?? ""
    })())
    assert.include(seen, "12345678")
    assert.notInclude(seen, "abcdefgh")
    assert.strictEqual(fake.bill[0]?.completion, 2)
  })

  it("streams end without [DONE], or without anything", async () => {
    const noDone = await text("fault-no-done")
    assert.include(noDone, `"finish_reason":"stop"`)
    assert.notInclude(noDone, "[DONE]")
    const noEnd = await text("fault-no-end")
    assert.include(noEnd, "Hello")
    assert.notInclude(noEnd, `"finish_reason":"stop"`)
  })

  it("errors inside a 200 come before or after content", async () => {
    const first = await text("fault-error-first")
    assert.notMatch(first, /"content":"[^"]/)
    assert.include(first, `data: {"error":`)
    assert.match(await text("fault-error-mid?after=1"), /"content":"fault-error-mid[^]*data: \{"error":/)
    assert.property(JSON.parse(await text("fault-error-mid", false)), "error")
  })

  it("hangs before headers, before the first token and in the middle, until the client leaves", async () => {
    const names = ["fault-no-headers", "fault-no-first-token", "fault-stall?after=1"]
    for (const [name, stream] of names.flatMap((name) => [[name, true], [name, false]] as const)) {
      const leave = new AbortController()
      const arrived = fake.next(name)
      const failed = rejection(chat(name, stream, leave.signal).then((answer) => answer.text()))
      const call = await arrived
      assert.strictEqual(call.state, "open")
      leave.abort()
      await failed
      assert.strictEqual(await call.ended, "aborted")
    }
  })

  it("endless answers heed back-pressure and end when the client leaves", async () => {
    const names = ["fault-endless", "fault-huge"]
    for (const [name, stream] of names.flatMap((name) => [[name, true], [name, false]] as const)) {
      const leave = new AbortController()
      const answer = await chat(name, stream, leave.signal)
      const reader = answer.body?.getReader()
      let bytes = 0
      while (bytes < 500_000) bytes += (await reader?.read())?.value?.length ?? 0
      leave.abort()
      assert.strictEqual(await fake.calls.at(-1)?.ended, "aborted")
    }
  })

  it("huge texts and long lines have the size asked for", async () => {
    for (const name of ["fault-huge?size=200000", "fault-long-line?size=200000"]) {
      const plain = JSON.parse(await text(name, false))
      assert.strictEqual(plain.choices[0].message.content.length, 200_000)
    }
    const lines = (await text("fault-long-line?size=200000")).split("\n")
    assert.isAbove(Math.max(...lines.map((line) => line.length)), 200_000)
  })

  it("compression is a bomb, stacked, or broken", async () => {
    const bomb = await text("fault-gzip-bomb?size=3000000", false)
    assert.isAbove(bomb.length, 3_000_000)
    fake.script("gpt-4o", { fault: "stacked-encodings", bytes: (steps) => steps, text: "inside" })
    const stacked = await chat("gpt-4o")
    assert.strictEqual(stacked.headers.get("content-encoding"), "gzip, gzip")
    assert.include(await stacked.text(), "inside")
    assert.isNotEmpty(await broken("fault-broken-gzip", false))
    const cut = await chat("fault-truncated-gzip").then((answer) => answer.text()).catch(() => "")
    assert.throws(() => JSON.parse(cut))
  })

  it("framing faults leave the events' meaning as it is", async () => {
    const names = ["split?size=3", "crlf", "cr", "bom", "multi-line", "comments", "retry-lines", "cumulative-usage"]
    for (const name of names) {
      const stream = await openai.chat.completions.create({
        model: `fault-${name}`,
        messages: ask("Hello, how are you today, my friend? 🌍"),
        stream: true
      })
      assert.strictEqual(contentOf(await collect(stream)), `fault-${name} ${plainText} 🌍`)
    }
    const raw = Buffer.from(await (await chat("fault-bom", true)).arrayBuffer())
    assert.strictEqual(raw.subarray(0, 3).toString("hex"), "efbbbf")
    assert.include(await text("fault-multi-line"), "\ndata:  \"id\"")
  })

  it("statuses carry Retry-After in any form, other bodies, and redirects", async () => {
    for (const value of ["1", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "1e9"]) {
      const answer = await chat(`fault-429?retry_after=${encodeURIComponent(value)}`)
      assert.strictEqual(answer.status, 429)
      assert.strictEqual(answer.headers.get("retry-after"), value)
    }
    const html = await chat("fault-502?body=html")
    assert.strictEqual(html.status, 502)
    assert.match(await html.text(), /^<html>/)
    const moved = await chat("fault-307?location=http://127.0.0.1:1/x")
    assert.strictEqual(moved.status, 307)
    assert.strictEqual(moved.headers.get("location"), "http://127.0.0.1:1/x")
    assert.match(await text("fault-html-200", false), /^<html>/)
    assert.strictEqual(await text("fault-empty-200", false), "")
    assert.include(await text("fault-echo-key", false), "sk-test")
    assert.strictEqual((await chat("fault-nonsense")).status, 404)
    assert.strictEqual(fake.bill.length, 0)
  })

  it("usage lies are on the wire, the bill is true", async () => {
    const usage = async (lie: string) => JSON.parse(await text(`fault-usage-${lie}`, false)).usage?.completion_tokens
    const lies = await Promise.all(["zero", "nan", "null", "huge", "missing"].map(usage))
    assert.deepStrictEqual(lies, [0, "NaN", null, 1e30, undefined])
    assert.isBelow(await usage("negative"), 0)
    assert.isTrue(fake.bill.every(({ completion }) => completion > 10 && completion < 30))
  })

  it("malformed JSON, empty choices, filters and doubled events are as named", async () => {
    assert.throws(() => JSON.parse("{,,"))
    assert.match(await text("fault-malformed-json", false), /,,$/)
    assert.deepStrictEqual(JSON.parse(await text("fault-empty-choices", false)).choices, [])
    assert.strictEqual(JSON.parse(await text("fault-content-filter", false)).choices[0].finish_reason, "content_filter")
    const events = (await text("fault-duplicate-chunks")).match(/data: .*"content":"Hel.*/g) ?? []
    assert.strictEqual(events.length % 2, 0)
  })

  it("a name fails only so many times, keeps a context, or is slow", async () => {
    const statuses = []
    for (let time = 0; time < 3; time++) statuses.push((await chat("fault-503?times=2")).status)
    assert.deepStrictEqual(statuses, [503, 503, 200])
    const overflow = JSON.parse(await text("gpt-4o?context=3", false))
    assert.strictEqual(overflow.error.code, "context_length_exceeded")
    const began = performance.now()
    assert.strictEqual((await chat("slow-60ms")).status, 200)
    assert.isAtLeast(performance.now() - began, 55)
    assert.strictEqual((await chat("fault-slow-headers?chunk_ms=0")).status, 200)
    assert.isNotEmpty(await broken("fault-not-http", false))
    assert.isNotEmpty(await broken("fault-huge-headers", false))
  })

  it("a delay lasts as long as the test wants", async () => {
    let open = () => {}
    const chunk = new Promise<void>((resolve) => open = resolve)
    fake.script("gpt-4o", { text: "ab", chunkSize: 1, delay: { chunk } })
    const answer = await chat("gpt-4o", true)
    assert.strictEqual(fake.calls[0]?.state, "open")
    assert.strictEqual(fake.bill.length, 1)
    open()
    assert.include(await answer.text(), "[DONE]")
    assert.strictEqual(await fake.calls[0]?.ended, "completed")
  })

  it("each row ends for every vendor, and what it generated is billed once", async () => {
    const names = Object.keys(faults).map((name) => `fault-${name}?size=1000&chunk_ms=1`)
    const lasting = /^fault-(endless|drip|no-headers|no-first-token|stall)\?/
    const leave = new AbortController()
    const answers = names.flatMap((model) =>
      [false, true].flatMap((stream) => [
        chat(model, stream, leave.signal),
        post(
          "/anthropic/v1/messages",
          { model, stream, max_tokens: 50, messages: ask("Hello") },
          { "anthropic-version": "2023-06-01" },
          leave.signal
        ),
        post("/openai/v1/responses", { model, stream, input: "Hello" }, {}, leave.signal),
        post(
          `/gemini/v1beta/models/${encodeURIComponent(model)}:${stream ? "streamGenerateContent" : "generateContent"}`,
          { contents: [{ role: "user", parts: [{ text: "Hello" }] }] },
          {},
          leave.signal
        )
      ].map((answer) => answer.then((got) => lasting.test(model) ? undefined : got.arrayBuffer())))
    )
    const settled = Promise.allSettled(answers)
    while (fake.calls.length < answers.length) await fake.next(() => true)
    await Promise.all(fake.calls.filter(({ model }) => !lasting.test(model)).map(({ ended }) => ended))
    leave.abort()
    const left = await Promise.all(fake.calls.filter(({ model }) => lasting.test(model)).map(({ ended }) => ended))
    assert.deepStrictEqual([...new Set(left)], ["aborted"])
    await settled
    assert.strictEqual(new Set(fake.bill.map(({ call }) => call)).size, fake.bill.length)
  })
})

describe("addresses whose connections fail", () => {
  it("refuses, answers TLS with junk, and shows an untrusted certificate", async () => {
    const codeOf = async (url: string) => {
      const error = await rejection(fetch(url))
      const cause = error instanceof Error ? error.cause : undefined
      return cause instanceof Error && "code" in cause ? cause.code : undefined
    }
    assert.strictEqual(await codeOf(await fake.origin("refused")), "ECONNREFUSED")
    assert.match(String(await codeOf(await fake.origin("tls-garbage"))), /^ERR_SSL/)
    assert.strictEqual(await codeOf(await fake.origin("tls-self-signed")), "DEPTH_ZERO_SELF_SIGNED_CERT")
  })

  it("never completes a connection to the black hole, and never answers from the silent one", async () => {
    const connects = async (url: string): Promise<boolean> => {
      const socket = connect(Number(new URL(url).port), "127.0.0.1").on("error", () => {})
      const connected = await new Promise<boolean>((resolve) => {
        socket.once("connect", () => resolve(true))
        setTimeout(() => resolve(false), 300)
      })
      socket.destroy()
      return connected
    }
    assert.isFalse(await connects(await fake.origin("blackhole")))
    const silent = await fake.origin("silent")
    assert.isTrue(await connects(silent))
    assert.instanceOf(await rejection(fetch(silent, { signal: AbortSignal.timeout(100) })), Error)
  })
})

describe("the bill", () => {
  it("has each answered call once, under load too, and none that was refused", async () => {
    const kinds = ["fault-500", "gpt-4o", "fault-no-done"]
    const models = Array.from({ length: 20 }, () => kinds).flat()
    await Promise.all(models.map(async (model, at) => (await chat(model, at % 2 === 0)).text()))
    const answered = fake.calls.filter(({ status }) => status === 200)
    assert.strictEqual(answered.length, 40)
    assert.deepStrictEqual(fake.bill.map(({ call }) => call).toSorted(), answered.map(({ id }) => id).toSorted())
    const ids = new Map(fake.bill.map(({ call, requestId }) => [call, requestId]))
    assert.isTrue(answered.every(({ id, requestId }) => ids.get(id) === requestId))
  })
})

describe("its life", () => {
  it.effect("it is closed with its scope", () =>
    Effect.gen(function*() {
      const url = yield* Effect.scoped(Effect.map(scoped(), (provider) => provider.url("openai")))
      const error = yield* Effect.promise(() => rejection(fetch(`${url}/models`)))
      assert.match(String(error), /fetch failed/)
    }))

  it("runs by itself, says where, and ends on SIGTERM", async () => {
    const child = spawn(process.execPath, ["scripts/fake-provider.ts"], { stdio: ["ignore", "pipe", "inherit"] })
    const lines: Array<string> = []
    for await (const line of createInterface(child.stdout)) if (lines.push(line) === 4) break
    const urls = new Map(lines.map((line) => [line.split(" ")[0], line.split(" ")[1]]))
    assert.deepStrictEqual([...urls.keys()], ["openai", "anthropic", "gemini", "azure"])
    assert.strictEqual((await fetch(`${urls.get("openai")}/models`)).status, 401)
    const exit = once(child, "exit")
    child.kill("SIGTERM")
    assert.deepStrictEqual(await exit, [0, null])
  })
})

it("gzip bombs are made of honest gzip", async () => {
  const raw = await new Promise<Buffer>((resolve) => {
    const parts: Array<Buffer> = []
    const body = JSON.stringify({ model: "fault-gzip-bomb?size=1000", messages: ask("x") })
    const socket = connect(fake.port, "127.0.0.1")
    socket.on("data", (chunk) => parts.push(chunk)).on("close", () => resolve(Buffer.concat(parts)))
    const headers = `authorization: Bearer k\r\ncontent-length: ${body.length}`
    socket.write(`POST /openai/v1/chat/completions HTTP/1.0\r\n${headers}\r\n\r\n${body}`)
  })
  const bytes = raw.subarray(raw.indexOf("\r\n\r\n") + 4)
  assert.strictEqual(JSON.parse(gunzipSync(bytes).toString()).choices[0].message.content, "x".repeat(1000))
})
