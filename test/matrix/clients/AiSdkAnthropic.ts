/** The Vercel AI SDK with its Anthropic provider. */
import { createAnthropic } from "@ai-sdk/anthropic"
import type { Driver } from "../Client.ts"
import { clientOf, exceptionFor, thrown } from "./AiSdk.ts"

const wishes = {
  reasoning: { anthropic: { thinking: { type: "enabled", budgetTokens: 2048 } } },
  oneCall: { anthropic: { disableParallelToolUse: true } }
}

const connect: Driver["connect"] = (connection) => {
  const provider = createAnthropic({
    baseURL: `${connection.url}/v1`,
    apiKey: connection.key,
    ...(connection.headers === undefined ? {} : { headers: connection.headers })
  })
  return clientOf((model) => provider(model), wishes, connection)
}

/** It asks models whose name it does not know for structured output by a tool that must be called. */
export const aiSdkAnthropic: Driver = { connect, thrown, exceptionFor, schemaTool: "json" }
