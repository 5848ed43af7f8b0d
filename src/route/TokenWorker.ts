/** The thread that counts tokens. */
import { parentPort } from "node:worker_threads"
import { countTokens } from "gpt-tokenizer/encoding/o200k_base"
import { tally } from "./Tokenizer.ts"

/** What the thread is asked, and what it answers. */
export interface CountJob {
  readonly id: number
  readonly texts: ReadonlyArray<string>
}
export interface CountResult {
  readonly id: number
  readonly tokens: number
}

/** The longest time for one job. Random letters take 2 s a megabyte, prose a tenth. */
const budgetMs = 2000

/** Names of special tokens are text like any other. */
const options = { disallowedSpecial: new Set<string>() }

parentPort?.on("message", ({ id, texts }: CountJob) => {
  const until = performance.now() + budgetMs
  const tokens = tally(texts, (piece) => countTokens(piece, options), () => performance.now() < until)
  parentPort?.postMessage({ id, tokens } satisfies CountResult)
})
