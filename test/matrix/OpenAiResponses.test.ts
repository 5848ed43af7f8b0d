import { openAiResponses } from "./clients/OpenAiResponses.ts"
import { matrix } from "./Matrix.ts"

matrix("openAiResponses", openAiResponses)
