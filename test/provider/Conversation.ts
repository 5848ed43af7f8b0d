/** Requests that every protocol's tests ask. */
import type { ChatRequest } from "../../src/domain/Chat.ts"
import { text } from "../../src/domain/Chat.ts"
import { ask } from "../support/Doubles.ts"

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false }

export const weather = { name: "weather", description: "The weather of a city", parameters }
export const clock = { name: "clock", description: "The time in a city", parameters }

export const withTools = (question: string, given: Partial<ChatRequest> = {}): ChatRequest => ({ ...ask(question), tools: [weather, clock], ...given })

/** A conversation after two parallel tool calls, one of which failed. */
export const afterTools: ChatRequest = withTools("Weather and time in Oslo?", {
  messages: [
    { role: "system", content: [text("Be brief.")] },
    { role: "user", content: [text("Weather and time in Oslo?")] },
    {
      role: "assistant",
      content: [
        text("Let me look."),
        { type: "tool_call", id: "call_1", name: "weather", arguments: "{\"city\":\"Oslo\"}" },
        { type: "tool_call", id: "call_2", name: "clock", arguments: "{\"city\":\"Oslo\"}" }
      ]
    },
    { role: "tool", content: [{ type: "tool_result", toolCallId: "call_1", content: [text("{\"sky\":\"clear\"}")] }] },
    { role: "tool", content: [{ type: "tool_result", toolCallId: "call_2", content: [text("no such city")], isError: true }] }
  ]
})

export const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false }

export const asJson = (question: string): ChatRequest => ({
  ...ask(question),
  responseFormat: { type: "json_schema", name: "city", schema, strict: true }
})

export const png = "iVBORw0KGgo="

export const withImages: ChatRequest = {
  messages: [{
    role: "user",
    content: [
      text("What is this?"),
      { type: "image", source: { type: "data", mediaType: "image/png", data: png } },
      { type: "image", source: { type: "url", url: "https://example.com/a.png" }, detail: "low" }
    ]
  }]
}
