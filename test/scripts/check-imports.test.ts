import { assert, describe, it } from "@effect/vitest"
import { violationsOf } from "../../scripts/check-imports.ts"

/** A file of src, one line in it, and what the check has to say about it. */
const refused: ReadonlyArray<readonly [path: string, code: string, fault: string]> = [
  ["domain/Chat.ts", `import type { Settings } from "../store/Database.ts"`, "domain may not import store/Database.ts"],
  ["domain/Chat.ts", `import { request } from "got"`, "domain may not import the package got"],
  ["store/Database.ts", `import { Vault } from "../vault/Vault.ts"`, "store may not import vault/Vault.ts"],
  ["telemetry/Metrics.ts", `export * from "../store/Database.ts"`, "telemetry may not import store/Database.ts"],
  ["vault/Vault.ts", `import "../account/Ledger.ts"`, "vault may not import account/Ledger.ts"],
  ["account/Ledger.ts", `export type { Vault } from "../vault/Vault.ts"`, "account may not import vault/Vault.ts"],
  ["provider/protocols/OpenAiChat.ts", `import { A } from "../../route/Router.ts"`, "provider may not import route/Router.ts"],
  ["route/Router.ts", `import { Vendors } from "../provider/Vendors.ts"`, "route may not import provider/Vendors.ts"],
  ["route/Router.ts", `type V = import("../vault/Vault.ts").Vault`, "route may not import vault/Vault.ts"],
  ["orchestrate/modes/Simple.ts", `import { D } from "../../store/Database.ts"`, "orchestrate may not import store/Database.ts"],
  ["http/ChatHttp.ts", `import type { D } from "../store/Database.ts"`, "http may not import store/Database.ts"],
  ["http/ChatHttp.ts", `const d = await import("../store/Database.ts")`, "http may not import store/Database.ts"],
  ["main.ts", `import { Vault } from "./vault/Vault.ts"`, "main.ts may not import vault/Vault.ts"],
  ["Server.ts", `import { fake } from "../test/support/fake.ts"`, "Server.ts may not import ../test/support/fake.ts"],
  ["Server.ts", `import { run } from "../scripts/smoke.ts"`, "Server.ts may not import ../scripts/smoke.ts"],
  ["util/strings.ts", `import { Effect } from "effect"`, "util stands in no rule: add it to the table in scripts/check-imports.ts"],
  ["http/ChatHttp.ts", `const a = process.env["A"]`, "only Settings.ts may use process.env"],
  ["http/ChatHttp.ts", `const a = globalThis.process?.env.A`, "only Settings.ts may use process.env"],
  ["http/ChatHttp.ts", `import { env } from "node:process"`, "only Settings.ts may use node:process#env"],
  ["http/ChatHttp.ts", `import { Config } from "effect"`, "only Settings.ts may use effect#Config"],
  ["provider/EgressGuard.ts", `import { Agent } from "undici"`, "only provider/Upstream.ts may use undici#Agent"],
  ["provider/EgressGuard.ts", `import https from "node:https"`, "only provider/Upstream.ts may use node:https#*"],
  ["account/Ledger.ts", `import { SqlClient } from "effect/sql"`, "only store may use effect/sql#SqlClient"],
  ["account/Ledger.ts", `import * as S from "effect/sql/SqlClient"`, "only store may use effect/sql/SqlClient#*"],
  ["Server.ts", `import { DatabaseSync } from "node:sqlite"`, "only store may use node:sqlite#DatabaseSync"],
  ["telemetry/Telemetry.ts", `const c = Metric.counter("x")`, "only telemetry/Metrics.ts may use Metric.counter"]
]

const accepted: ReadonlyArray<readonly [path: string, code: string]> = [
  ["domain/Chat.ts", `import { Schema } from "effect"\nimport type { Usage } from "./Usage.ts"`],
  ["http/ChatHttp.ts", `import { Settings } from "../Settings.ts"\nimport { Router } from "../route/Router.ts"`],
  ["provider/protocols/OpenAiChat.ts", `import { ProviderAdapter } from "../ProviderAdapter.ts"`],
  ["route/Router.ts", `import { ProviderRegistry } from "../provider/ProviderRegistry.ts"`],
  ["provider/Upstream.ts", `import { Pool } from "undici"`],
  ["store/SqliteClient.ts", `import { DatabaseSync } from "node:sqlite"\nimport { SqlClient } from "effect/sql"`],
  ["telemetry/Metrics.ts", `const c = Metric.counter("x")`],
  ["orchestrate/Attempts.ts", `const done = Metric.update(Metrics.calls, 1)`],
  ["Settings.ts", `const all = process.env`],
  ["Server.ts", `import { Database } from "./store/Database.ts"\nimport about from "../package.json" with { type: "json" }`],
  ["main.ts", `import { Server } from "./Server.ts"`]
]

describe("check-imports", () => {
  for (const [path, code, fault] of refused) {
    it(`refuses in ${path}: ${code}`, () => assert.deepStrictEqual(violationsOf(path, code), [`src/${path}: ${fault}`]))
  }
  for (const [path, code] of accepted) {
    it(`accepts in ${path}: ${code.replaceAll("\n", "; ")}`, () => assert.deepStrictEqual(violationsOf(path, code), []))
  }
})
