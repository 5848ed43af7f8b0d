/**
 * Secrets that are known, led through every fault with debug on, and looked for in everything that leaves the process: answers,
 * log, spans, metrics, admin routes, the database's file, its log of changes and its backup.
 */
import type { Scope } from "effect"
import { Effect } from "effect"
import { hash } from "node:crypto"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { faults } from "./fake-provider/Faults.ts"
import * as Fake from "./FakeProvider.ts"
import * as Harness from "./Harness.ts"

/** Every row of the fake provider's table, and statuses. */
export const allFaults: ReadonlyArray<string> = [
  ...Object.keys(faults),
  ...[302, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529].map(String),
  "502?body=html",
  "503?body=garbage",
  "echo-key?status=400",
  "echo-key?status=500"
]

/** Faults that would send a gigabyte or wait for long are asked for in a smaller size. */
const sized = (fault: string): string =>
  ({ huge: "huge?size=200000", "long-line": "long-line?size=2000000", "gzip-bomb": "gzip-bomb?size=40000000" })[fault] ?? fault

const vendors = [
  { name: "openai", type: "openai-compatible" },
  { name: "anthropic", type: "anthropic" },
  { name: "gemini", type: "gemini" }
] as const

const messages = [{ role: "user", content: "Hello" }]

const doors = {
  "/v1/chat": { messages },
  "/v1/chat/completions": { messages },
  "/v1/messages": { messages, max_tokens: 100 },
  "/v1/responses": { input: "Hello", store: true }
}

/** How often each fault is met: by each vendor, in one piece and as a stream, at each door. */
export const callsPerFault = vendors.length * 2 * Object.keys(doors).length

/** Alike every time, so that a failure can be looked at again. */
const made = (label: string) => `canary${hash("sha256", label, "hex").slice(0, 42)}`

const secrets = {
  openai: `sk-${made("one")}`,
  anthropic: `sk-ant-${made("two")}`,
  gemini: `AIza${made("three")}`,
  environment: `sk-${made("four")}`,
  stored: made("five"),
  passphrase: `${made("six")} passphrase`,
  password: Harness.adminPassword
}

/** Where a receiver of spans listens, and all that it got. */
const receiver: Effect.Effect<{ readonly url: string; readonly received: () => Buffer }, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.promise(async () => {
      const chunks: Array<Buffer> = []
      const server = createServer((request, response) => {
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("end", () => response.end())
      }).listen(0, "127.0.0.1")
      await once(server, "listening")
      return { server, chunks }
    }),
    ({ server }) => Effect.sync(() => void server.close())
  ),
  ({ chunks, server }) => ({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received: () => Buffer.concat(chunks) })
)

/** The ways in which a secret may be written: as it is, in base64 at each alignment, in hex. */
const spellings = (secret: string): ReadonlyArray<string> => [
  secret,
  encodeURIComponent(secret),
  Buffer.from(secret).toString("hex"),
  ...[0, 1, 2].map((shift) => Buffer.from(secret.slice(shift)).toString("base64").slice(0, -4)),
  // What a masked key would show is little; half of one is too much.
  secret.slice(-Math.ceil(secret.length / 2))
]

export interface Hunt {
  readonly calls: number
  /** Bytes looked through, by where. */
  readonly searched: Readonly<Record<string, number>>
  /** Which secret was found where; empty is good. */
  readonly found: ReadonlyArray<string>
}

/** Runs a TokenHub process through `chosen` faults of all vendors, plain and as a stream, and looks. */
export const hunt = Effect.fnUntraced(function*(chosen: ReadonlyArray<string>): Effect.fn.Return<Hunt, never, Scope.Scope> {
  const fake = yield* Fake.scoped()
  const folder = yield* Harness.folder
  const spans = yield* receiver
  const hub = yield* Harness.spawnChild({
    folder,
    env: {
      TOKENHUB_MOCK: "false",
      TOKENHUB_DEBUG: "true",
      TOKENHUB_LOG_LEVEL: "trace",
      TOKENHUB_LOG_FORMAT: "json",
      TOKENHUB_RETRIES_PER_SECOND: "0",
      TOKENHUB_STORE_PROMPTS_HOURS: "1",
      TOKENHUB_UPSTREAM_BODY_BYTES: "4000000",
      OTEL_EXPORTER_OTLP_ENDPOINT: spans.url,
      MISTRAL_API_KEY: secrets.environment
    }
  })
  const texts: Record<string, Array<Buffer>> = {}
  const keep = (where: string, bytes: string | Buffer) => (texts[where] ??= []).push(Buffer.from(bytes))
  const calls = yield* Effect.promise(async () => {
    const timeouts = { first_byte_ms: 300, stream_idle_ms: 300, whole_call_ms: 800 }
    for (const { name, type } of vendors) {
      const added = await hub.admin("POST", "/providers", { name, provider_type: type, api_key: secrets[name], allow_private: true, base_url: fake.url(name), timeouts })
      keep("admin answers", added.text)
    }
    keep("admin answers", (await hub.admin("PUT", "/vault/secrets/notes", { value: secrets.stored })).text)
    const { id, key } = (await hub.admin("POST", "/keys", { name: "client" })).json
    const send = { headers: { authorization: `Bearer ${key}` } }
    let calls = 0
    const run = async (vendor: (typeof vendors)[number]["name"], fault: string) => {
      const name = `${vendor}-${fault.replaceAll(/[^a-z0-9-]/gi, "-")}`
      await hub.admin("POST", "/models", { name, provider: vendor, upstream_name: `fault-${sized(fault)}`, context_size: 100_000, weight: 1, cost_per_1k_tokens: 0.001 })
      for (const stream of [false, true]) {
        for (const [path, own] of Object.entries(doors)) {
          const answer = await hub.post(path, { model: name, stream, ...own, tokenhub: { policy: { allow_escalation: false } } }, send)
          keep("client answers", answer.text + JSON.stringify([...answer.headers]))
          calls++
        }
        // A key that was refused is left alone until the provider is changed.
        await hub.admin("PATCH", `/providers/${vendor}`, { base_url: fake.url(vendor) })
      }
    }
    await Promise.all(vendors.map(async ({ name }) => {
      for (const fault of chosen) await run(name, fault)
    }))
    for (const { name } of vendors) keep("admin answers", (await hub.admin("POST", `/providers/${name}/validate`)).text)
    fake.keys.set("openai", new Set())
    keep("admin answers", (await hub.admin("POST", "/providers/openai/validate")).text)
    for (const wrong of [`${key}x`, secrets.openai, secrets.password]) {
      keep("client answers", (await hub.chat({ messages: [] }, { headers: { authorization: `Bearer ${wrong}` } })).text)
    }
    keep("client answers", (await hub.get(`/admin/keys/${encodeURIComponent(secrets.stored)}`)).text)
    keep("admin answers", (await hub.admin("POST", "/vault/export", { passphrase: secrets.passphrase })).text)
    for (const path of ["/providers", "/models", "/vault", "/keys", `/keys/${id}`, "/requests?limit=1000", "/usage?group_by=key", "/audit?limit=1000"]) {
      keep(path.startsWith("/audit") ? "audit" : "admin answers", (await hub.admin("GET", path)).text)
    }
    keep("metrics", (await hub.get("/metrics")).text)
    const backup = await fetch(`${hub.url}/admin/backup`, { method: "POST", headers: { authorization: `Bearer ${secrets.password}` } })
    keep("backup", Buffer.from(await backup.arrayBuffer()))
    for (const file of readdirSync(folder)) keep("database and its log of changes", readFileSync(join(folder, file)))
    hub.signal("SIGTERM")
    await hub.ended
    for (const file of readdirSync(folder)) if (existsSync(join(folder, file))) keep("database and its log of changes", readFileSync(join(folder, file)))
    keep("log", hub.printed() + hub.errors())
    keep("spans", spans.received())
    Object.assign(texts, { clientKey: [Buffer.from(key)] })
    return calls
  })
  const { clientKey = [], ...searched } = texts
  const hidden = { ...secrets, clientKey: clientKey.join("") }
  const found = Object.entries(hidden).flatMap(([name, secret]) =>
    Object.entries(searched).flatMap(([where, pieces]) =>
      spellings(secret).some((spelling) => pieces.some((piece) => piece.includes(spelling))) ? [`${name} in ${where}`] : []))
  return {
    calls,
    searched: Object.fromEntries(Object.entries(searched).map(([where, pieces]) => [where, pieces.reduce((sum, { length }) => sum + length, 0)])),
    found
  }
})
