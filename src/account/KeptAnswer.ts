/** An answer that is given again to the same `Idempotency-Key`, and its bytes. Pure. */
import { Option, Schema } from "effect"

export interface KeptAnswer {
  /** Of the request that it was made for. */
  readonly requestId: string
  readonly status: number
  /** Those that describe the answer, its content type too; names in lower case. */
  readonly headers: { readonly [name: string]: string }
  readonly body: Uint8Array
}

/** An answer and the fingerprint of the request's body that it belongs to. */
export interface Kept {
  readonly fingerprint: string
  readonly answer: KeptAnswer
}

const Head = Schema.fromJsonString(Schema.Struct({
  fingerprint: Schema.String,
  requestId: Schema.String,
  status: Schema.Int,
  headers: Schema.Record(Schema.String, Schema.String)
}))
const encodeHead = Schema.encodeSync(Head)
const decodeHead = Schema.decodeUnknownOption(Head)

const lengthBytes = 4

/** u32 length of the head, big-endian ‖ head, all but the body as JSON ‖ body. */
export const encode = ({ answer: { body, ...answer }, fingerprint }: Kept): Buffer => {
  const head = Buffer.from(encodeHead({ fingerprint, ...answer }))
  const length = Buffer.alloc(lengthBytes)
  length.writeUInt32BE(head.length)
  return Buffer.concat([length, head, body])
}

/** undefined: these are no such bytes. */
export const decode = (bytes: Uint8Array): Kept | undefined => {
  if (bytes.length < lengthBytes) return undefined
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = lengthBytes + buffer.readUInt32BE()
  const head = Option.getOrUndefined(decodeHead(buffer.toString("utf8", lengthBytes, end)))
  if (head === undefined) return undefined
  const { fingerprint, ...answer } = head
  return { fingerprint, answer: { ...answer, body: buffer.subarray(end) } }
}
