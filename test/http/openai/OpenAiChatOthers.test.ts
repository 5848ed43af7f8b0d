import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { text } from "../../../src/domain/Chat.ts"
import { putAside } from "../../../src/http/openai/OpenAiChatOthers.ts"
import { openAiChat as door } from "../../../src/http/openai/OpenAiChatWire.ts"

const ask = { role: "user", content: "Hi" }
const decoded = (body: object) => Result.getOrThrow(door.decode({ messages: [ask], ...body }, {}))
const refusalOf = (body: object) => {
  const result = door.decode({ messages: [ask], ...body }, {})
  return Result.isFailure(result) ? result.failure.param : assert.fail("was taken")
}

const tool = { type: "function", function: { name: "f" } }
const call = { id: "c", type: "function", function: { name: "f", arguments: "{}" } }

const others: ReadonlyArray<readonly [name: string, paths: ReadonlyArray<string>, body: object]> = [
  ["a file that lies at OpenAI", ["messages[0].content[1]"], {
    messages: [{ role: "user", content: [{ type: "text", text: "Hi" }, { type: "file", file: { file_id: "file-1" } }] }]
  }],
  ["a part of a kind that nobody here knows", ["messages[0].content[0]"], {
    messages: [{ role: "user", content: [{ type: "video_url", video_url: { url: "https://e.com/a" } }, { type: "text", text: "Hi" }] }]
  }],
  ["the result of a function", ["messages[1]"], { messages: [ask, { role: "function", name: "f", content: "42" }] }],
  ["an assistant's recording", ["messages[1].audio"], { messages: [ask, { role: "assistant", audio: { id: "a" } }, ask] }],
  ["a call from before there were tools", ["messages[1].function_call"], {
    messages: [ask, { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } }]
  }],
  ["a custom call", ["messages[1].tool_calls[0]"], {
    messages: [ask, { role: "assistant", tool_calls: [{ id: "d", type: "custom", custom: { name: "g", input: "x" } }, call] }, {
      role: "tool",
      tool_call_id: "c",
      content: "42"
    }]
  }],
  ["a custom tool", ["tools[0]"], { tools: [{ type: "custom", custom: { name: "g" } }, tool] }],
  ["a choice among some tools", ["tool_choice"], {
    tools: [tool],
    tool_choice: { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [tool] } }
  }],
  ["functions", ["functions", "function_call"], { functions: [{ name: "f" }], function_call: "auto" }],
  ["a format that is new", ["response_format"], { response_format: { type: "grammar", grammar: "x" } }]
]

describe("what OpenAI's chat completions have beside the canonical form", () => {
  for (const [name, paths, body] of others) {
    it(`goes to providers of the protocol as it came, and is named for the others: ${name}`, () => {
      const { chat } = decoded(body)
      assert.deepStrictEqual(chat.unraised, paths)
      assert.deepStrictEqual(chat.native?.body, { messages: [ask], ...body })
      assert.deepStrictEqual(chat.extra, undefined)
    })
  }

  it("leaves what stands beside it", () => {
    const { chat } = decoded({
      messages: [
        { role: "user", content: [{ type: "video_url", video_url: {} }, { type: "text", text: "Hi" }] },
        { role: "assistant", content: null, tool_calls: [{ id: "d", type: "custom", custom: {} }, call] }
      ],
      tools: [{ type: "custom", custom: { name: "g" } }, tool]
    })
    assert.deepStrictEqual(chat.messages, [
      { role: "user", content: [text("Hi")] },
      { role: "assistant", content: [{ type: "tool_call", id: "c", name: "f", arguments: "{}" }] }
    ])
    assert.deepStrictEqual(chat.tools, [{ name: "f" }])
  })

  it("may be bytes, so that the body may be large", () => {
    assert.isTrue(decoded({ messages: [{ role: "user", content: [{ type: "video_url", video_url: {} }] }] }).media)
    assert.isFalse(decoded({ tools: [{ type: "custom", custom: { name: "g" } }] }).media)
  })

  it("is nothing where nothing of it is there", () => {
    const body = { messages: [ask, { role: "assistant", content: null, audio: null, function_call: null, tool_calls: [call] }], functions: null }
    assert.strictEqual(putAside(body).rest, body)
    assert.isUndefined(decoded(body).chat.unraised)
  })

  const mistakes: ReadonlyArray<readonly [param: string, body: object]> = [
    ["messages[0].content[1].text", { messages: [{ role: "user", content: [{ type: "video_url" }, { type: "text", text: 7 }] }] }],
    ["messages[0].content[0]", { messages: [{ role: "user", content: ["Hi"] }] }],
    ["messages[1]", { messages: [{ role: "function", content: "x" }, { role: "robot", content: "x" }] }],
    ["tools[1].function.name", { tools: [{ type: "custom" }, { type: "function", function: {} }] }],
    ["tool_choice", { tool_choice: "sometimes" }],
    ["response_format.json_schema.name", { response_format: { type: "json_schema", json_schema: {} } }]
  ]
  for (const [param, body] of mistakes) {
    it(`does not hide the mistake of ${param}`, () => assert.strictEqual(refusalOf(body), param))
  }
})
