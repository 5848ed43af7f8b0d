/** The schema, step by step; forward only. A step that was ever released is never changed: a new one is added. */
import configuration from "./0001_configuration.ts"
import vault from "./0002_vault.ts"
import ledger from "./0003_ledger.ts"
import audit from "./0004_audit.ts"
import responses from "./0005_responses.ts"
import limits from "./0006_limits.ts"
import answers from "./0007_answers.ts"
import prompts from "./0008_prompts.ts"
import openCalls from "./0009_open_calls.ts"
import timeById from "./0010_time_by_id.ts"

export const migrations = {
  "0001_configuration": configuration,
  "0002_vault": vault,
  "0003_ledger": ledger,
  "0004_audit": audit,
  "0005_responses": responses,
  "0006_limits": limits,
  "0007_answers": answers,
  "0008_prompts": prompts,
  "0009_open_calls": openCalls,
  "0010_time_by_id": timeById
} as const

/** The table in which the Migrator keeps what was run. */
export const migrationsTable = "migrations"

/** The newest schema that this version of TokenHub knows. */
export const schemaVersion = Math.max(...Object.keys(migrations).map((name) => Number.parseInt(name, 10)))
