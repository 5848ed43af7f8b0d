import { Effect } from "effect"
import * as DoorHttp from "../DoorHttp.ts"
import * as RawRoutes from "../RawRoutes.ts"
import { OpenAiChatApi } from "./OpenAiChatApi.ts"
import { openAiChat } from "./OpenAiChatWire.ts"

/** `POST /v1/chat/completions`. */
export const OpenAiChatHttp = RawRoutes.layer(
  OpenAiChatApi,
  Effect.map(DoorHttp.make, (serve) => ({ completions: serve(openAiChat) }))
)
