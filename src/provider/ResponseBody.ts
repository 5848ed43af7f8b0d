/** The bytes of one upstream answer: pulled one piece at a time, decoded, bounded. */
import { Effect } from "effect"
import type { Readable, Transform } from "node:stream"
import { pipeline } from "node:stream"
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib"

const decoders: { readonly [encoding: string]: () => Transform } = {
  gzip: createGunzip,
  "x-gzip": createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress
}

/** The bytes in plain, whatever encoding the answer came in; undefined: an unknown encoding, or more than one. */
export const decoded = (body: Readable, encoding: string): Readable | undefined => {
  const name = encoding.trim().toLowerCase()
  if (name === "" || name === "identity") return body
  const make = Object.hasOwn(decoders, name) ? decoders[name] : undefined
  // An error of either side reaches the reader as the decoder's own.
  return make === undefined ? undefined : pipeline(body, make(), () => {})
}

export interface ByteReader {
  /** What has arrived since the last call, without waiting; undefined: nothing yet, or no more. */
  readonly now: () => Uint8Array | undefined
  /** The next bytes; undefined at the end. Fails with the stream's own error, or undefined where it was cut. */
  readonly next: Effect.Effect<Uint8Array | undefined, unknown>
}

/** Reads a stream on demand, so that back-pressure reaches the upstream. The caller destroys the stream. */
export const byteReader = (source: Readable): ByteReader => {
  let wake = () => {}
  for (const event of ["readable", "end", "error", "close"]) source.on(event, () => wake())
  const now = (): Uint8Array | undefined => {
    const bytes: Uint8Array | null = source.errored === null ? source.read() : null
    return bytes ?? undefined
  }
  const next: ByteReader["next"] = Effect.suspend(() => {
    const bytes = now()
    if (bytes !== undefined) return Effect.succeed(bytes)
    if (source.errored !== null) return Effect.fail(source.errored)
    if (source.readableEnded) return Effect.succeed(undefined)
    if (source.destroyed) return Effect.fail(undefined)
    return Effect.flatMap(
      Effect.callback<void>((resume) => {
        wake = () => resume(Effect.void)
        return Effect.sync(() => void (wake = () => {}))
      }),
      () => next
    )
  })
  return { now, next }
}
