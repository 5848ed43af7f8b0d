import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { ChatRequest } from "../../../src/domain/Chat.ts"
import { textOf } from "../../../src/domain/Chat.ts"
import type { ProviderError } from "../../../src/domain/ProviderError.ts"
import { ask } from "../../support/Doubles.ts"
import { adapterFor, callOf, eventsOf, Fake, layer as upstreams } from "../Harness.ts"

const own = { model: "whatever", messages: [{ role: "user", content: "Hi", tint: 1 }], novelty: [1, null] }

const request = (more: Partial<ChatRequest> = {}, body: object = own, protocol = "openai-chat"): ChatRequest => ({
  ...ask("Hi"),
  native: { protocol, body: { ...body } },
  ...more
})

/** What the fake provider was sent. */
const sent = (providerType: string, chat: ChatRequest, stream = false) =>
  Effect.gen(function*() {
    const fake = yield* Fake
    fake.reset()
    const vendor = providerType === "anthropic" || providerType === "openai" ? providerType : "compatible"
    const adapter = yield* adapterFor(providerType, fake.url(vendor))
    const call = callOf("upstream-name", chat)
    const items = stream ? yield* eventsOf(adapter, call) : []
    const completion = stream ? undefined : yield* adapter.complete(call)
    return { body: fake.calls[0]?.body, headers: fake.calls[0]?.headers ?? {}, completion, items }
  }).pipe(Effect.scoped)

layer(upstreams, { excludeTestServices: true })("a client's own request", (it) => {
  describe("at a vendor of its protocol", () => {
    it.effect("goes as it came, under the vendor's name of the model, and the answer comes back as it is", () =>
      Effect.gen(function*() {
        const { body, completion } = yield* sent("openai", request())
        assert.deepStrictEqual(body, { ...own, model: "upstream-name" })
        assert.strictEqual(completion?.native?.protocol, "openai-chat")
        assert.strictEqual(JSON.parse(String(completion?.native?.body)).object, "chat.completion")
      }))

    it.effect("asks a stream for its usage, and hands every event on with what it says", () =>
      Effect.gen(function*() {
        const { body, items } = yield* sent("openai", request({}, { ...own, stream_options: { more: 1 } }), true)
        assert.deepStrictEqual(body, { ...own, model: "upstream-name", stream: true, stream_options: { more: 1, include_usage: true } })
        const frames = items.flatMap((item) => (item.type === "frame" ? [item] : []))
        const said = frames.flatMap(({ deltas }) => deltas.flatMap((delta) => (delta.type === "text" ? [delta.text] : []))).join("")
        const last = items.at(-1)
        assert.strictEqual(last?.type === "end" && textOf(last.completion.content), said)
        assert.isNotEmpty(said)
        assert.lengthOf(items, frames.length + 1)
        for (const { data, deltas } of frames) for (const delta of deltas) if (delta.type === "text") assert.include(data, delta.text)
      }))

    it.effect("has its limit under the vendor's name, and no nulls where the vendor wants none", () =>
      Effect.gen(function*() {
        const asked = request({}, { ...own, max_completion_tokens: 9, user: null })
        const { body } = yield* sent("fireworks", asked)
        assert.deepStrictEqual(body, { ...own, model: "upstream-name", max_tokens: 9 })
      }))

    it.effect("goes without thoughts and marks for a cache at a vendor that refuses them, and with all the rest", () =>
      Effect.gen(function*() {
        const assistant = { role: "assistant", content: "Yes", reasoning_content: "hm", reasoning_details: [], mood: 1 }
        const messages = [{ role: "user", content: [{ type: "text", text: "Hi", cache_control: { type: "ephemeral" }, tint: 1 }] }, assistant]
        const asked = request({
          messages: [
            { role: "user", content: [{ type: "text", text: "Hi", cacheControl: { type: "ephemeral" } }] },
            { role: "assistant", content: [{ type: "reasoning", text: "hm" }, { type: "text", text: "Yes" }] }
          ]
        }, { ...own, messages })
        const { body } = yield* sent("openai", asked)
        assert.deepStrictEqual(body, {
          ...own,
          model: "upstream-name",
          messages: [
            { role: "user", content: [{ type: "text", text: "Hi", tint: 1 }] },
            { role: "assistant", content: "Yes", mood: 1 }
          ]
        })
        const openRouter = yield* sent("openrouter", asked)
        assert.deepNestedPropertyVal(openRouter.body, "messages", messages)
      }))

    it.effect("goes in the canonical form where the vendor departs from the protocol", () =>
      Effect.gen(function*() {
        const developer = request({ messages: [{ role: "developer", content: [{ type: "text", text: "Be brief" }] }, ...ask("Hi").messages] })
        const { body, completion } = yield* sent("fireworks", developer)
        assert.notProperty(body, "novelty")
        assert.nestedPropertyVal(body, "messages[0].role", "system")
        assert.isUndefined(completion?.native)
        const named = yield* sent("together", request({ user: "u" }))
        assert.notProperty(named.body, "novelty")
      }))

    it.effect("takes the protocol's own headers along to Anthropic, and has an output limit, which that vendor wants", () =>
      Effect.gen(function*() {
        const messages = { messages: [{ role: "user", content: "Hi" }], novelty: 1 }
        const native = { protocol: "anthropic-messages", body: messages, headers: { "anthropic-beta": "tomorrow" } }
        const plain = yield* sent("anthropic", { ...ask("Hi"), native })
        assert.deepStrictEqual(plain.body, { ...messages, model: "upstream-name", max_tokens: 1024 })
        assert.strictEqual(plain.headers["anthropic-beta"], "tomorrow")
      }))
  })

  describe("at a vendor of another protocol", () => {
    const extra = (...needed: ReadonlyArray<string>) => ({ protocol: "openai-chat", fields: { logit_bias: {}, store: true }, needed })

    it.effect("is refused by the first field that has no counterpart there", () =>
      Effect.gen(function*() {
        const error: ProviderError | undefined = yield* Effect.flip(sent("anthropic", request({ extra: extra("logit_bias") })))
        assert.strictEqual(error.fault, "unsupported")
        assert.strictEqual(error.param, "logit_bias")
      }))

    it.effect("goes without those that change no answer, or that the client can do without", () =>
      Effect.gen(function*() {
        const hint = yield* sent("anthropic", request({ extra: extra() }))
        assert.notProperty(hint.body, "store")
        const dropped = yield* sent("anthropic", request({ extra: extra("logit_bias"), seed: 1, dropUnsupported: true }))
        assert.notProperty(dropped.body, "seed")
        assert.isUndefined(dropped.completion?.native)
      }))
  })
})
