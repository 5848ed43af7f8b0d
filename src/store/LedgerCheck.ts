/** Looks the whole database through for damage, in a thread of its own: with a large ledger that takes seconds. */
import { Effect } from "effect"
import { Worker } from "node:worker_threads"
import { toStoreError } from "./StoreError.ts"

/** As text, since a bundle has no second file that a thread could start from. */
const program = `
  const { parentPort, workerData } = require("node:worker_threads")
  const { DatabaseSync } = require("node:sqlite")
  const db = new DatabaseSync(workerData, { readOnly: true, timeout: 1000 })
  parentPort.postMessage(db.prepare("PRAGMA quick_check(1)").get().quick_check)
`

/** Logs whether the ledger is whole; TokenHub serves meanwhile, and afterwards either way. */
export const checkLedger = (path: string): Effect.Effect<void> =>
  Effect.callback<unknown, unknown>((resume) => {
    const worker = new Worker(program, { eval: true, workerData: path })
    worker.unref()
    worker.once("message", (found: unknown) => resume(Effect.succeed(found)))
    worker.once("error", (cause) => resume(Effect.fail(cause)))
    return Effect.promise(() => worker.terminate())
  }).pipe(
    Effect.flatMap((found) =>
      found === "ok"
        ? Effect.logInfo("The ledger is whole")
        : Effect.logError("The ledger is damaged; its figures may be wrong. Restore a backup, or go on without", found)
    ),
    Effect.catch((cause) => Effect.logError(`The ledger can't be checked: ${toStoreError(cause).message}`))
  )
