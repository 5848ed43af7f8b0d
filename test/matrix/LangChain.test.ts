import { langChain } from "./clients/LangChain.ts"
import { matrix } from "./Matrix.ts"

matrix("langChain", langChain)
