/** The canonical form of a question for embeddings and of its answer. */
import type { Usage } from "./Usage.ts"

/** A text, or a list of tokens in the model's own vocabulary. */
export type EmbeddingInput = string | ReadonlyArray<number>

export interface EmbeddingRequest {
  readonly inputs: ReadonlyArray<EmbeddingInput>
  /** How many numbers a vector should have; absent: the model's own default. */
  readonly dimensions?: number
  /** How the client wants the vectors; a provider that can is asked for the same, so that they go through as they are. */
  readonly encoding: "float" | "base64"
  /** The end user, as the client names it to the vendor. */
  readonly user?: string
  /** Fields that have no name here, in the client's protocol; a provider that does not speak it refuses them. */
  readonly extra?: { readonly protocol: string; readonly fields: { readonly [name: string]: unknown } }
  /** What the provider can't do is left out instead of refused. */
  readonly dropUnsupported?: boolean
}

/** Numbers, or the base64 of little-endian 32-bit floats: as the provider gave it. */
export type Vector = ReadonlyArray<number> | string

/** A whole answer of one upstream call. */
export interface Embeddings {
  /** In the order of the inputs. */
  readonly vectors: ReadonlyArray<Vector>
  /** The model as the provider names it in its answer. */
  readonly upstreamModel: string
  readonly usage: Usage
  /** The provider's own answer, where it speaks the protocol that the request's `extra` names. */
  readonly native?: { readonly protocol: string; readonly body: { readonly [name: string]: unknown } }
}

/** A vector as the client wants it: untouched where it already is so. */
export const encodeVector = (vector: Vector, encoding: EmbeddingRequest["encoding"]): Vector => {
  if (encoding === "base64") return typeof vector === "string" ? vector : toBase64(vector)
  return typeof vector === "string" ? fromBase64(vector) : vector
}

const bytesPerNumber = 4

const toBase64 = (numbers: ReadonlyArray<number>): string => {
  const bytes = Buffer.alloc(numbers.length * bytesPerNumber)
  numbers.forEach((number, at) => bytes.writeFloatLE(number, at * bytesPerNumber))
  return bytes.toString("base64")
}

const fromBase64 = (text: string): ReadonlyArray<number> => {
  const bytes = Buffer.from(text, "base64")
  return Array.from({ length: Math.floor(bytes.length / bytesPerNumber) }, (_, at) => bytes.readFloatLE(at * bytesPerNumber))
}
