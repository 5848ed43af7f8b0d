/** The processes that the bench starts: all of them end with it, and what they use is read from /proc. */
import type { ChildProcess } from "node:child_process"
import { fork, spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

const running = new Set<ChildProcess>()
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130))

const watched = (child: ChildProcess): ChildProcess => {
  running.add(child)
  child.on("exit", () => running.delete(child))
  child.on("error", () => running.delete(child))
  return child
}

const alive = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null

/** Ends a process in order, and after five seconds in any way. */
export const stop = async (child: ChildProcess): Promise<void> => {
  if (!alive(child)) return
  const ended = once(child, "exit")
  child.kill("SIGTERM")
  const timer = setTimeout(() => child.kill("SIGKILL"), 5000)
  await ended
  clearTimeout(timer)
}

/** A process of the bench's own that talks by messages; the first is what it has to say at its start. */
export const helper = async (file: string, args: ReadonlyArray<string> = []): Promise<{ readonly child: ChildProcess; readonly hello: unknown }> => {
  const child = watched(fork(fileURLToPath(new URL(file, import.meta.url)), args, { serialization: "advanced" }))
  const [hello] = await once(child, "message", { signal: AbortSignal.timeout(30_000) })
  return { child, hello }
}

/** Sends a helper a message and gives its answer. */
export const ask = async (child: ChildProcess, message: object, patienceMs: number): Promise<unknown> => {
  const answer = once(child, "message", { signal: AbortSignal.timeout(patienceMs) })
  child.send(message)
  const [told] = await answer
  return told
}

/** Only what a program needs of the environment: no settings or keys of this machine. */
const basics = (): Record<string, string> =>
  Object.fromEntries(["PATH", "HOME", "TMPDIR"].flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value]]
  }))

/** Starts a program whose output goes to a file. */
export const start = (
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly env: Readonly<Record<string, string>>; readonly log: string; readonly cwd?: string }
): ChildProcess => {
  const log = openSync(options.log, "w")
  try {
    return watched(spawn(command, args, {
      stdio: ["ignore", log, log],
      env: { ...basics(), ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd })
    }))
  } finally {
    closeSync(log)
  }
}

/** Whether `ready` gave something before the time was over and the process ended. */
export const until = async <A>(child: ChildProcess, patienceMs: number, ready: () => Promise<A | undefined>): Promise<A | undefined> => {
  const deadline = performance.now() + patienceMs
  while (alive(child) && performance.now() < deadline) {
    const value = await ready().catch(() => undefined)
    if (value !== undefined) return value
    await sleep(5)
  }
  return undefined
}

/** A port that was free a moment ago, for programs that can't take any. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

export const hasProc = existsSync("/proc/self/schedstat")

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

const threadsOf = (pid: number): ReadonlyArray<string> => {
  try {
    return readdirSync(`/proc/${pid}/task`).map((id) => `/proc/${pid}/task/${id}`)
  } catch {
    return []
  }
}

/** A process and all that it started. */
const treeOf = (pid: number): ReadonlyArray<number> => [
  pid,
  ...threadsOf(pid).flatMap((thread) => read(`${thread}/children`).split(" ").filter(Boolean).flatMap((id) => treeOf(Number(id))))
]

/** Microseconds that all threads of the process and its children have been on a processor so far; NaN without /proc. */
export const cpuUs = (pid: number): number =>
  hasProc
    ? treeOf(pid).flatMap(threadsOf).reduce((sum, thread) => sum + Number(read(`${thread}/schedstat`).split(" ", 1)[0] ?? 0), 0) / 1000
    : Number.NaN

/** Resident megabytes of the process and its children; NaN without /proc. */
export const rssMb = (pid: number): number =>
  hasProc
    ? treeOf(pid).reduce((sum, id) => sum + Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${id}/status`))?.[1] ?? 0), 0) / 1024
    : Number.NaN
