/**
 * The whole product over real sockets: in this process, with layers to swap, or as a child process that can be killed. Each
 * TokenHub has a folder of its own, and nothing of the machine's environment.
 *
 *     const hub = yield* Harness.start({ env: { TOKENHUB_HEARTBEAT_MS: "50" } })
 *     yield* hub.chat({ messages: [{ role: "user", content: "Hello" }] })
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import type { Socket } from "node:net"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Console, Context, Effect, Exit, Layer, Scope } from "effect"
import { HttpServer } from "effect/http"
import { nodeOptions } from "../../scripts/node-options.ts"
import * as Server from "../../src/Server.ts"
import { Settings } from "../../src/Settings.ts"

export const adminPassword = "correct horse battery"

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The parsed body; undefined where it is no JSON. */
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly json: any
}

export interface ServerEvent {
  /** Empty for a comment. */
  readonly name: string
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: any
  /** Milliseconds from the request to the event's arrival. */
  readonly afterMs: number
}

export interface Events {
  readonly status: number
  readonly headers: Headers
  /** The next event, comments too; undefined at the end. */
  readonly next: () => Promise<ServerEvent | undefined>
  /** All that are left, without comments. */
  readonly rest: () => Promise<ReadonlyArray<ServerEvent>>
  /** Leaves, as a client that hangs up. */
  readonly leave: () => void
}

export interface Send {
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
}

/** What a test does with a running TokenHub, wherever it runs. */
const clientOf = (url: string) => {
  const { hostname, port } = new URL(url)

  const request = async (method: string, path: string, body?: unknown, { headers = {}, signal }: Send = {}): Promise<Answer> => {
    const response = await fetch(url + path, {
      method,
      headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal })
    })
    const text = await response.text()
    const isJson = text !== "" && (response.headers.get("content-type") ?? "").startsWith("application/json")
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
  }

  const admin = (method: string, path: string, body?: unknown) =>
    request(method, `/admin${path}`, body, { headers: { authorization: `Bearer ${adminPassword}` } })

  const events = async (body: unknown, { headers = {} }: Send = {}): Promise<Events> => {
    const leaving = new AbortController()
    const began = performance.now()
    const response = await fetch(`${url}/v1/chat`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
      signal: leaving.signal
    })
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    let buffer = ""
    const next = async (): Promise<ServerEvent | undefined> => {
      while (true) {
        const end = buffer.indexOf("\n\n")
        if (end >= 0) {
          const lines = buffer.slice(0, end).split("\n")
          buffer = buffer.slice(end + 2)
          const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
          const data = field("data")
          return { name: field("event") ?? "", data: data === undefined ? undefined : JSON.parse(data), afterMs: performance.now() - began }
        }
        const chunk = await reader?.read()
        if (chunk === undefined || chunk.done) return undefined
        buffer += chunk.value
      }
    }
    const rest = async () => {
      const found: Array<ServerEvent> = []
      for (let event = await next(); event !== undefined; event = await next()) if (event.name !== "") found.push(event)
      return found
    }
    return { status: response.status, headers: response.headers, next, rest, leave: () => leaving.abort() }
  }

  /** Writes bytes to a bare socket and gives back all that came until the server closed it or `until` stood in it. */
  const raw = (bytes: string | Uint8Array, until?: (received: string) => boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname)
      let received = ""
      const finish = () => {
        socket.destroy()
        resolve(received)
      }
      socket.on("data", (chunk) => {
        received += chunk.toString("latin1")
        if (until?.(received) === true) finish()
      })
      socket.on("close", finish)
      socket.on("error", (error: NodeJS.ErrnoException) => (error.code === "ECONNRESET" || error.code === "EPIPE" ? finish() : reject(error)))
      socket.write(bytes)
    })

  return {
    url,
    port: Number(port),
    request,
    admin,
    get: (path: string, send?: Send) => request("GET", path, undefined, send),
    post: (path: string, body: unknown, send?: Send) => request("POST", path, body, send),
    chat: (body: unknown, send?: Send) => request("POST", "/v1/chat", body, send),
    events,
    raw
  }
}

export type Client = ReturnType<typeof clientOf>

export interface Hub extends Client {
  /** The lines that it printed at its start. */
  readonly printed: ReadonlyArray<string>
  /** The services of the running product. */
  readonly services: Context.Context<Layer.Success<typeof Server.layer>>
  /** Stops it, as a signal would; the scope's end does too. */
  readonly stop: Effect.Effect<void>
}

export interface Options extends Server.Parts {
  readonly env?: Readonly<Record<string, string>>
  /** Where the data lie; absent: a new folder, removed at the end. */
  readonly folder?: string
}

/** A folder that goes with the scope. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tokenhub-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const environment = (path: string, env: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  TOKENHUB_ADMIN_PASSWORD: adminPassword,
  TOKENHUB_HOST: "127.0.0.1",
  TOKENHUB_PORT: "0",
  TOKENHUB_DB_PATH: join(path, "tokenhub.db"),
  TOKENHUB_VAULT_ITERATIONS: "100000",
  TOKENHUB_ALLOW_PRIVATE_UPSTREAMS: "true",
  TOKENHUB_LOG_LEVEL: "none",
  // Tests share their processors.
  TOKENHUB_MAX_LOOP_LAG_MS: "0",
  ...env
})

/** Remembers lines in place of showing them. */
const silentConsole = (printed: Array<string>): Console.Console => ({
  ...globalThis.console,
  log: (...parts: ReadonlyArray<unknown>) => void printed.push(parts.map(String).join(" "))
})

/** Starts TokenHub in this process. */
export const start = Effect.fnUntraced(function*({ env, folder: given, ...parts }: Options = {}) {
  const path = given ?? (yield* folder)
  const printed: Array<string> = []
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope, exit) => Scope.close(scope, exit))
  // A memo map of its own: two of them in one test share nothing.
  const services = yield* Layer.buildWithMemoMap(
    Server.make({ settings: Settings.layerTest(environment(path, env)), ...parts }),
    yield* Layer.makeMemoMap,
    scope
  ).pipe(Effect.provideService(Console.Console, silentConsole(printed)), Effect.orDie)
  const { address } = Context.get(services, HttpServer.HttpServer)
  if (!("port" in address)) return yield* Effect.die(new Error("TokenHub listens on no port"))
  const hub: Hub = {
    ...clientOf(`http://127.0.0.1:${address.port}`),
    printed,
    services,
    stop: Scope.close(scope, Exit.void)
  }
  return hub
})

export interface Child extends Client {
  readonly pid: number
  readonly printed: () => string
  readonly errors: () => string
  readonly signal: (signal: NodeJS.Signals) => void
  /** How it ended, and how long after this was asked for. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

/** Starts `src/main.ts` as a process of its own and waits until it listens or has ended. */
export const spawnChild = Effect.fnUntraced(function*({ env, folder: given }: Pick<Options, "env" | "folder"> = {}) {
  const path = given ?? (yield* folder)
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [...nodeOptions, join(import.meta.dirname, "../../src/main.ts")], {
        env: { PATH: process.env["PATH"] ?? "", ...environment(path, env) },
        stdio: ["ignore", "pipe", "pipe"]
      })
    ),
    (child) =>
      Effect.promise(async () => {
        if (child.exitCode !== null || child.signalCode !== null) return
        child.kill("SIGKILL")
        await once(child, "close")
      })
  )
  let out = ""
  let err = ""
  child.stdout.on("data", (chunk: Buffer) => void (out += chunk.toString()))
  child.stderr.on("data", (chunk: Buffer) => void (err += chunk.toString()))
  const ended = once(child, "close").then(([code, signal]: Array<unknown>) => ({
    code: typeof code === "number" ? code : null,
    signal: typeof signal === "string" ? signal as NodeJS.Signals : null
  }))
  const listening = new Promise<string>((resolve) => {
    child.stdout.on("data", () => {
      const found = /listens on (http:\S+)/.exec(out)?.[1]
      if (found !== undefined) resolve(found)
    })
  })
  const url = yield* Effect.promise(() => Promise.race([listening, ended.then(() => "http://127.0.0.1:0")]))
  const running: Child = {
    ...clientOf(url),
    pid: child.pid ?? 0,
    printed: () => out,
    errors: () => err,
    signal: (signal) => void child.kill(signal),
    ended
  }
  return running
})

/**
 * So many connections that TokenHub has accepted, which node does one a turn: what is written to them without a pause comes in one
 * turn, if TokenHub shares this process.
 */
export const connections = (port: number, count: number): Promise<ReadonlyArray<Socket>> =>
  Promise.all(Array.from({ length: count }, async () => {
    const client = connect(port, "127.0.0.1")
    client.write("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await once(client, "data")
    return client
  }))

/** Holds the event loop, which TokenHub may share, for so many milliseconds. */
export const spin = (ms: number): void => {
  for (const until = performance.now() + ms; performance.now() < until;);
}
