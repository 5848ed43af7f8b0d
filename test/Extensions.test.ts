/** What a reader of the README adds from outside of `src/`: a mode and a provider type, each one file and one line, over real sockets. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Modes } from "../src/orchestrate/Mode.ts"
import { Adversarial } from "../src/orchestrate/modes/Adversarial.ts"
import { Simple } from "../src/orchestrate/modes/Simple.ts"
import { ProviderTypes } from "../src/provider/ProviderTypes.ts"
import * as Vendors from "../src/provider/Vendors.ts"
import { parrot } from "./support/extensions/Parrot.ts"
import { SecondOpinion } from "./support/extensions/SecondOpinion.ts"
import type { Hub } from "./support/Harness.ts"
import * as Harness from "./support/Harness.ts"

class TokenHub extends Context.Service<TokenHub, Hub>()("test/TokenHub") {}

const extended = Harness.start({
  env: { TOKENHUB_MOCK: "false" },
  modes: Modes.layer(Simple, Adversarial, SecondOpinion),
  providerTypes: Layer.mergeAll(Vendors.layer, ProviderTypes.layerRegister(parrot))
})

const hello = { messages: [{ role: "user", content: "Hello" }] }

/** A parrot under a name, with a model of that name. */
const cage = async ({ admin }: Hub, name: string, weight: number, key = "polly") => {
  const added = await admin("POST", "/providers", { name, provider_type: "parrot", api_key: key })
  assert.strictEqual(added.status, 201, added.text)
  const model = await admin("POST", "/models", { name, provider: name, upstream_name: "parrot-1", context_size: 100_000, weight, cost_per_1k_tokens: 0.001 })
  assert.strictEqual(model.status, 201, model.text)
}

layer(Layer.effect(TokenHub, extended), { excludeTestServices: true, timeout: 20_000 })("what comes from outside", (it) => {
  const test = (name: string, run: (hub: Hub) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TokenHub, (hub) => Effect.promise(() => run(hub))))

  test("an adapter is added, validated, asked, streamed and billed like any other", async (hub) => {
    await cage(hub, "ara", 10)
    assert.deepStrictEqual((await hub.admin("POST", "/providers/ara/validate")).json, { valid: true, models: ["parrot-1"] })
    const answer = await hub.chat({ ...hello, model: "ara" })
    assert.strictEqual(answer.status, 200, answer.text)
    assert.deepInclude(answer.json, { response: "Polly heard: Hello", provider: "ara", tokens_used: 10, cost_usd: "0.000010000" })

    const events = await (await hub.events({ ...hello, model: "ara", stream: true })).rest()
    assert.deepStrictEqual(events.filter(({ name }) => name === "step.delta").map(({ data }) => data.text), ["Polly ", "heard: ", "Hello"])
    assert.strictEqual(events.at(-1)?.data.cost_usd, "0.000010000")

    const openai = await hub.post("/v1/chat/completions", { ...hello, model: "ara" })
    assert.strictEqual(openai.json.choices[0].message.content, "Polly heard: Hello")

    const { rows } = (await hub.admin("GET", "/usage?group_by=provider")).json
    assert.deepInclude(rows.find(({ group }: { group: string }) => group === "ara"), { requests: 3, total_tokens: 30, cost_usd: "0.000030000" })
  })

  test("an adapter's refusal is classified like any other", async (hub) => {
    await cage(hub, "cockatoo", 1, "rosie")
    assert.deepInclude((await hub.admin("POST", "/providers/cockatoo/validate")).json, { valid: false, message: "Polly does not know this key" })
    const refused = await hub.chat({ ...hello, model: "cockatoo", policy: { allow_escalation: false } })
    assert.deepStrictEqual([refused.status, refused.json.error.code], [502, "provider_auth"])
    const unknown = await hub.admin("POST", "/providers", { name: "x", provider_type: "parot" })
    assert.match(unknown.json.error.message, /\bparrot\b/)
  })

  test("a third mode answers on every door, whole and streamed, sums its calls and is in the log", async (hub) => {
    await cage(hub, "grey", 100)
    await cage(hub, "green", 90)
    const answer = await hub.chat({ ...hello, orchestration_mode: "second-opinion" })
    assert.strictEqual(answer.status, 200, answer.text)
    const calls = answer.json.attempts.map(({ model, step }: { model: string; step: string }) => `${step} ${model}`)
    assert.deepStrictEqual(calls, ["first grey", "second green"])
    assert.deepInclude(answer.json, { response: "Polly heard: Polly heard: Hello", tokens_used: 20, cost_usd: "0.000020000", degraded: null })
    assert.notProperty(answer.json, "adversarial")

    const events = await (await hub.events({ ...hello, orchestration_mode: "second-opinion", stream: true })).rest()
    const finals = events.filter(({ data, name }) => name === "step.delta" && data.final).map(({ data }) => data.text)
    assert.strictEqual(finals.join(""), "Polly heard: Polly heard: Hello")

    const openai = await hub.post("/v1/chat/completions", { ...hello, model: "tokenhub/second-opinion" })
    assert.strictEqual(openai.json.choices[0].message.content, "Polly heard: Polly heard: Hello")

    const { requests } = (await hub.admin("GET", "/requests?mode=second-opinion")).json
    assert.deepStrictEqual(requests.map(({ usage }: { usage: { total_tokens: number } }) => usage.total_tokens), [20, 20, 20])
    const wrong = await hub.chat({ ...hello, orchestration_mode: "third-opinion" })
    assert.match(wrong.json.error.message, /there are: simple, adversarial, second-opinion$/)
  })
})
