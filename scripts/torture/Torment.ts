/** What a torment is, and what the torments share: a TokenHub process, the fake provider behind it, figures. */
import type { Scope } from "effect"
import { Effect } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import type { Agent } from "node:http"
import { request } from "node:http"
import { availableParallelism, loadavg } from "node:os"
import { monitorEventLoopDelay } from "node:perf_hooks"
import type { FakeProvider } from "../../test/support/FakeProvider.ts"
import * as Fake from "../../test/support/FakeProvider.ts"
import type { Child, Client } from "../../test/support/Harness.ts"
import * as Harness from "../../test/support/Harness.ts"

/** One measured thing; `good` is undefined where nothing was promised. */
export interface Figure {
  readonly what: string
  readonly value: string | number
  /** What was promised. */
  readonly promised?: string
  readonly good?: boolean
}

export interface Options {
  /** Part of the full number of rounds, requests or sockets. */
  readonly scale: number
  /** Length of what is measured by time; undefined: the torment's own. */
  readonly minutes: number | undefined
  /** What chance begins with, to see the same again; undefined: another each time. */
  readonly seed: number | undefined
  readonly say: (line: string) => void
}

export interface Torment {
  readonly name: string
  readonly about: string
  /** No run takes longer than this at scale 1. */
  readonly boundMinutes: number
  readonly run: (options: Options) => Effect.Effect<ReadonlyArray<Figure>, never, Scope.Scope>
}

export const figure = (what: string, value: string | number): Figure => ({ what, value })

export const promise = (what: string, value: string | number, promised: string, good: boolean): Figure => ({ what, value, promised, good })

/** At least one of so many. */
export const scaled = (count: number, { scale }: Options): number => Math.max(1, Math.round(count * scale))

const done = async (answer: Promise<{ readonly status: number; readonly text: string }>): Promise<void> => {
  const { status, text } = await answer
  if (status >= 300) throw new Error(`${status} ${text}`)
}

/** Models at the fake provider; a token costs 1,000 nano-dollars. */
const addModels = async (hub: Client, fake: FakeProvider, models: ReadonlyArray<string>, provider: object = {}): Promise<void> => {
  await done(hub.admin("POST", "/providers", { name: "p", provider_type: "openai-compatible", api_key: "sk-torture", allow_private: true, base_url: fake.url("openai"), ...provider }))
  for (const name of models) {
    await done(hub.admin("POST", "/models", { name, provider: "p", context_size: 1_000_000, max_output_tokens: 1000, weight: 1, cost_per_1k_tokens: 0.001 }))
  }
}

export const start = Effect.fnUntraced(function*(options: {
  readonly env?: Readonly<Record<string, string>>
  readonly models?: ReadonlyArray<string>
  readonly provider?: object
  readonly history?: number
  /** Where the data lie; absent: a new folder. */
  readonly folder?: string
} = {}) {
  const folder = options.folder ?? (yield* Harness.folder)
  const fake = yield* Fake.scoped(options.history === undefined ? {} : { history: options.history })
  // As it is by default; the harness of the tests switches the guard off.
  const env = { TOKENHUB_MOCK: "false", TOKENHUB_MAX_LOOP_LAG_MS: "500", ...options.env }
  const hub = yield* Harness.spawnChild({ folder, env })
  yield* Effect.promise(() => addModels(hub, fake, options.models ?? ["m"], options.provider))
  return { env, fake, folder, hub }
})

export const ask = (more: object = {}) => ({ model: "m", max_tokens: 100, messages: [{ role: "user", content: "Hello" }], ...more })

export interface Reply {
  readonly status: number
  readonly ms: number
  readonly retryAfter: string | undefined
}

/** One request by node's own client, which costs less than fetch; a connection that fails has status 0. */
export const post = (hub: Client, body: object, options: { readonly path?: string; readonly agent?: Agent; readonly headers?: Record<string, string> } = {}): Promise<Reply> =>
  new Promise((resolve) => {
    const began = performance.now()
    const end = (status: number, retryAfter?: string | undefined) => resolve({ status, ms: performance.now() - began, retryAfter })
    const text = JSON.stringify(body)
    const sent = request({
      host: "127.0.0.1",
      port: hub.port,
      method: "POST",
      path: options.path ?? "/v1/chat",
      headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text), ...options.headers },
      ...(options.agent === undefined ? {} : { agent: options.agent })
    }, (response) => {
      response.resume()
      response.on("error", () => end(0))
      response.on("end", () => end(response.statusCode ?? 0, response.headers["retry-after"]))
    })
    sent.on("error", () => end(0))
    sent.end(text)
  })

/** The value below which so many percent of the list lie. */
export const percentile = (list: ReadonlyArray<number>, percent: number): number => {
  const sorted = list.toSorted((a, b) => a - b)
  return Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * percent / 100))] ?? Number.NaN) * 10) / 10
}

/** Resident megabytes of a process. */
export const rssMb = ({ pid }: Child): number => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024)

/** Seconds of processor time that a process has used. */
const processorSeconds = ({ pid }: Child): number => {
  const [user = 0, system = 0] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ").slice(11, 13).map(Number) ?? []
  // Ticks of Linux, 100 a second.
  return (user + system) / 100
}

/**
 * What times on a busy machine are to be judged by: how late this script's own timers were, and how much of a processor TokenHub
 * used, from now until it is asked.
 */
export const watchMachine = (hub: Child): () => Figure => {
  const own = monitorEventLoopDelay({ resolution: 10 })
  own.enable()
  const began = performance.now()
  const used = processorSeconds(hub)
  return () => {
    own.disable()
    const share = Math.round((processorSeconds(hub) - used) / ((performance.now() - began) / 1000) * 100)
    const late = (ns: number) => Math.max(0, Math.round(ns / 1e6 - 10))
    const [one = 0] = loadavg()
    return figure(
      "the machine meanwhile",
      `this script's timers late by ${late(own.mean)} ms on average, ${late(own.percentile(95))} in 5 %, ${late(own.percentile(99))} in 1 %; TokenHub used ${share} % of a processor; load ${one.toFixed(1)} on ${availableParallelism()}`
    )
  }
}

/** Open files and sockets of a process. */
export const openFiles = ({ pid }: Child): number => readdirSync(`/proc/${pid}/fd`).length

/** A value of the metrics; 0 where there is none. */
export const metric = async (hub: Client, name: string): Promise<number> =>
  Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, "m").exec((await hub.get("/metrics")).text)?.[1] ?? 0)
