/**
 * From a reply to bytes on a socket: events are encoded, waits kept, faults of the transport carried out, back-
 * pressure heeded.
 */
import { once } from "node:events"
import type { ServerResponse } from "node:http"
import { Readable } from "node:stream"
import { createBrotliCompress, createDeflate, createGzip } from "node:zlib"
import type { Action, Behaviour, HookContext, Outgoing, Step, Steps, Wait } from "./Behaviour.ts"
import { filler } from "./Behaviour.ts"
import type { Frame } from "./Wire.ts"

/** How a call ended: answered in full, ended by a fault of ours, or left by the client. */
export type Ending = "completed" | "cut" | "aborted"

// --- frames to steps

/**
 * The body of an answer.
 *
 * @param frames the vendor's events, or one frame that is the whole plain body
 * @param onTokens told how many completion tokens were generated, as each frame is sent
 * @returns the steps, and the body's length in bytes where it is known beforehand
 */
export const bodyOf = (
  frames: Iterable<Frame>,
  behaviour: Behaviour,
  context: HookContext,
  newline: string,
  onTokens: (tokens: number) => void
): { readonly steps: Steps; readonly length: number | undefined } => {
  const hooked = timed(behaviour.frames?.(frames, context) ?? frames, behaviour.delay ?? {})
  const ending = behaviour.newline ?? newline
  const encode = (frame: Frame): string => {
    if (frame.tokens !== undefined) onTokens(frame.tokens)
    return context.stream ? eventText(frame, ending, behaviour.multiline ?? false) : plainText(frame)
  }
  const inParts = context.stream || behaviour.frames !== undefined || behaviour.delay?.firstToken !== undefined ||
    behaviour.fillerBytes !== undefined || behaviour.encodings !== undefined
  const whole = inParts ? undefined : Buffer.from(Array.from(frames, encode).join(""))
  const plain = whole === undefined ? fill(hooked, encode, behaviour.fillerBytes ?? 0) : one(whole)
  const encoded = (behaviour.encodings ?? []).reduce(compress, plain)
  return { steps: behaviour.bytes?.(encoded, context) ?? encoded, length: whole?.length }
}

const plainText = (frame: Frame): string =>
  frame.raw ?? (typeof frame.data === "string" ? frame.data : JSON.stringify(frame.data))

const eventText = (frame: Frame, newline: string, multiline: boolean): string => {
  if (frame.raw !== undefined) return frame.raw
  const indent = multiline ? 1 : undefined
  const data = typeof frame.data === "string" ? frame.data : JSON.stringify(frame.data, undefined, indent)
  const lines = data.split("\n").map((line) => `data: ${line}${newline}`)
  return `${frame.event === undefined ? "" : `event: ${frame.event}${newline}`}${lines.join("")}${newline}`
}

function* timed(frames: Iterable<Frame | Action>, delay: NonNullable<Behaviour["delay"]>): Iterable<Frame | Action> {
  let next = delay.firstToken
  for (const frame of frames) {
    if ("stage" in frame && frame.stage === "content") {
      if (next !== undefined) yield { wait: next }
      next = delay.chunk
    }
    yield frame
  }
}

async function* one(bytes: Uint8Array): Steps {
  yield bytes
}

const fillerBlock = Buffer.alloc(64 * 1024, "x")

async function* fill(frames: Iterable<Frame | Action>, encode: (frame: Frame) => string, fillerBytes: number): Steps {
  for (const frame of frames) {
    if (!("stage" in frame)) {
      yield frame
      continue
    }
    for (const [at, text] of encode(frame).split(filler).entries()) {
      for (let left = at === 0 ? 0 : fillerBytes; left > 0; left -= fillerBlock.length) {
        yield fillerBlock.subarray(0, Math.min(left, fillerBlock.length))
      }
      if (text !== "") yield Buffer.from(text)
    }
  }
}

const compressors = { gzip: createGzip, deflate: createDeflate, br: createBrotliCompress }

/** Compresses the bytes; a stop among the steps is not carried over. */
const compress = (steps: Steps, encoding: keyof typeof compressors): Steps =>
  Readable.from(bytesOnly(steps), { objectMode: false }).pipe(compressors[encoding]())

async function* bytesOnly(steps: Steps): AsyncIterable<Uint8Array> {
  for await (const step of steps) if (step instanceof Uint8Array) yield step
}

// --- steps to the socket

/** Sends an answer, or carries out the fault that takes its place. Never fails. */
export const deliver = async (response: ServerResponse, outgoing: Outgoing, behaviour: Behaviour): Promise<Ending> => {
  const gone = once(response, "close").then(() => undefined, () => undefined)
  const socket = response.socket
  if (socket === null) return "aborted"
  const sink = behaviour.wire === undefined ? response : socket
  let flushed: Promise<unknown> = Promise.resolve()
  const send = async (step: Step): Promise<Ending | undefined> => {
    if (socket.destroyed) return "aborted"
    if (step instanceof Uint8Array) {
      let written = () => {}
      flushed = new Promise<void>((resolve) => written = resolve)
      if (!sink.write(step, () => written())) await Promise.race([once(sink, "drain").catch(() => undefined), gone])
      return undefined
    }
    if ("wait" in step) {
      await waitFor(step.wait, gone)
      return undefined
    }
    if (step.stop === "end") return "completed"
    if (step.stop === "hang") {
      await gone
      return "aborted"
    }
    await Promise.race([flushed, gone])
    if (step.stop === "reset") socket.resetAndDestroy()
    else socket.destroy()
    return "cut"
  }
  const steps = async (): Promise<Ending> => {
    const delay = behaviour.delay?.headers
    for (const action of [...(delay === undefined ? [] : [{ wait: delay }]), ...(behaviour.before ?? [])]) {
      const ended = await send(action)
      if (ended !== undefined) return ended
    }
    if (socket.destroyed) return "aborted"
    if (behaviour.wire === undefined) {
      response.writeHead(outgoing.status, outgoing.headers)
      if (!("content-length" in outgoing.headers)) response.flushHeaders()
    }
    for await (const step of behaviour.wire?.(outgoing) ?? outgoing.body) {
      const ended = await send(step)
      if (ended !== undefined) return ended
    }
    return socket.destroyed ? "aborted" : "completed"
  }
  const ended = await steps()
  if (ended !== "completed") return ended
  sink.end()
  await gone
  return behaviour.wire !== undefined || response.writableFinished ? "completed" : "aborted"
}

const waitFor = (wait: Wait, gone: Promise<void>): Promise<unknown> => {
  if (typeof wait !== "number") return Promise.race([typeof wait === "function" ? wait() : wait, gone])
  if (wait <= 0) return new Promise((resolve) => setImmediate(resolve))
  return new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, wait)
    void gone.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}
