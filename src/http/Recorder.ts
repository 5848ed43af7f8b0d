/** Takes down an event stream as it goes out, for those who want it whole when it has ended. */
import { Context } from "effect"
import type { Effect } from "effect"

/** How a stream ended: with its regular end, or with the event of an error. */
export type Ending = "whole" | "broken"

export interface Recorder {
  /** Bytes that go out, in their order; they are not changed any more. */
  readonly add: (bytes: Uint8Array) => void
  /** All that goes out was added. Not called where the client leaves before. */
  readonly end: (ending: Ending) => Effect.Effect<void>
}

/** The recorder of the request that is served; undefined: nobody listens. */
export const Recorder: Context.Reference<Recorder | undefined> = Context.Reference("tokenhub/Recorder", {
  defaultValue: (): Recorder | undefined => undefined
})

/** The bytes of one stream. */
export interface Recording {
  readonly add: (bytes: Uint8Array) => void
  /** All that was added; undefined: it was too much, or was let go. */
  readonly whole: () => Uint8Array | undefined
  /** Lets them go. */
  readonly drop: () => void
}

const leastCapacity = 4096

/** Makes recordings of at most `each` bytes, which hold at most `together`; one that would pass a bound is let go. */
export const makeRecordings = ({ each, together }: { readonly each: number; readonly together: number }): () => Recording => {
  let held = 0
  return () => {
    let buffer: Buffer | undefined = Buffer.alloc(0)
    let length = 0

    const drop = () => {
      held -= buffer?.length ?? 0
      buffer = undefined
    }

    /** Room for `needed` bytes in all, at least doubled, so that a stream of many pieces is copied a few times only. */
    const grown = (old: Buffer, needed: number): Buffer | undefined => {
      if (needed <= old.length) return old
      const capacity = Math.min(Math.max(needed, 2 * old.length, leastCapacity), each)
      if (needed > each || held + capacity - old.length > together) return undefined
      held += capacity - old.length
      const larger = Buffer.allocUnsafeSlow(capacity)
      old.copy(larger, 0, 0, length)
      return larger
    }

    return {
      add: (bytes) => {
        if (buffer === undefined) return
        const room = grown(buffer, length + bytes.length)
        if (room === undefined) return drop()
        buffer = room
        buffer.set(bytes, length)
        length += bytes.length
      },
      whole: () => buffer?.subarray(0, length),
      drop
    }
  }
}
