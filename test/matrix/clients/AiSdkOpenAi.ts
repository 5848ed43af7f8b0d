/** The Vercel AI SDK with its provider for OpenAI-compatible APIs. */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import type { Driver } from "../Client.ts"
import { clientOf, exceptionFor, thrown } from "./AiSdk.ts"

const name = "tokenhub"

const connect: Driver["connect"] = (connection) => {
  const provider = createOpenAICompatible({
    name,
    baseURL: `${connection.url}/v1`,
    apiKey: connection.key,
    includeUsage: true,
    supportsStructuredOutputs: true,
    ...(connection.headers === undefined ? {} : { headers: connection.headers })
  })
  const wishes = { reasoning: { [name]: { reasoningEffort: "low" } }, oneCall: { [name]: { parallel_tool_calls: false } } }
  return clientOf((model) => provider.chatModel(model), wishes, connection)
}

export const aiSdkOpenAi: Driver = { connect, thrown, exceptionFor }
