/** The load generator, a process of its own: runs the jobs that it is sent, one at a time, and reports what came back. */
import type { Dispatcher } from "undici"
import { Client } from "undici"
import type { Job, Report } from "./messages.ts"
import { percentile } from "./statistics.ts"

interface Answer {
  readonly status: number
  readonly firstUs: number
  readonly wholeUs: number
  readonly chunks: ReadonlyArray<Buffer>
}

const patienceMs = 120_000

/** Sends one request. The body of an answer in one piece is only kept where it is no success. */
const send = (client: Client, options: Dispatcher.DispatchOptions, keep: boolean): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const began = performance.now()
    const elapsed = () => (performance.now() - began) * 1000
    const chunks: Array<Buffer> = []
    let status = 0
    let firstUs = 0
    client.dispatch(options, {
      onRequestStart: () => {},
      onResponseStart: (_, code) => void (status = code),
      onResponseData: (_, chunk) => {
        if (firstUs === 0) firstUs = elapsed()
        if (keep || status !== 200) chunks.push(chunk)
      },
      onResponseEnd: () => resolve({ status, firstUs, wholeUs: elapsed(), chunks }),
      onResponseError: (_, error) => reject(error)
    })
  })

const content = /"(?:content|text)":"((?:#\d+#)+)"/g

/** How many of the numbered pieces came in their place. */
const countPieces = (text: string): number => {
  let next = 0
  for (const [, run = ""] of text.matchAll(content)) {
    for (const [, number] of run.matchAll(/#(\d+)#/g)) {
      if (Number(number) === next) next++
    }
  }
  return next
}

const run = async (job: Job): Promise<Report> => {
  const whole: Array<number> = []
  const first: Array<number> = []
  let left = job.requests
  let turn = 0
  let failed = 0
  let failure: string | undefined
  let pieces = 0
  const began = performance.now()
  const deadline = began + job.seconds * 1000

  const accept = ({ chunks, firstUs, status, wholeUs }: Answer) => {
    const text = chunks.length === 0 ? "" : Buffer.concat(chunks).toString("utf8")
    const came = status === 200 && job.pieces !== undefined ? countPieces(text) : 0
    pieces += came
    if (status !== 200 || (job.pieces !== undefined && came !== job.pieces)) {
      failed++
      failure ??= `${status} ${status === 200 ? `${came} of ${job.pieces} pieces: ` : ""}${text.slice(0, 300)}`
      return
    }
    whole.push(wholeUs)
    first.push(firstUs)
  }

  const connection = async () => {
    const client = new Client(job.url, { pipelining: 1, headersTimeout: patienceMs, bodyTimeout: patienceMs })
    try {
      while (left > 0 && performance.now() < deadline) {
        left--
        const headers = job.headers[turn++ % job.headers.length] ?? {}
        try {
          accept(await send(client, { method: "POST", path: job.path, headers, body: job.body }, job.pieces !== undefined))
        } catch (error) {
          failed++
          failure ??= String(error)
        }
      }
    } finally {
      await client.destroy()
    }
  }

  await Promise.all(Array.from({ length: job.connections }, connection))
  return {
    seconds: (performance.now() - began) / 1000,
    requests: whole.length,
    failed,
    ...(failure === undefined ? {} : { failure }),
    p50: percentile(whole, 0.5),
    p99: percentile(whole, 0.99),
    firstP50: percentile(first, 0.5),
    firstP99: percentile(first, 0.99),
    pieces
  }
}

process.on("message", (job: Job) => void run(job).then((report) => process.send?.(report)))
process.on("disconnect", () => process.exit())
process.send?.("ready")
