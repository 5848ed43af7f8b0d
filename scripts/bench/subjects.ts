/** What is measured: programs that take a chat completion and ask the fake upstream for it. */
import type { ChildProcess } from "node:child_process"
import { stop } from "./processes.ts"

/** Why a subject is not measured. */
export class Absent extends Error {}

/** A subject that takes requests. */
export interface Running {
  readonly url: string
  readonly path: string
  /** Headers of its requests, to be taken in turn. */
  readonly headers: ReadonlyArray<Readonly<Record<string, string>>>
  readonly pid: number
  /** From its start to its first answer, in milliseconds; undefined: not of interest. */
  readonly readyMs?: number
  /** What is worth knowing about how it runs. */
  readonly note?: string
  readonly stop: () => Promise<void>
}

/** What a subject may use. */
export interface Ground {
  /** The fake upstream's URL, without a path. */
  readonly upstream: string
  /** A folder that goes with the run. */
  readonly folder: string
  /** A folder that stays: fetched programs. */
  readonly cache: string
  /** Where TokenHub writes CPU profiles; undefined: none. */
  readonly profiles: string | undefined
}

export interface Subject {
  /** As on the command line. */
  readonly name: string
  readonly title: string
  readonly start: (ground: Ground) => Promise<Running>
}

export const model = "gpt-bench"

const words = "The quick brown fox jumps over the lazy dog. "

/** A request with a message of about this many bytes; without a model the router chooses. */
export const chatBody = (bytes: number, options: { readonly stream?: boolean; readonly routed?: boolean } = {}): string =>
  JSON.stringify({
    ...(options.routed === true ? {} : { model }),
    messages: [{ role: "user", content: words.repeat(Math.ceil(bytes / words.length)).slice(0, Math.max(1, bytes - 64)) }],
    ...(options.stream === true ? { stream: true } : {})
  })

export const json = { "content-type": "application/json" }

/** One request, to see whether the subject answers at all: its status, and its text where that is not 200. */
export const tryOnce = async ({ headers, path, url }: Pick<Running, "url" | "path" | "headers">, patienceMs = 5000) => {
  const response = await fetch(url + path, {
    method: "POST",
    headers: headers[0] ?? {},
    body: chatBody(512),
    signal: AbortSignal.timeout(patienceMs)
  })
  const text = await response.text()
  return { status: response.status, text: text.slice(0, 300) }
}

export const stopping = (child: ChildProcess) => ({ pid: child.pid ?? 0, stop: () => stop(child) })
