/**
 * Which client libraries were tried against which providers, with what outcome: the data of the matrix and of the table that
 * docs/CLIENTS.md shows. A cell that is no limit passes; the tests of this folder find both out.
 */

import manifest from "../../package.json" with { type: "json" }

/** A library, by the name of its driver. */
export const clients = {
  openAiChat: { title: "`openai`, chat completions", route: "/v1/chat/completions", packages: ["openai"] },
  openAiResponses: { title: "`openai`, responses", route: "/v1/responses", packages: ["openai"] },
  anthropic: { title: "`@anthropic-ai/sdk`", route: "/v1/messages", packages: ["@anthropic-ai/sdk"] },
  aiSdkOpenAi: {
    title: "Vercel AI SDK, `@ai-sdk/openai-compatible`",
    route: "/v1/chat/completions",
    packages: ["ai", "@ai-sdk/openai-compatible"]
  },
  aiSdkAnthropic: { title: "Vercel AI SDK, `@ai-sdk/anthropic`", route: "/v1/messages", packages: ["ai", "@ai-sdk/anthropic"] },
  langChain: { title: "`@langchain/openai`", route: "/v1/chat/completions", packages: ["@langchain/openai", "@langchain/core"] }
} as const
export type ClientName = keyof typeof clients

/** A provider's protocol, by the provider type that speaks it. */
export const upstreams = {
  openai: { title: "OpenAI chat" },
  "openai-responses": { title: "OpenAI responses" },
  anthropic: { title: "Anthropic" },
  gemini: { title: "Gemini" }
} as const
export type UpstreamName = keyof typeof upstreams

/** What is tried, and what of it is looked at. */
export const scenarios = {
  plain: "a whole answer: text, reason of its end, usage",
  stream: "the same in pieces",
  tools: "a tool's call with its arguments, and the next turn with its result",
  "parallel tools": "two calls in one answer, and both results",
  image: "a picture as data reaches the model",
  file: "a PDF as data reaches the model",
  "one call at a time": "the wish reaches the model",
  "JSON schema": "the schema reaches the model, and its JSON the client",
  reasoning: "thinking is asked for, and shown in the protocol's own place",
  "output limit": "the answer ends for its length",
  "content filter": "the answer ends for its content",
  "error before": "the library's own exception, with the status; not repeated",
  "error in mid-stream": "the library fails after the pieces that came, and tells no regular end",
  abort: "the call to the provider ends too, and the ledger says 499"
} as const
export type ScenarioName = keyof typeof scenarios

export const modes = {
  direct: "a model by its name",
  auto: "`tokenhub/auto`: the router chooses",
  adversarial: "`tokenhub/adversarial`: draft, critique, refinement; streams carry the final answer"
} as const
export type ModeName = keyof typeof modes

const keysOf = <K extends string>(record: Readonly<Record<K, unknown>>): ReadonlyArray<K> => Object.keys(record) as Array<K>

export interface Cell {
  readonly client: ClientName
  readonly upstream: UpstreamName
  readonly scenario: ScenarioName
  readonly mode: ModeName
}

/** A part of the matrix that is refused with a 400, in every mode. */
export interface Limit {
  readonly upstream: UpstreamName
  readonly scenario: ScenarioName
  /** The field that the error names, by the client that it is refused to. */
  readonly params: Readonly<Partial<Record<ClientName, string>>>
  readonly reason: string
}

export const limits: ReadonlyArray<Limit> = [
  {
    upstream: "gemini",
    scenario: "one call at a time",
    params: {
      openAiChat: "parallel_tool_calls",
      openAiResponses: "parallel_tool_calls",
      anthropic: "tool_choice.disable_parallel_tool_use",
      aiSdkOpenAi: "parallel_tool_calls",
      aiSdkAnthropic: "tool_choice.disable_parallel_tool_use",
      langChain: "parallel_tool_calls"
    },
    reason: "Gemini has no switch for it."
  },
  {
    upstream: "gemini",
    scenario: "JSON schema",
    params: { aiSdkAnthropic: "tool_choice.disable_parallel_tool_use" },
    reason: "For models that it does not know by name, the library asks for the JSON as the one call of a tool, and Gemini can't be kept "
      + "to one call. `providerOptions: { anthropic: { structuredOutputMode: \"outputFormat\" } }` makes it send the schema, which Gemini takes."
  }
]

/** Statuses that a library answers with the same request again, although TokenHub tells it that this is of no use. */
export const repeats: Readonly<Record<ClientName, ReadonlyArray<number>>> = {
  openAiChat: [],
  openAiResponses: [],
  anthropic: [],
  aiSdkOpenAi: [502],
  aiSdkAnthropic: [502],
  langChain: [422, 502]
}

/** The limit that a cell comes under, and the field that is named there. */
export const limitOf = ({ client, scenario, upstream }: Pick<Cell, "client" | "scenario" | "upstream">) => {
  const limit = limits.find((limit) => limit.upstream === upstream && limit.scenario === scenario)
  const param = limit?.params[client]
  return limit === undefined || param === undefined ? undefined : { limit, param }
}

export const clientNames = keysOf(clients)
export const upstreamNames = keysOf(upstreams)
export const scenarioNames = keysOf(scenarios)
export const modeNames = keysOf(modes)

// --- as Markdown

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n")

/** One cell of the page: all modes of a client, a provider and a scenario. */
const outcome = (client: ClientName, upstream: UpstreamName, scenario: ScenarioName): string => {
  const refused = limitOf({ client, upstream, scenario })
  return refused === undefined ? "yes" : `400 \`${refused.param}\` [${limits.indexOf(refused.limit) + 1}](#limits)`
}

const versionsOf = (client: ClientName): string =>
  clients[client].packages.map((name) => `\`${name}\` ${manifest.devDependencies[name]}`).join(", ")

const section = (client: ClientName): string =>
  [
    `### ${clients[client].title}`,
    `At \`${clients[client].route}\`, with ${versionsOf(client)}.`,
    table(
      ["", ...upstreamNames.map((upstream) => upstreams[upstream].title)],
      scenarioNames.map((scenario) => [scenario, ...upstreamNames.map((upstream) => outcome(client, upstream, scenario))])
    )
  ].join("\n\n")

const retries = clientNames
  .filter((client) => repeats[client].length > 0)
  .map((client) => `- ${clients[client].title}: ${repeats[client].join(" and ")}`)
  .join("\n")

/** The generated part of docs/CLIENTS.md. */
export const markdown = [
  "Every cell stands for one test in each mode. Where it is no \"yes\", the request is refused with the field that it names, and the reason "
  + "stands among the limits.",
  table(["scenario", "what is looked at, whole and as a stream where it says nothing else"], scenarioNames.map((scenario) => [scenario, scenarios[scenario]])),
  table(["mode", "the model that the client names"], modeNames.map((mode) => [mode, modes[mode]])),
  ...clientNames.map(section),
  "### Limits",
  limits.map(({ reason, scenario, upstream }, at) => `${at + 1}. ${scenario}, ${upstreams[upstream].title}: ${reason}`).join("\n"),
  "With `drop_unsupported` all of these are answered without what the provider lacks.",
  "### Retries",
  "TokenHub says of every refusal whether another try makes sense: by its status, and where that is 5xx by `x-should-retry: false`. The "
  + "SDKs of OpenAI and Anthropic heed it. These libraries send the request again all the same (set their `maxRetries` to 0 to stop them):",
  retries
].join("\n\n")
