import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { Api } from "../Api.ts"
import * as DoorHttp from "../DoorHttp.ts"
import { openAiChat } from "./OpenAiChatWire.ts"

/** `POST /v1/chat/completions`. */
export const OpenAiChatHttp = HttpApiBuilder.group(Api, "openaiChat", (handlers) =>
  Effect.map(DoorHttp.make, (serve) => handlers.handleRaw("completions", serve(openAiChat))))
