import { assert, describe, it } from "@effect/vitest"
import type { ChatRequest } from "../../../src/domain/Chat.ts"
import { ProviderError } from "../../../src/domain/ProviderError.ts"
import { fitted } from "../../../src/provider/protocols/Abilities.ts"
import { anthropicMessages } from "../../../src/provider/protocols/AnthropicMessages.ts"
import { gemini } from "../../../src/provider/protocols/Gemini.ts"
import { openAiChat } from "../../../src/provider/protocols/OpenAiChat.ts"
import { openAiQuirks } from "../../../src/provider/protocols/OpenAiQuirks.ts"
import { openAiResponses } from "../../../src/provider/protocols/OpenAiResponses.ts"
import type { Protocol } from "../../../src/provider/protocols/Protocol.ts"
import { vendors } from "../../support/fake-provider/Server.ts"
import type { Json, VendorName } from "../../support/fake-provider/Wire.ts"
import { isJson } from "../../support/fake-provider/Wire.ts"
import { Drawn, requestOf, wordsOf } from "../Conversations.ts"
import { callOf } from "../Harness.ts"

const openAi = openAiChat("OpenAI", openAiQuirks)

/** What the client can do without goes, as with `drop_unsupported`. */
const requestTo = (protocol: Protocol, model: string, request: ChatRequest): Json => {
  const call = callOf(model, { ...request, dropUnsupported: true })
  const fitting = fitted(call.request, [...protocol.lacks, ...protocol.lacksAt?.(call) ?? []], protocol.vendor, protocol.name)
  if (fitting instanceof ProviderError) return assert.fail(fitting.message)
  const body: unknown = JSON.parse(JSON.stringify(protocol.request({ ...call, request: fitting }, false, undefined).body))
  return isJson(body) ? body : assert.fail("no object")
}

/** The vendor's refusal of a body, by the fake provider's rules; undefined: it is taken. */
const refusalOf = (vendor: VendorName, path: string, model: string, body: Json): string | undefined => {
  const route = vendors[vendor].routes.find((route) => route.method === "POST" && route.path.test(path))
  const protocol = route?.protocol ?? assert.fail(`no route ${path}`)
  const problem = protocol.check(body, protocol.read(body, model, new URLSearchParams()))
  return problem === undefined ? undefined : `${problem.param ?? ""} ${problem.message ?? problem.kind}`
}

const rows: ReadonlyArray<readonly [name: string, Protocol, VendorName, path: (model: string) => string, models: ReadonlyArray<string>]> = [
  ["OpenAI's chat completions", openAi, "openai", () => "/v1/chat/completions", ["gpt-4o", "gpt-5", "gpt-5.1", "any"]],
  ["OpenAI's responses", openAiResponses, "openai", () => "/v1/responses", ["gpt-4.1", "gpt-5", "any"]],
  ["Anthropic", anthropicMessages, "anthropic", () => "/v1/messages", [
    "claude-3-7-sonnet-20250219",
    "claude-haiku-4-5",
    "claude-opus-4-6",
    "claude-opus-4-8",
    "claude-sonnet-5",
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "any"
  ]],
  ["Gemini", gemini, "gemini", (model) => `/v1beta/models/${model}:generateContent`, ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-pro", "any"]]
]

/** Gemini of the second generation calls no functions where the answer is JSON: its own refusal, which names the field. */
const isRefusedByRight = (model: string, request: ChatRequest): boolean =>
  model.startsWith("gemini-2") && request.tools !== undefined && request.responseFormat?.type === "json_schema"

describe("a conversation on its way to a vendor", () => {
  for (const [name, protocol, vendor, path, models] of rows) {
    for (const model of models) {
      it.prop(`is one that ${name} takes (${model})`, [Drawn], ([drawn]) => {
        const request = requestOf(drawn)
        if (isRefusedByRight(model, request)) return
        const body = requestTo(protocol, model, request)
        const refusal = refusalOf(vendor, path(model), model, body)
        assert.isUndefined(refusal, `${refusal}: ${JSON.stringify(body)}`)
        const sent = JSON.stringify(body)
        for (const words of wordsOf(drawn)) if (words.trim() !== "") assert.include(sent, JSON.stringify(words.trimEnd()).slice(1, -1))
      })
    }
  }
})
