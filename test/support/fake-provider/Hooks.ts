/** Hooks that the fault table puts together: on a stream's events, on a body's bytes, on the bare socket. */
import type { Action, Behaviour, HookContext, Step, Steps } from "./Behaviour.ts"
import type { Frame } from "./Wire.ts"

// --- hooks: on events

/** Passes `after` content events on, then `then` in place of the rest. */
export const insteadAfter = (after: number, then: (context: HookContext) => ReadonlyArray<Frame | Action>) =>
  function*(frames: Iterable<Frame>, context: HookContext): Iterable<Frame | Action> {
    let seen = 0
    for (const frame of frames) {
      if (frame.stage === "finish" || (frame.stage === "content" && seen++ >= after)) break
      yield frame
    }
    yield* then(context)
  }

/** Leaves a stream's events of these stages out. */
export const without = (...stages: ReadonlyArray<Frame["stage"]>) =>
  function*(frames: Iterable<Frame>, { stream }: HookContext): Iterable<Frame> {
    for (const frame of frames) if (!stream || !stages.includes(frame.stage)) yield frame
  }

/** Puts the same content event `count` times in place of each. */
export const repeat = (count: number, stages: ReadonlyArray<Frame["stage"]> = ["content"]) =>
  function*(frames: Iterable<Frame>, { stream }: HookContext): Iterable<Frame> {
    for (const frame of frames) {
      const times = stream && stages.includes(frame.stage) ? count : 1
      for (let time = 0; time < times; time++) yield frame
    }
  }

/** Puts raw text before the first event, or before each. */
export const interleave = (raw: string, everywhere: boolean, plain = false) =>
  function*(frames: Iterable<Frame>, { stream }: HookContext): Iterable<Frame> {
    let due = stream || plain
    for (const frame of frames) {
      if (due) yield { stage: "open", raw }
      due = everywhere && stream
      yield frame
    }
  }

/** Cuts the JSON of the content event after `after` of them. */
export const malformed = (after: number) =>
  function*(frames: Iterable<Frame>, { stream }: HookContext): Iterable<Frame> {
    let seen = 0
    for (const frame of frames) {
      const hit = frame.stage === "content" && seen++ === (stream ? after : 0)
      yield hit ? { ...frame, data: `${JSON.stringify(frame.data).slice(0, -3)},,` } : frame
    }
  }

// --- hooks: on bytes

/** The first half of the body, then the action. */
export const halfThen = (action: Action) =>
  async function*(steps: Steps): Steps {
    const bytes: Array<Uint8Array> = []
    for await (const step of steps) if (step instanceof Uint8Array) bytes.push(step)
    const whole = Buffer.concat(bytes)
    yield whole.subarray(0, Math.ceil(whole.length / 2))
    yield action
  }

/** Pieces of `size` bytes, each written by itself. */
export const split = (size: number) =>
  async function*(steps: Steps): Steps {
    for await (const step of steps) {
      if (!(step instanceof Uint8Array)) yield step
      else {
        for (let at = 0; at < step.length; at += size) {
          yield step.subarray(at, at + size)
          yield { wait: 0 }
        }
      }
    }
  }

// --- hooks: on the bare socket

/** A step that writes a text. */
export const text = (value: string): Step => Buffer.from(value)

/** A proper answer whose status line and headers come byte by byte, `wait` ms apart. */
export const drippedHead = (wait: number): NonNullable<Behaviour["wire"]> =>
  async function*({ body, headers, status }) {
    const { "transfer-encoding": _, ...kept } = headers
    const lines = Object.entries({ ...kept, connection: "close" }).map(([name, value]) => `${name}: ${value}\r\n`)
    for (const byte of Buffer.from(`HTTP/1.1 ${status} OK\r\n${lines.join("")}\r\n`)) {
      yield Uint8Array.of(byte)
      yield { wait }
    }
    yield* body
  }
