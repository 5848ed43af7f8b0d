/** How many rows a second the ledger takes: requests with one call each, opened, settled and counted, on a database of their own. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Layer, Logger } from "effect"
import { Ledger } from "../../src/account/Ledger.ts"
import type { RequestRow } from "../../src/account/Ledger.ts"
import type { Attempt } from "../../src/domain/Attempt.ts"
import { makeRequestId, ModelName, ProviderName } from "../../src/domain/Ids.ts"
import * as Usages from "../../src/domain/Usage.ts"
import { Settings } from "../../src/Settings.ts"
import * as Store from "../../src/store/Store.ts"

const usage = { ...Usages.zero, promptTokens: 120, completionTokens: 200 }

const now = Date.now()

const rowOf = (): RequestRow => ({
  id: makeRequestId(Date.now()),
  at: now,
  event: "chat",
  endpoint: "/v1/chat",
  mode: "simple",
  model: "gpt-bench",
  provider: "bench",
  clientKey: null,
  status: null,
  errorCode: null,
  durationMs: null,
  reserved: 1_000_000n,
  usage: Usages.zero,
  cost: 0n
})

const attempt: Attempt = {
  index: 0,
  step: "answer",
  model: ModelName.make("gpt-bench"),
  provider: ProviderName.make("bench"),
  outcome: "unknown",
  startedAt: now,
  durationMs: 0,
  usage: Usages.zero,
  cost: 0n
}

/** The way of one request: a row for what is open, and one each for the call and the request when they are settled. */
const request = (ledger: Ledger["Service"]) =>
  Effect.gen(function*() {
    const row = rowOf()
    yield* ledger.open(row, attempt, row.reserved)
    yield* ledger.settleAttempt(row.id, { ...attempt, outcome: "ok", durationMs: 12, usage, cost: 900n }, row)
    yield* ledger.settle({ ...row, status: 200, durationMs: 13, usage, cost: 900n })
  })

const rowsOfRequest = 3

export interface LedgerFigures {
  readonly rowsPerSecond: number
  readonly cpuPerRequest: number
}

/** `requests` requests, 64 at a time, until all are committed. */
export const measureLedger = async (requests: number): Promise<LedgerFigures> => {
  const folder = mkdtempSync(join(tmpdir(), "tokenhub-bench-"))
  const settings = Settings.layerTest({
    TOKENHUB_ADMIN_PASSWORD: "a password for the bench",
    TOKENHUB_DB_PATH: join(folder, "tokenhub.db")
  })
  const program = Effect.gen(function*() {
    const ledger = yield* Ledger
    const all = (count: number) =>
      Effect.andThen(Effect.forEach(Array.from({ length: count }), () => request(ledger), { concurrency: 64, discard: true }), ledger.flush)
    yield* all(requests / 4)
    const cpu = process.cpuUsage()
    const began = performance.now()
    yield* all(requests)
    const seconds = (performance.now() - began) / 1000
    const { system, user } = process.cpuUsage(cpu)
    return { rowsPerSecond: (requests * rowsOfRequest) / seconds, cpuPerRequest: (system + user) / requests }
  })
  try {
    return await Effect.runPromise(
      program.pipe(Effect.provide(Ledger.layer.pipe(Layer.provide(Store.layer), Layer.provide(settings), Layer.provide(Logger.layer([])))))
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
