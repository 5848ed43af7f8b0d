/** One measurement of one subject, and how several are taken in turn. */
import type { ChildProcess } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { AnswerPlan, Job, Report } from "./messages.ts"
import { ask, cpuUs, helper, rssMb, stop } from "./processes.ts"
import { median } from "./statistics.ts"
import type { Ground, Running } from "./subjects.ts"
import { chatBody } from "./subjects.ts"

/** The processes around the subjects. */
export interface Bench {
  readonly ground: Ground
  readonly upstream: ChildProcess
  readonly load: ChildProcess
  readonly rounds: number
  /** Of one measurement. */
  readonly seconds: number
  readonly close: () => Promise<void>
}

export const open = async (options: {
  readonly rounds: number
  readonly seconds: number
  readonly cache: string
  readonly profiles: string | undefined
}): Promise<Bench> => {
  const folder = mkdtempSync(join(tmpdir(), "tokenhub-bench-"))
  const upstream = await helper("upstream.ts")
  const load = await helper("load.ts")
  return {
    ground: { upstream: `http://127.0.0.1:${String(upstream.hello)}`, folder, cache: options.cache, profiles: options.profiles },
    upstream: upstream.child,
    load: load.child,
    rounds: options.rounds,
    seconds: options.seconds,
    close: async () => {
      await Promise.all([stop(upstream.child), stop(load.child)])
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

/** What the load is, and how the upstream answers it. */
export interface Load {
  readonly answer?: Partial<AnswerPlan>
  /** Bytes of a request. */
  readonly bytes?: number
  readonly connections: number
  readonly seconds?: number
  readonly requests?: number
  /** Streams of this many pieces; undefined: answers in one piece. */
  readonly pieces?: number
  /** Names no model: the router chooses. */
  readonly routed?: boolean
}

/** Times are microseconds, sizes megabytes. */
export interface Figures extends Omit<Report, "failure"> {
  readonly perSecond: number
  /** CPU of the subject's process. */
  readonly cpuPerRequest: number
  readonly cpuPerPiece: number
  readonly rssMost: number
}

export const smallBytes = 512

class Failed extends Error {}

/** Puts the load on a subject and says what it did and used. */
export const measure = async (bench: Bench, { headers, path, pid, url }: Running, load: Load): Promise<Figures> => {
  const plan: AnswerPlan = { delayMs: 0, bytes: smallBytes, pieces: load.pieces ?? 0, everyMs: 0, ...load.answer }
  await ask(bench.upstream, plan, 5000)
  const seconds = load.seconds ?? bench.seconds
  const job: Job = {
    url,
    path,
    headers,
    body: chatBody(load.bytes ?? smallBytes, { stream: load.pieces !== undefined, routed: load.routed === true }),
    connections: load.connections,
    seconds,
    requests: load.requests ?? Number.MAX_SAFE_INTEGER,
    ...(load.pieces === undefined ? {} : { pieces: load.pieces })
  }
  let rssMost = rssMb(pid)
  const sampling = setInterval(() => rssMost = Math.max(rssMost, rssMb(pid)), 100)
  try {
    const before = cpuUs(pid)
    const { failure, ...report } = (await ask(bench.load, job, seconds * 1000 + 180_000)) as Report
    const used = cpuUs(pid) - before
    // Where every request counts, the figures show the lost ones.
    const mostFailed = load.requests === undefined ? report.requests / 100 : Number.MAX_SAFE_INTEGER
    if (report.requests === 0 || report.failed > mostFailed) {
      throw new Failed(`${report.failed} of ${report.failed + report.requests} requests failed: ${failure ?? ""}`)
    }
    return {
      ...report,
      perSecond: report.requests / report.seconds,
      cpuPerRequest: used / report.requests,
      cpuPerPiece: report.pieces === 0 ? Number.NaN : used / report.pieces,
      rssMost: Math.max(rssMost, rssMb(pid))
    }
  } finally {
    clearInterval(sampling)
  }
}

const medians = (all: ReadonlyArray<Figures>): Figures | undefined => {
  const [first] = all
  if (first === undefined) return undefined
  const keys = Object.keys(first) as ReadonlyArray<keyof Figures>
  return keys.reduce((sum, key) => ({ ...sum, [key]: median(all.map((one) => one[key])) }), first)
}

export interface Named<A> {
  readonly name: string
  readonly value: A
}

/**
 * Measures every subject once a round, one after the other, so that what else happens on the machine meets all of them; gives
 * each one's medians. A subject that fails is left out, and said so.
 */
export const interleaved = async (
  bench: Bench,
  subjects: ReadonlyArray<Named<Running>>,
  load: Load,
  what: string
): Promise<ReadonlyMap<string, Figures>> => {
  const taken = new Map<string, Array<Figures>>(subjects.map(({ name }) => [name, []]))
  for (let round = 0; round < bench.rounds; round++) {
    for (const { name, value } of subjects) {
      const before = taken.get(name)
      if (before === undefined) continue
      try {
        before.push(await measure(bench, value, load))
      } catch (error) {
        console.log(`  ${name} left out of "${what}": ${error instanceof Error ? error.message : String(error)}`)
        taken.delete(name)
      }
    }
  }
  return new Map([...taken].flatMap(([name, all]) => {
    const middle = medians(all)
    return middle === undefined ? [] : [[name, middle]]
  }))
}

/** Lets every subject compile and optimise what the load needs: 15,000 requests, or 2,000 streams, and 20 s at most. */
export const warmUp = (bench: Bench, subjects: ReadonlyArray<Named<Running>>, load: Partial<Load>): Promise<unknown> =>
  interleaved({ ...bench, rounds: 1 }, subjects, { connections: 16, ...load, requests: load.pieces === undefined ? 15_000 : 2000, seconds: 20 }, "warming up")
