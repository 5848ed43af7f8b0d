/**
 * Looks the whole database through for damage: with a large ledger that takes minutes. In a process of its own, which can be
 * ended at any moment; a thread inside of SQLite would hold up the end of TokenHub.
 */
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { toStoreError } from "./StoreError.ts"

/** As text, since a bundle has no second file that could be started. */
const program = `
  const { DatabaseSync } = require("node:sqlite")
  try {
    const db = new DatabaseSync(process.argv[1], { readOnly: true, timeout: 1000 })
    console.log(JSON.stringify({ found: db.prepare("PRAGMA quick_check(1)").get().quick_check }))
    db.close()
  } catch ({ errcode }) {
    console.log(JSON.stringify({ errcode }))
  }
`

interface Report {
  readonly found?: string
  readonly errcode?: number
}

const look = (path: string): Effect.Effect<Report, unknown> =>
  Effect.callback((resume) => {
    let ended = () => {}
    const end = new Promise<void>((resolve) => (ended = resolve))
    const child = execFile(process.execPath, ["-e", program, path], { env: {} }, (error, report) => {
      resume(error === null ? Effect.try({ try: () => JSON.parse(report), catch: (cause) => cause }) : Effect.fail(error))
      ended()
    })
    return Effect.suspend(() => {
      child.kill("SIGKILL")
      return Effect.promise(() => end)
    })
  })

/** Logs whether the ledger is whole; TokenHub serves meanwhile, and afterwards either way. */
export const checkLedger = (path: string): Effect.Effect<void> =>
  look(path).pipe(
    Effect.filterOrFail(({ found }) => found !== undefined, (report): unknown => report),
    Effect.flatMap(({ found }) =>
      found === "ok"
        ? Effect.logInfo("The ledger is whole")
        : Effect.logError("The ledger is damaged; its figures may be wrong. Restore a backup, or go on without", found)
    ),
    Effect.catch((cause) => Effect.logError(`The ledger can't be checked: ${toStoreError(cause).message}`))
  )
