import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import parsePrometheus from "parse-prometheus-text-format"
import { Ledger } from "../../../src/account/Ledger.ts"
import { ChatAnswer } from "../../../src/http/chat/ChatApi.ts"
import { ok } from "../../support/AdminHub.ts"
import type { FakeProvider } from "../../support/FakeProvider.ts"
import * as Fake from "../../support/FakeProvider.ts"
import type { Hub } from "../../support/Harness.ts"
import * as Harness from "../../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
}

class TestBench extends Context.Service<TestBench, Bench>()("test/Bench") {}

/** Two OpenAI models and an Anthropic one, with prices, at the fake provider. */
const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false" } })
    yield* Effect.promise(async () => {
      ok(await hub.admin("POST", "/providers", { name: "openai", provider_type: "openai", api_key: "sk-test-key", base_url: fake.url("openai") }))
      ok(await hub.admin("POST", "/providers", { name: "anthropic", provider_type: "anthropic", api_key: "sk-ant-key", base_url: fake.url("anthropic") }))
      const add = async (name: string, provider: string, weight: number) =>
        ok(await hub.admin("POST", "/models", { name, provider, context_size: 100_000, weight, cost_per_1k_tokens: 0.02, max_output_tokens: 4096 }))
      await add("big", "openai", 9000)
      await add("small", "openai", 8000)
      await add("judge", "anthropic", 7000)
    })
    return { fake, hub }
  })
)

const ask = (content: unknown, more: object = {}) => ({ messages: [{ role: "user", content }], ...more })

layer(bench, { excludeTestServices: true, timeout: 30_000 })("POST /v1/chat", (it) => {
  const test = (name: string, run: (bench: Bench) => Promise<void>) =>
    it.effect(name, () =>
      Effect.flatMap(TestBench, (made) =>
        Effect.promise(async () => {
          made.fake.reset()
          await run(made)
        })))

  const rowOf = (hub: Hub, id: string) =>
    Effect.runPromise(
      Effect.gen(function*() {
        const ledger = Context.get(hub.services, Ledger)
        yield* ledger.flush
        return (yield* ledger.request(id))?.row
      })
    )

  describe("in simple mode", () => {
    test("answers as the contract says", async ({ fake, hub }) => {
      fake.script({}, { text: "Hello there", usage: { prompt: 20, completion: 200 } })
      const answer = await hub.chat(ask("Hello"))
      const body = ok(answer)
      const { duration_ms, ...attempt } = body.attempts[0]
      assert.isAtLeast(duration_ms, 0)
      assert.deepStrictEqual({ ...body, attempts: [attempt] }, {
        id: answer.headers.get("x-request-id"),
        response: "Hello there",
        model: "big",
        provider: "openai",
        finish_reason: "stop",
        tokens_used: 220,
        usage: { prompt_tokens: 20, completion_tokens: 200, total_tokens: 220 },
        cost_usd: "0.004400000",
        degraded: null,
        attempts: [{
          step: "answer",
          model: "big",
          provider: "openai",
          outcome: "ok",
          usage: { prompt_tokens: 20, completion_tokens: 200, total_tokens: 220 },
          cost_usd: "0.004400000"
        }]
      })
      assert.strictEqual(answer.headers.get("x-tokenhub-model"), "big")
      assert.strictEqual(answer.headers.get("x-tokenhub-provider"), "openai")
      assert.strictEqual(answer.headers.get("x-tokenhub-cost-usd"), "0.004400000")
      assert.strictEqual(answer.headers.get("x-tokenhub-attempts"), "1")
      assert.strictEqual(fake.calls.length, 1)
      const row = await rowOf(hub, body.id)
      assert.deepStrictEqual(
        [row?.event, row?.endpoint, row?.mode, row?.model, row?.status, row?.cost],
        ["chat", "/v1/chat", "simple", "big", 200, 4_400_000n]
      )
    })

    test("hands parameters, tools and fields without a name on, and its own to nobody", async ({ fake, hub }) => {
      const tool = { type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }
      ok(
        await hub.chat(ask("Hi, in json", {
          model: "small",
          temperature: 0.25,
          top_p: 0.5,
          stop: "END",
          seed: 7,
          max_tokens: 33,
          tools: [tool],
          tool_choice: "auto",
          response_format: { type: "json_object" },
          logit_bias: { "50256": -100 },
          user: null,
          policy: { allow_escalation: false },
          tokenhub: { deadline_ms: 60_000 },
          stream_options: { include_usage: true }
        }))
      )
      // oxlint-disable-next-line typescript/no-explicit-any
      const sent = fake.calls[0]?.body as any
      assert.deepInclude(sent, { temperature: 0.25, top_p: 0.5, seed: 7, tool_choice: "auto", logit_bias: { "50256": -100 } })
      assert.deepStrictEqual(sent.stop, ["END"])
      assert.strictEqual(sent.max_completion_tokens ?? sent.max_tokens, 33)
      assert.deepStrictEqual(sent.tools, [tool])
      assert.deepStrictEqual(sent.response_format, { type: "json_object" })
      for (const name of ["tokenhub", "policy", "orchestration_mode", "stream_options", "user"]) assert.notProperty(sent, name)
    })

    test("hands on in the client's own bytes what the provider takes as the client wrote it", async ({ fake, hub }) => {
      const limit = "{\"type\":\"number\",\"maximum\":1e999}"
      const body = `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":${limit}}}],"planner_model":null}`
      const response = await fetch(`${hub.url}/v1/chat`, { method: "POST", headers: { "content-type": "application/json" }, body })
      assert.strictEqual(response.status, 200)
      assert.nestedPropertyVal(fake.calls[0]?.body, "tools[0].function.parameters.maximum", Infinity)
      assert.notProperty(fake.calls[0]?.body, "planner_model")
    })

    test("answers a tool call in OpenAI's shape, and takes its result back", async ({ fake, hub }) => {
      fake.script({}, { toolCalls: [{ id: "call_1", name: "weather", arguments: { city: "Paris" } }] })
      const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }]
      const first = ok(await hub.chat(ask("Weather?", { model: "big", tools })))
      assert.strictEqual(first.finish_reason, "tool_calls")
      assert.deepStrictEqual(first.tool_calls, [{ id: "call_1", type: "function", function: { name: "weather", arguments: "{\"city\":\"Paris\"}" } }])
      const second = ok(
        await hub.chat({
          model: "big",
          tools,
          messages: [
            { role: "user", content: "Weather?" },
            { role: "assistant", content: null, tool_calls: first.tool_calls },
            { role: "tool", tool_call_id: "call_1", content: "Sunny" }
          ]
        })
      )
      assert.include(second.response, "Sunny")
    })

    test("takes parts: text, image, audio, file", async ({ fake, hub }) => {
      ok(
        await hub.chat({
          model: "big",
          messages: [
            { role: "system", content: [{ type: "text", text: "Be brief." }] },
            {
              role: "user",
              content: [
                { type: "text", text: "What is it?" },
                { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=", detail: "low" } },
                { type: "image_url", image_url: { url: "https://example.org/cat.png" } },
                { type: "input_audio", input_audio: { data: "AAAA", format: "wav" } },
                { type: "file", file: { file_data: "data:application/pdf;base64,JVBERi0=", filename: "a.pdf" } }
              ]
            }
          ]
        })
      )
      // oxlint-disable-next-line typescript/no-explicit-any
      const sent = fake.calls[0]?.body as any
      const content = sent.messages.at(-1).content
      assert.deepStrictEqual(content.map(({ type }: { type: string }) => type), ["text", "image_url", "image_url", "input_audio", "file"])
      assert.strictEqual(content[1].image_url.url, "data:image/png;base64,iVBORw0KGgo=")
      assert.strictEqual(content[4].file.filename, "a.pdf")
    })

    test("goes on to a heavier model when one fails, and the answer shows both", async ({ fake, hub }) => {
      fake.script({ vendor: "openai", model: "small" }, { fault: "529", always: true })
      const body = ok(await hub.chat(ask("Hello", { model: "small" })))
      assert.strictEqual(body.model, "big")
      assert.deepStrictEqual(body.attempts.map(({ model, outcome }: { model: string; outcome: string }) => `${model} ${outcome}`), ["small overloaded", "big ok"])
    })

    test("an explicit model goes to its own provider under its own upstream name, by alias too, however light it is", async ({ fake, hub }) => {
      const card = { name: "mine", provider: "anthropic", upstream_name: "claude-of-mine", context_size: 100_000, weight: -5, cost_per_1k_tokens: 0.02, aliases: ["my-own"] }
      ok(await hub.admin("POST", "/models", card))
      for (const model of ["mine", "my-own"]) assert.deepInclude(ok(await hub.chat(ask("Hello", { model }))), { model: "mine", provider: "anthropic" })
      assert.deepStrictEqual(fake.calls.map(({ model, vendor }) => [vendor, model]), [["anthropic", "claude-of-mine"], ["anthropic", "claude-of-mine"]])
      ok(await hub.admin("DELETE", "/models/mine"))
    })

    test("escalation passes by a heavier model whose context is too small for the request", async ({ fake, hub }) => {
      ok(await hub.admin("POST", "/models", { name: "tiny", provider: "openai", context_size: 200, weight: 9500, cost_per_1k_tokens: 0.02 }))
      fake.script({ model: "small" }, { fault: "529", always: true })
      const body = ok(await hub.chat(ask("word ".repeat(500), { model: "small" })))
      assert.strictEqual(body.model, "big")
      assert.deepStrictEqual(fake.calls.map(({ model }) => model), ["small", "big"])
      const overflow = ok(await hub.chat(ask("word ".repeat(500), { model: "tiny" })))
      assert.notStrictEqual(overflow.model, "tiny")
      const alone = await hub.chat(ask("word ".repeat(500), { model: "tiny", policy: { allow_escalation: false } }))
      assert.deepStrictEqual([alone.status, alone.json.error.code], [400, "context_length_exceeded"])
      assert.notInclude(fake.calls.map(({ model }) => model), "tiny")
      ok(await hub.admin("DELETE", "/models/tiny"))
    })

    test("a cost limit of 0 means free models only, and no limit where it is absent", async ({ fake, hub }) => {
      const free = { policy: { max_cost_per_1k_tokens: 0 } }
      const none = await hub.chat(ask("Hello", free))
      assert.deepStrictEqual([none.status, none.json.error.code], [422, "no_candidate"])
      const reasons = none.json.error.details.models.map(({ model, reason }: { model: string; reason: string }) => [model, reason])
      for (const model of ["big", "judge", "small"]) assert.deepInclude(reasons, [model, "too_expensive"])
      assert.strictEqual(fake.calls.length, 0)
      ok(await hub.admin("POST", "/models", { name: "gift", provider: "openai", context_size: 100_000, weight: 1, cost_per_1k_tokens: 0 }))
      assert.strictEqual(ok(await hub.chat(ask("Hello", free))).model, "gift")
      assert.strictEqual(ok(await hub.chat(ask("Hello"))).model, "big")
      ok(await hub.admin("DELETE", "/models/gift"))
    })

    test("an upstream's 400 is the client's, with its field", async ({ fake, hub }) => {
      fake.script({}, { error: 400 })
      const answer = await hub.chat(ask("Hello", { model: "small" }))
      assert.strictEqual(answer.status, 400)
      assert.strictEqual(answer.json.error.type, "invalid_request_error")
      assert.strictEqual(answer.headers.get("x-request-id"), answer.json.error.request_id)
    })

    test("a refused key is a 502 that asks for no retry", async ({ fake, hub }) => {
      fake.keys.set("openai", new Set(["another"]))
      const answer = await hub.chat(ask("Hello", { model: "small", policy: { allow_escalation: false } }))
      assert.strictEqual(answer.status, 502)
      assert.strictEqual(answer.json.error.code, "provider_auth")
      assert.strictEqual(answer.headers.get("x-should-retry"), "false")
      assert.match(answer.json.error.message, /^The provider 'openai' refused TokenHub's key: /)
      assert.notInclude(answer.text, "sk-test-key")
      const again = await hub.chat(ask("Hello", { model: "small", policy: { allow_escalation: false } }))
      assert.deepStrictEqual([again.status, again.json.error.code], [503, "all_unavailable"])
      assert.match(again.json.error.message, /^'small' is unavailable; try again in 3\d\d s$/)
      assert.deepInclude(again.json.error.details.models[0], { model: "small" })
      assert.match(again.json.error.details.models[0].detail, /^'small' can't be called: it cools down for 3\d\d s$/)
      assert.isAtLeast(Number(again.headers.get("retry-after")), 290)
      ok(await hub.admin("POST", "/providers", { name: "openai", provider_type: "openai", api_key: "sk-test-key", base_url: fake.url("openai") }))
    })

    test("a used-up quota is a 429 with the time until which the model cools", async ({ fake, hub }) => {
      fake.script({}, { fault: "quota" })
      const answer = await hub.chat(ask("Hello", { model: "small", policy: { allow_escalation: false } }))
      assert.deepStrictEqual([answer.status, answer.json.error.code], [429, "rate_limited"])
      assert.isAtLeast(Number(answer.headers.get("retry-after")), 290)
      assert.match(answer.json.error.message, /^'small' is rate-limited; try again in 3\d\d s$/)
      ok(await hub.admin("POST", "/providers", { name: "openai", provider_type: "openai", api_key: "sk-test-key", base_url: fake.url("openai") }))
    })

    test("a request that was refused is an event row with its status and code", async ({ hub }) => {
      const answer = await hub.chat({ messages: [] })
      const row = await rowOf(hub, answer.json.error.request_id)
      assert.deepStrictEqual([row?.event, row?.endpoint, row?.status, row?.errorCode], ["chat", "/v1/chat", 400, "invalid_request"])
      const admin = await hub.admin("GET", "/providers/nobody")
      const adminRow = await rowOf(hub, admin.json.error.request_id)
      assert.deepStrictEqual([adminRow?.event, adminRow?.endpoint, adminRow?.status], ["admin", "/admin/providers/:name", 404])
      const stranger = await hub.get("/admin/providers")
      assert.isUndefined(await rowOf(hub, stranger.json.error.request_id))
    })
  })

  describe("in adversarial mode", () => {
    const duel = (more: object = {}) =>
      ask("Plan it", { orchestration_mode: "adversarial", planner_model: "big", critic_model: "judge", ...more })

    test("drafts, is criticised and refined, and sums every call", async ({ fake, hub }) => {
      const usage = { prompt: 10, completion: 10 }
      fake.script({ vendor: "openai" }, { text: "draft one", usage }, { text: "draft two", usage })
      fake.script({ vendor: "anthropic" }, { text: "Too short.\nVERDICT: REVISE", usage })
      const body = ok(await hub.chat(duel({ enable_refinement: true })))
      assert.strictEqual(body.response, "draft two")
      assert.deepStrictEqual(body.adversarial, {
        final_response: "draft two",
        initial_plan: "draft one",
        critique: "Too short.\nVERDICT: REVISE",
        iterations: 2,
        refinements: ["draft two"],
        critiques: ["Too short.\nVERDICT: REVISE"]
      })
      assert.deepStrictEqual(body.attempts.map(({ step, model }: { step: string; model: string }) => `${step} ${model}`), ["plan big", "critique judge", "refine big"])
      assert.strictEqual(body.tokens_used, 60)
      assert.strictEqual(body.cost_usd, "0.001200000")
      assert.isNull(body.degraded)
    })

    test("without refinement there is one draft and one critique, whatever the number of iterations", async ({ fake, hub }) => {
      fake.script({ vendor: "anthropic" }, { text: "Bad.\nVERDICT: REVISE" })
      const body = ok(await hub.chat(duel({ enable_refinement: false, max_refinement_iterations: 5 })))
      assert.deepStrictEqual(body.attempts.map(({ step }: { step: string }) => step), ["plan", "critique"])
      assert.strictEqual(body.adversarial.iterations, 1)
    })

    test("the tokenhub object says the same in other words", async ({ fake, hub }) => {
      fake.script({ vendor: "openai" }, { text: "one" }, { text: "two" })
      fake.script({ vendor: "anthropic" }, { text: "VERDICT: REVISE" })
      const body = ok(await hub.chat(ask("Plan it", { tokenhub: { mode: "adversarial", planner: "big", critic: "judge", refinements: 1, policy: { allow_escalation: false } } })))
      assert.strictEqual(body.adversarial.iterations, 2)
      assert.strictEqual(body.response, "two")
    })

    test("streams its steps, and the answer alone is final", async ({ fake, hub }) => {
      fake.script({ vendor: "openai" }, { text: "draft one" }, { text: "draft two" })
      fake.script({ vendor: "anthropic" }, { text: "No.\nVERDICT: REVISE" })
      const stream = await hub.events(duel({ enable_refinement: true, stream: true }))
      const events = await stream.rest()
      const names = events.map(({ name, data }) => (name === "step.delta" ? "step.delta" : data.step === undefined ? name : `${name} ${data.step}`))
      assert.deepStrictEqual(names.filter((name) => name !== "step.delta"), [
        "run.started",
        "step.started plan",
        "step.completed plan",
        "step.started critique",
        "step.completed critique",
        "step.started refine",
        "step.completed refine",
        "run.completed"
      ])
      const deltas = events.filter(({ name }) => name === "step.delta")
      assert.strictEqual(deltas.filter(({ data }) => data.final).map(({ data }) => data.text).join(""), "draft two")
      assert.strictEqual(deltas.filter(({ data }) => data.step === "plan").map(({ data }) => data.text).join(""), "draft one")
      assert.strictEqual(events.at(-1)?.data.adversarial.initial_plan, "draft one")
    })
  })
})

describe("the chat request flow", { timeout: 20_000 }, () => {
  const exact = Schema.decodeUnknownSync(ChatAnswer, { onExcessProperty: "error" })

  it.live("client, validation, mode, router, adapters, answer, metrics and database: every figure is the provider's bill", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const fake = yield* Fake.scoped()
      const hub = yield* Harness.start({ folder, env: { TOKENHUB_MOCK: "false" } })
      yield* Effect.promise(async () => {
        for (const [name, type] of [["one", "openai"], ["two", "anthropic"]] as const) {
          ok(await hub.admin("POST", "/providers", { name, provider_type: type, api_key: "sk-test-key", base_url: fake.url(type) }))
        }
        const add = (name: string, provider: string, weight: number) =>
          hub.admin("POST", "/models", { name, provider, context_size: 100_000, weight: 9000 + weight, input_cost_per_1k: 0.000003, output_cost_per_1k: 0.000007, cached_input_cost_per_1k: 0.000001 })
        ok(await add("flow-planner", "one", 2))
        ok(await add("flow-critic", "two", 1))

        // 2: what is not valid goes no further.
        assert.strictEqual((await hub.chat({ messages: [] })).status, 400)
        assert.strictEqual(fake.calls.length, 0)
        // 3 to 6, in both modes, with a failed call, a cached prompt and an odd number of nano-dollars.
        fake.script({ model: "flow-planner" }, { fault: "500" }, { text: "one", usage: { prompt: 101, cached: 33, completion: 7 } })
        const simple = exact(ok(await hub.chat(ask("Hello"))))
        assert.deepStrictEqual([simple.model, simple.attempts.map(({ outcome }) => outcome)], ["flow-planner", ["server_error", "ok"]])
        fake.script({ model: "flow-planner" }, { text: "draft" }, { text: "better draft" })
        fake.script({ model: "flow-critic" }, { text: "Too short.\nVERDICT: REVISE" })
        const duel = exact(ok(await hub.chat(ask("Hello", { orchestration_mode: "adversarial", enable_refinement: true }))))
        assert.deepStrictEqual(duel.attempts.map(({ provider, step }) => `${step} ${provider}`), ["plan one", "critique two", "refine one"])

        // 7: the same sums everywhere.
        const charged = fake.bill.reduce(
          (sum, { cached, completion, prompt }) => ({
            tokens: sum.tokens + prompt + completion,
            // Each call is rounded up once.
            nano: sum.nano + Math.ceil(((prompt - cached) * 3000 + cached * 1000 + completion * 7000) / 1000)
          }),
          { tokens: 0, nano: 0 }
        )
        const usd = `0.${String(charged.nano).padStart(9, "0")}`
        assert.strictEqual(simple.tokens_used + duel.tokens_used, charged.tokens)
        const { totals } = (await hub.admin("GET", "/usage?group_by=mode&bucket=hour")).json
        // The refused one is a request too.
        assert.deepInclude(totals, { requests: 3, attempts: 5, total_tokens: charged.tokens, cost_usd: usd })

        const families = parsePrometheus((await hub.get("/metrics")).text)
        // Other tests of this process have series of their own.
        const sumOf = (family: string) =>
          families.find(({ name }) => name === family)?.metrics
            .reduce((sum, { labels, value }) => sum + (labels?.["model"]?.startsWith("flow-") === true ? Number(value) : 0), 0)
        assert.strictEqual(sumOf("tokenhub_tokens_used_total"), charged.tokens)
        assert.strictEqual(sumOf("tokenhub_model_calls_total"), 5)
        assert.closeTo(sumOf("tokenhub_cost_usd_total") ?? 0, charged.nano / 1e9, 1e-12)

        const database = new DatabaseSync(join(folder, "tokenhub.db"), { readOnly: true })
        const rows = database.prepare(
          "SELECT event, mode, model, status, prompt_tokens + completion_tokens AS tokens, duration_ms >= 0 AS timed, at > 0 AS stamped FROM requests WHERE event = 'chat' ORDER BY id"
        ).all()
        database.close()
        const row = { event: "chat", status: 200, timed: 1, stamped: 1 }
        assert.deepStrictEqual(rows.map((found) => ({ ...found })), [
          { ...row, status: 400, mode: null, model: null, tokens: 0 },
          { ...row, mode: "simple", model: "flow-planner", tokens: simple.tokens_used },
          { ...row, mode: "adversarial", model: "flow-planner", tokens: duel.tokens_used }
        ])
      })
    }))
})
