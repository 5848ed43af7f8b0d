import { openAiChat } from "./clients/OpenAiChat.ts"
import { matrix } from "./Matrix.ts"

matrix("openAiChat", openAiChat)
