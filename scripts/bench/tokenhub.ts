/** TokenHub as a subject: a process of its own on a fresh database, with a client key, everything switched on. */
import { execFileSync } from "node:child_process"
import { randomUUID } from "node:crypto"
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { generate, hashOf } from "../../src/account/ClientKeyFormat.ts"
import { nodeOptions } from "../node-options.ts"
import { start, stop, until } from "./processes.ts"
import type { Ground, Running, Subject } from "./subjects.ts"
import { Absent, json, model, stopping, tryOnce } from "./subjects.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const password = "a password for the bench"

const nodeArguments = (profiles: string | undefined): ReadonlyArray<string> =>
  profiles === undefined ? [] : ["--cpu-prof", "--cpu-prof-interval=200", `--cpu-prof-dir=${profiles}`]

let program: string | undefined

/** What `npm start` runs: the bundle of the sources as they are now. */
export const product = (): string =>
  program ??= execFileSync(process.execPath, ["scripts/install.mjs", "--bundle"], { cwd: root, encoding: "utf8" }).trim()

/** Starts the program on the database of `folder`. */
export const launch = async (
  folder: string,
  options: { readonly program?: string; readonly profiles?: string | undefined; readonly env?: Readonly<Record<string, string>> } = {}
) => {
  mkdirSync(folder, { recursive: true })
  const log = join(folder, "log")
  const began = performance.now()
  const child = start(process.execPath, [...nodeOptions, ...nodeArguments(options.profiles), options.program ?? product()], {
    cwd: root,
    log,
    env: {
      TOKENHUB_ADMIN_PASSWORD: password,
      TOKENHUB_HOST: "127.0.0.1",
      TOKENHUB_PORT: "0",
      TOKENHUB_DB_PATH: join(folder, "tokenhub.db"),
      TOKENHUB_VAULT_ITERATIONS: "100000",
      TOKENHUB_ALLOW_PRIVATE_UPSTREAMS: "true",
      TOKENHUB_MOCK: "false",
      ...options.env
    }
  })
  const url = await until(child, 30_000, async () => {
    const found = /listens on (http:\S+)/.exec(readFileSync(log, "utf8"))?.[1]
    if (found === undefined) return undefined
    const { ok } = await fetch(`${found}/health/ready`, { signal: AbortSignal.timeout(2000) })
    return ok ? found : undefined
  })
  if (url === undefined) {
    await stop(child)
    throw new Absent(`TokenHub did not start: ${readFileSync(log, "utf8").slice(0, 400)}`)
  }
  return { child, url, readyMs: performance.now() - began }
}

const added = async (url: string, path: string, body: object): Promise<Record<string, unknown>> => {
  const response = await fetch(`${url}/admin${path}`, {
    method: "POST",
    headers: { ...json, authorization: `Bearer ${password}` },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000)
  })
  const value = (await response.json()) as Record<string, unknown>
  if (!response.ok) throw new Absent(`POST /admin${path} answered ${response.status}: ${JSON.stringify(value)}`)
  return value
}

/** High enough never to refuse a request of the bench. */
const limits = { rpm: 1_000_000_000, tpm: 1_000_000_000, budget_usd: 1_000_000 }

/** Gives a fresh TokenHub one provider, one model and one client key, with limits. Gives the key. */
const equip = async (url: string, upstream: string): Promise<string> => {
  await added(url, "/providers", {
    name: "bench",
    provider_type: "openai-compatible",
    base_url: `${upstream}/v1`,
    api_key: "sk-bench",
    allow_private: true,
    max_concurrency: 4096
  })
  await added(url, "/models", {
    name: model,
    provider: "bench",
    context_size: 10_000_000,
    max_output_tokens: 4096,
    weight: 100,
    input_cost_per_1k: 0.001,
    output_cost_per_1k: 0.004
  })
  return String((await added(url, "/keys", { name: "bench", ...limits })).key)
}

const bearer = (key: string) => ({ ...json, authorization: `Bearer ${key}` })

const runningOf = async (ground: Ground, name: string, path: string): Promise<Running> => {
  const { child, readyMs, url } = await launch(join(ground.folder, name), { profiles: ground.profiles })
  const key = await equip(url, ground.upstream)
  const running = { url, path, headers: [bearer(key)], readyMs, ...stopping(child) }
  const { status, text } = await tryOnce(running)
  if (status !== 200) {
    await running.stop()
    throw new Absent(status === 404 ? `this version has no ${path} yet` : `${path} answered ${status}: ${text}`)
  }
  return running
}

/** (b) and (c) of the bench. */
export const tokenhub: ReadonlyArray<Subject> = [
  {
    name: "openai",
    title: "TokenHub /v1/chat/completions",
    start: (ground) => runningOf(ground, "openai", "/v1/chat/completions")
  },
  { name: "chat", title: "TokenHub /v1/chat", start: (ground) => runningOf(ground, "chat", "/v1/chat") }
]

type Row = Record<string, string | number | bigint | null>

/** Adds copies of a table's first row, each with some columns changed. */
const clone = (db: DatabaseSync, table: string, changes: ReadonlyArray<Row>): void => {
  const row = db.prepare(`SELECT * FROM ${table} LIMIT 1`).get() as Row
  const columns = Object.keys(row)
  const insert = db.prepare(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`)
  db.exec("BEGIN")
  for (const change of changes) insert.run(...Object.values({ ...row, ...change }))
  db.exec("COMMIT")
}

const times = <A>(count: number, make: (i: number) => A): ReadonlyArray<A> => Array.from({ length: count }, (_, i) => make(i))

/**
 * TokenHub with this many models, among which the router chooses, and this many client keys, which the requests use in turn.
 * The rows are written while it is stopped: ten thousand admin requests would take minutes.
 */
export const grown = async (ground: Ground, size: { readonly models: number; readonly keys: number }, path: string): Promise<Running> => {
  const folder = join(ground.folder, `grown-${size.models}-${size.keys}`)
  const first = await launch(folder)
  const key = await equip(first.url, ground.upstream)
  await stop(first.child)
  const keys = times(size.keys - 1, generate)
  const db = new DatabaseSync(join(folder, "tokenhub.db"))
  clone(db, "models", times(size.models - 1, (i) => ({ name: `model-${i}`, weight: (i * 104_729) % 100, context_size: 8192 * (1 + i % 100) })))
  clone(db, "client_keys", keys.map((secret, i) => ({
    id: `key_${randomUUID()}`,
    name: `key ${i}`,
    hash: hashOf(secret)
  })))
  db.close()
  const { child, readyMs, url } = await launch(folder)
  return { url, path, headers: [key, ...keys].map(bearer), readyMs, ...stopping(child) }
}
