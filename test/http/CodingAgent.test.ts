/** What a coding agent asks all day, at every door: long loops of tool calls, large results, thoughts between the calls. */
import Anthropic from "@anthropic-ai/sdk"
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import OpenAI from "openai"
import type { FakeProvider } from "../support/FakeProvider.ts"
import * as Fake from "../support/FakeProvider.ts"
import type { Behaviour } from "../support/fake-provider/Behaviour.ts"
import type { Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
}

class TestBench extends Context.Service<TestBench, Bench>()("test/Bench") {}

/** By provider type: the vendor, and a model of its newest generation that the fake provider's rules know. */
const models = {
  "openai": ["openai", "gpt-5"],
  "openai-responses": ["openai", "gpt-5"],
  "anthropic": ["anthropic", "claude-opus-5"],
  "gemini": ["gemini", "gemini-3-pro"]
} as const
type Name = keyof typeof models
const names: ReadonlyArray<Name> = ["openai", "openai-responses", "anthropic", "gemini"]

const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", TOKENHUB_MAX_BODY_BYTES: "33000000" } })
    yield* Effect.promise(async () => {
      for (const name of names) {
        const [vendor, upstream_name] = models[name]
        const provider = await hub.admin("POST", "/providers", { name, provider_type: name, api_key: "sk-test-key", base_url: fake.url(vendor) })
        assert.strictEqual(provider.status, 201, provider.text)
        const model = await hub.admin("POST", "/models", {
          name,
          upstream_name,
          provider: name,
          context_size: 20_000_000,
          weight: 1,
          cost_per_1k_tokens: 0,
          max_output_tokens: 32_000
        })
        assert.strictEqual(model.status, 201, model.text)
      }
    })
    return { fake, hub }
  })
)

interface Step {
  readonly text: string
  readonly calls: ReadonlyArray<{ readonly id: string; readonly name: string; readonly input: unknown }>
}

/** An agent of one client library: it keeps the conversation as the library gives it. */
interface Agent {
  readonly ask: (words: string) => void
  readonly answer: (id: string, result: string) => void
  readonly step: () => Promise<Step>
}

const tools = ["read_file", "run_tests"] as const
const parameters = { type: "object" as const, properties: { path: { type: "string" } }, required: ["path"] }
const instructions = "You are a careful engineer."

const chatAgent = ({ hub }: Bench, model: string): Agent => {
  const client = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: "none", maxRetries: 0 })
  const messages: Array<OpenAI.Chat.ChatCompletionMessageParam> = [{ role: "system", content: instructions }]
  return {
    ask: (words) => void messages.push({ role: "user", content: words }),
    answer: (id, result) => void messages.push({ role: "tool", tool_call_id: id, content: result }),
    step: async () => {
      const { choices: [choice] } = await client.chat.completions.create({
        model,
        messages,
        tools: tools.map((name) => ({ type: "function" as const, function: { name, parameters } })),
        reasoning_effort: "low",
        max_completion_tokens: 9000
      })
      const message = choice?.message ?? assert.fail("no choice")
      messages.push(message)
      const calls = (message.tool_calls ?? []).flatMap((call) => (call.type === "function" ? [call] : []))
      return { text: message.content ?? "", calls: calls.map((call) => ({ id: call.id, name: call.function.name, input: JSON.parse(call.function.arguments) })) }
    }
  }
}

const responsesAgent = ({ hub }: Bench, model: string): Agent => {
  const client = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: "none", maxRetries: 0 })
  const input: OpenAI.Responses.ResponseInput = []
  return {
    ask: (words) => void input.push({ role: "user", content: words }),
    answer: (id, result) => void input.push({ type: "function_call_output", call_id: id, output: result }),
    step: async () => {
      const response = await client.responses.stream({
        model,
        instructions,
        input,
        tools: tools.map((name) => ({ type: "function" as const, name, parameters, strict: false })),
        reasoning: { effort: "low" },
        max_output_tokens: 9000
      }).finalResponse()
      for (const item of response.output) {
        if (item.type === "message" || item.type === "reasoning") input.push(item)
        // The library adds the parsed arguments, which are no field of the API.
        else if (item.type === "function_call") input.push({ type: item.type, call_id: item.call_id, name: item.name, arguments: item.arguments })
      }
      const calls = response.output.flatMap((item) => (item.type === "function_call" ? [item] : []))
      return { text: response.output_text, calls: calls.map((call) => ({ id: call.call_id, name: call.name, input: JSON.parse(call.arguments) })) }
    }
  }
}

const messagesAgent = ({ hub }: Bench, model: string): Agent => {
  const client = new Anthropic({ baseURL: hub.url, apiKey: "none", authToken: null, maxRetries: 0 })
  const messages: Array<Anthropic.MessageParam> = []
  let said: Array<Anthropic.ContentBlockParam> = []
  return {
    ask: (words) => void said.push({ type: "text", text: words }),
    answer: (id, result) => void said.push({ type: "tool_result", tool_use_id: id, content: result }),
    step: async () => {
      messages.push({ role: "user", content: said })
      said = []
      const message = await client.messages.stream({
        model,
        max_tokens: 9000,
        system: [{ type: "text", text: instructions, cache_control: { type: "ephemeral" } }],
        messages,
        tools: tools.map((name) => ({ name, input_schema: parameters })),
        thinking: { type: "adaptive", display: "summarized" },
        output_config: { effort: "low" }
      }).finalMessage()
      messages.push({ role: "assistant", content: message.content })
      return {
        text: message.content.map((block) => (block.type === "text" ? block.text : "")).join(""),
        calls: message.content.flatMap((block) => (block.type === "tool_use" ? [{ id: block.id, name: block.name, input: block.input }] : []))
      }
    }
  }
}

const agents = { "/v1/chat/completions": chatAgent, "/v1/responses": responsesAgent, "/v1/messages": messagesAgent }

/** A step of the model: it thinks, says what it does, and calls one tool or two. */
const working = (step: number): Behaviour => ({
  parts: [
    { type: "reasoning", text: `Thought ${step}` },
    { type: "text", text: `Step ${step}` },
    { type: "tool_call", name: "read_file", arguments: { path: `src/${step}.ts` } },
    ...(step % 3 === 0 ? [{ type: "tool_call" as const, name: "run_tests", arguments: { path: `test/${step}.ts` } }] : [])
  ]
})

const big = "x".repeat(100_000)

/** Runs the loop and gives the last request that reached the provider. */
const loop = async (made: Bench, agent: Agent, steps: number) => {
  const { fake } = made
  fake.reset()
  for (let step = 0; step < steps; step++) fake.script({}, working(step))
  fake.script({}, { text: "All done" })
  agent.ask("Fix it")
  for (let step = 0; step < steps; step++) {
    const { calls, text } = await agent.step()
    assert.strictEqual(text, `Step ${step}`)
    assert.deepStrictEqual(calls.map(({ input, name }) => [name, input]), [
      ["read_file", { path: `src/${step}.ts` }],
      ...(step % 3 === 0 ? [["run_tests", { path: `test/${step}.ts` }]] : [])
    ])
    for (const [i, { id }] of calls.entries()) agent.answer(id, `result ${step}.${i} ${step % 10 === 0 ? big : ""}`)
    // A user who says something in between.
    if (step === 1) agent.ask("Mind the style")
  }
  const { calls, text } = await agent.step()
  assert.deepStrictEqual([text, calls.length], ["All done", 0])
  assert.strictEqual(fake.unused(), 0)
  return fake.calls.at(-1) ?? assert.fail("nothing was asked")
}

layer(bench, { excludeTestServices: true, timeout: 120_000 })("a coding agent", (it) => {
  for (const [path, agentOf] of Object.entries(agents)) {
    describe(`at ${path}`, () => {
      for (const name of names) {
        it.effect(`works through hundreds of messages, with large results and thoughts between the calls (${name})`, () =>
          Effect.flatMap(TestBench, (made) =>
            Effect.promise(async () => {
              const steps = 80
              const { body, text: sent } = await loop(made, agentOf(made, name), steps)
              // Each step is the assistant's message and one result or two.
              for (let step = 0; step < steps; step++) {
                assert.include(sent, `Step ${step}`)
                assert.include(sent, `result ${step}.0`)
                if (step % 3 === 0) assert.include(sent, `result ${step}.1`)
              }
              assert.isAbove(sent.length, 8 * big.length)
              assert.include(sent, instructions)
              assert.include(sent, "Mind the style")
              const count = (pattern: RegExp) => [...sent.matchAll(pattern)].length
              if (name === "anthropic") assert.strictEqual(count(/"type":"thinking","thinking":"Thought \d+","signature":"[^"]+"/g), steps)
              if (name === "openai-responses") assert.strictEqual(count(/"encrypted_content":"[^"]+"/g), steps)
              if (name === "gemini") assert.strictEqual(count(/"thoughtSignature":"[^"]+"/g), steps)
              // No vendor is sent another's words for its own.
              if (name !== "openai") assert.notInclude(JSON.stringify(body), "skip_thought_signature_validator")
            })))
      }
    })
  }
})
