import { aiSdkAnthropic } from "./clients/AiSdkAnthropic.ts"
import { matrix } from "./Matrix.ts"

matrix("aiSdkAnthropic", aiSdkAnthropic)
