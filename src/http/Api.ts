/** The whole HTTP contract: every group of routes, and which of them are served from their schemas. */
import { HttpApi, OpenApi } from "effect/http-api"
import manifest from "../../package.json" with { type: "json" }
import { adminGroups, withNames } from "./admin/AdminApi.ts"
import { AnthropicMessagesApi } from "./anthropic/AnthropicMessagesApi.ts"
import { ChatApi } from "./chat/ChatApi.ts"
import { EmbeddingsApi } from "./openai/EmbeddingsApi.ts"
import * as IdempotencyApi from "./IdempotencyApi.ts"
import { ModelListApi } from "./openai/ModelListApi.ts"
import { OpenAiChatApi } from "./openai/OpenAiChatApi.ts"
import { OpenAiResponsesApi } from "./openai/OpenAiResponsesApi.ts"
import { withOpenObjects } from "./OpenApiDocument.ts"
import { Route } from "./Route.ts"
import * as RouteTable from "./RouteTable.ts"
import * as RunOptionsApi from "./RunOptionsApi.ts"
import { SystemApi } from "./system/SystemApi.ts"

const built = [ModelListApi, SystemApi, ...adminGroups] as const

/** The groups that HttpApiBuilder serves; the doors' are raw routes. */
export const BuiltApi = HttpApi.make("tokenhub").add(...built).middleware(Route)

export const Api = HttpApi.make("tokenhub")
  .add(ChatApi)
  .add(AnthropicMessagesApi)
  .add(OpenAiChatApi)
  .add(EmbeddingsApi)
  .add(OpenAiResponsesApi)
  .add(...built)
  .annotateMerge(
    OpenApi.annotations({
      title: "TokenHub",
      version: manifest.version,
      description: "One address in front of every LLM provider. Every error has the same body, and on /v1/messages Anthropic's.\n\n"
        + `${RunOptionsApi.description}\n\n${IdempotencyApi.description}`,
      transform: (spec) => IdempotencyApi.withIdempotencyKey(withOpenObjects(withNames(spec)))
    })
  )

/** Where the contract itself is served: as OpenAPI, and as a page for people. */
export const openapiPath = "/openapi.json"
export const docsPath = "/docs"

export const routes = RouteTable.make([
  ...Object.values(Api.groups).flatMap((group) => Object.values(group.endpoints)),
  { method: "GET", path: openapiPath },
  { method: "GET", path: docsPath }
])
