/** The libraries' own helpers above the bare requests: tool loops, parsed answers, accumulated streams, betas. */
import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import Anthropic from "@anthropic-ai/sdk"
import { assert, describe, layer } from "@effect/vitest"
import { ChatOpenAI } from "@langchain/openai"
import type { LanguageModel } from "ai"
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai"
import { Effect } from "effect"
import OpenAI from "openai"
import type { Behaviour } from "../support/fake-provider/Behaviour.ts"
import { objectOf } from "../support/fake-provider/Wire.ts"
import type { Bench } from "./Bench.ts"
import * as MatrixBench from "./Bench.ts"
import type { Upstream } from "./Upstreams.ts"
import type { UpstreamName } from "./Table.ts"
import { upstreamNames } from "./Table.ts"
import { upstreams } from "./Upstreams.ts"

interface Place extends Bench {
  readonly key: string
  readonly model: string
  readonly upstream: Upstream
  readonly name: UpstreamName
}

const parameters = { type: "object" as const, properties: { city: { type: "string" as const } }, required: ["city"], additionalProperties: false as const }
const description = "The weather of a city"
const paris = { city: "Paris" }
const thought = "It is about Paris. I must look."

/** The model thinks, calls a tool, then two at once, then answers. */
const loop: ReadonlyArray<Behaviour> = [
  { reasoning: thought, toolCalls: [{ name: "weather", arguments: paris }] },
  { text: "Once more.", toolCalls: [{ name: "weather", arguments: { city: "Rome" } }, { name: "weather", arguments: { city: "Oslo" } }] },
  { text: "Sunny everywhere" }
]

const results = ["sunny in Paris", "sunny in Rome", "sunny in Oslo"]

/** The tool, as every library may run it. */
const weather = (input: unknown): string => `sunny in ${String(objectOf(input)["city"])}`

/** The provider was asked three times, at last with all calls and their results. */
const checkLoop = ({ fake, upstream }: Place) => {
  assert.strictEqual(fake.unused(), 0)
  assert.strictEqual(fake.calls.length, 3)
  const heard = upstream.heard(objectOf(fake.calls[2]?.body))
  assert.deepStrictEqual(heard.results.map(({ text }) => text), results)
  assert.deepStrictEqual(heard.results.map(({ id }) => id), heard.calls.map(({ id }) => id))
}

const openAi = ({ hub, key }: Place) => new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: key, maxRetries: 0 })
const anthropic = ({ hub, key }: Place) => new Anthropic({ baseURL: hub.url, apiKey: key, authToken: null, maxRetries: 0 })

/** Asks for JSON by a schema and gives it back parsed. */
const format = { type: "json_schema" as const, name: "city", schema: parameters, strict: true }

const aiSdkModels: ReadonlyArray<readonly [name: string, model: (place: Place) => LanguageModel]> = [
  ["`@ai-sdk/openai-compatible`", ({ hub, key, model }) =>
    createOpenAICompatible({ name: "tokenhub", baseURL: `${hub.url}/v1`, apiKey: key, includeUsage: true }).chatModel(model)],
  ["`@ai-sdk/anthropic`", ({ hub, key, model }) => createAnthropic({ baseURL: `${hub.url}/v1`, apiKey: key })(model)]
]

const aiSdkTools = { weather: tool({ description, inputSchema: jsonSchema(parameters), execute: weather }) }
const aiSdkThinking = {
  anthropic: { thinking: { type: "enabled" as const, budgetTokens: 2048 } },
  tokenhub: { reasoningEffort: "low" }
}

const helpers: ReadonlyArray<readonly [name: string, run: (place: Place) => Promise<void>]> = [
  ["`openai`: runTools, whole", async (place) => {
    place.fake.script({}, ...loop)
    const runner = openAi(place).chat.completions.runTools({
      model: place.model,
      messages: [{ role: "user", content: "Where is it sunny?" }],
      tools: [{ type: "function", function: { name: "weather", description, parameters, parse: JSON.parse, function: weather } }]
    })
    assert.strictEqual(await runner.finalContent(), "Sunny everywhere")
    checkLoop(place)
  }],
  ["`openai`: runTools, streamed", async (place) => {
    place.fake.script({}, ...loop)
    const runner = openAi(place).chat.completions.runTools({
      model: place.model,
      stream: true,
      messages: [{ role: "user", content: "Where is it sunny?" }],
      tools: [{ type: "function", function: { name: "weather", description, parameters, parse: JSON.parse, function: weather } }]
    })
    assert.strictEqual(await runner.finalContent(), "Sunny everywhere")
    checkLoop(place)
  }],
  ["`openai`: chat.completions.parse and stream", async (place) => {
    place.fake.script({}, { text: JSON.stringify(paris) }, { text: JSON.stringify(paris), chunkSize: 2 })
    const params = {
      model: place.model,
      messages: [{ role: "user" as const, content: "A city?" }],
      response_format: { type: "json_schema" as const, json_schema: { name: "city", schema: parameters, strict: true } }
    }
    const { choices: [choice] } = await openAi(place).chat.completions.parse(params)
    assert.strictEqual(choice?.message.content, JSON.stringify(paris))
    const final = await openAi(place).chat.completions.stream(params).finalChatCompletion()
    assert.strictEqual(final.choices[0]?.message.content, JSON.stringify(paris))
  }],
  ["`openai`: responses.parse, and a loop that sends items back", async (place) => {
    const { responses } = openAi(place)
    place.fake.script({}, { text: JSON.stringify(paris) })
    const parsed = await responses.parse({ model: place.model, input: "A city?", text: { format } })
    assert.deepStrictEqual(parsed.output_parsed ?? JSON.parse(parsed.output_text), paris)
    place.fake.reset()
    place.fake.script({}, ...loop)
    const input: OpenAI.Responses.ResponseInput = [{ role: "user", content: "Where is it sunny?" }]
    const tools: Array<OpenAI.Responses.Tool> = [{ type: "function", name: "weather", description, parameters, strict: true }]
    for (let turn = 0; turn < 3; turn++) {
      const { output, output_text: text } = await responses.create({ model: place.model, input, tools, reasoning: { effort: "low" }, include: ["reasoning.encrypted_content"] })
      // In the SDK's types some output items are no input items; none of those comes here.
      input.push(...output as OpenAI.Responses.ResponseInput)
      for (const item of output) {
        if (item.type === "function_call") input.push({ type: "function_call_output", call_id: item.call_id, output: weather(JSON.parse(item.arguments)) })
      }
      if (turn === 2) assert.strictEqual(text, "Sunny everywhere")
    }
    checkLoop(place)
  }],
  ["`@anthropic-ai/sdk`: a loop that sends blocks back, with thinking", async (place) => {
    place.fake.script({}, ...loop)
    const messages: Array<Anthropic.MessageParam> = [{ role: "user", content: "Where is it sunny?" }]
    let last: Anthropic.Message | undefined
    for (let turn = 0; turn < 3; turn++) {
      last = await anthropic(place).messages.stream({
        model: place.model,
        max_tokens: 4096,
        messages,
        tools: [{ name: "weather", description, input_schema: parameters }],
        thinking: { type: "enabled", budget_tokens: 2048 }
      }).finalMessage()
      messages.push({ role: "assistant", content: last.content }, {
        role: "user",
        content: last.content.flatMap((block) =>
          block.type === "tool_use" ? [{ type: "tool_result" as const, tool_use_id: block.id, content: weather(block.input) }] : [])
      })
    }
    assert.deepStrictEqual(last?.content.map((block) => (block.type === "text" ? block.text : block.type)), ["Sunny everywhere"])
    checkLoop(place)
  }],
  ["`@anthropic-ai/sdk`: beta messages and the tool runner", async (place) => {
    place.fake.script({}, ...loop)
    const final = await anthropic(place).beta.messages.toolRunner({
      model: place.model,
      max_tokens: 4096,
      messages: [{ role: "user", content: "Where is it sunny?" }],
      tools: [{ name: "weather", description, input_schema: parameters, run: weather, parse: (input: unknown) => input }]
    })
    assert.deepStrictEqual(final.content.map((block) => (block.type === "text" ? block.text : block.type)), ["Sunny everywhere"])
    checkLoop(place)
  }],
  ...aiSdkModels.flatMap(([name, modelOf]): typeof helpers => [
    [`${name}: generateText in steps, with thinking`, async (place) => {
      place.fake.script({}, ...loop)
      const { steps, text } = await generateText({
        model: modelOf(place),
        maxRetries: 0,
        maxOutputTokens: 4096,
        prompt: "Where is it sunny?",
        tools: aiSdkTools,
        stopWhen: stepCountIs(5),
        providerOptions: aiSdkThinking
      })
      assert.strictEqual(text, "Sunny everywhere")
      assert.strictEqual(steps[0]?.reasoningText, thought)
      checkLoop(place)
    }],
    [`${name}: streamText in steps, with thinking`, async (place) => {
      place.fake.script({}, ...loop)
      const result = streamText({
        model: modelOf(place),
        maxRetries: 0,
        maxOutputTokens: 4096,
        prompt: "Where is it sunny?",
        tools: aiSdkTools,
        stopWhen: stepCountIs(5),
        providerOptions: aiSdkThinking
      })
      for await (const part of result.fullStream) if (part.type === "error") throw part.error
      assert.strictEqual(await result.text, "Sunny everywhere")
      checkLoop(place)
    }]
  ]),
  ["`@langchain/openai`: bindTools and withStructuredOutput", async (place) => {
    const { fake, hub, key, model } = place
    const chat = new ChatOpenAI({ model, apiKey: key, maxRetries: 0, configuration: { baseURL: `${hub.url}/v1` } })
    fake.script({}, { toolCalls: [{ name: "weather", arguments: paris }] })
    const bound = chat.bindTools([{ type: "function", function: { name: "weather", description, parameters } }], { tool_choice: "weather" })
    assert.deepStrictEqual((await bound.invoke("Where?")).tool_calls?.map(({ args, name }) => ({ args, name })), [{ args: paris, name: "weather" }])
    fake.reset()
    fake.script({}, { text: JSON.stringify(paris) })
    const bySchema = chat.withStructuredOutput({ title: "city", ...parameters }, { method: "jsonSchema" })
    assert.deepStrictEqual(await bySchema.invoke("A city?"), paris)
    fake.script({}, { toolCalls: [{ name: "city", arguments: paris }] })
    const byTool = chat.withStructuredOutput({ title: "city", ...parameters }, { method: "functionCalling" })
    assert.deepStrictEqual(await byTool.invoke("A city?"), paris)
  }]
]

layer(MatrixBench.layer, { excludeTestServices: true, timeout: 60_000 })("the libraries' helpers", (it) => {
  for (const [name, run] of helpers) {
    describe(name, () => {
      for (const upstream of upstreamNames) {
        it.effect(upstream, () =>
          Effect.flatMap(MatrixBench.MatrixBench, (bench) =>
            Effect.promise(() => {
              bench.fake.reset()
              return run({ ...bench, key: bench.keys[upstream], model: MatrixBench.modelName(upstream), upstream: upstreams[upstream], name: upstream })
            })))
      }
    })
  }
})
