import { aiSdkOpenAi } from "./clients/AiSdkOpenAi.ts"
import { matrix } from "./Matrix.ts"

matrix("aiSdkOpenAi", aiSdkOpenAi)
