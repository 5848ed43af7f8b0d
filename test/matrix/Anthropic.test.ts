import { anthropic } from "./clients/Anthropic.ts"
import { matrix } from "./Matrix.ts"

matrix("anthropic", anthropic)
