/** The record of a request, what it costs, and which calls a script is for. */
import type { IncomingMessage } from "node:http"
import type { Ending } from "./Delivery.ts"
import type { Operation, Usage, VendorName } from "./Wire.ts"

/** One request, from its arrival on. */
export interface Call {
  readonly id: number
  readonly vendor: VendorName
  /** Undefined for a path that the vendor doesn't have. */
  readonly operation: Operation | undefined
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  /** Empty where the request names none. */
  readonly model: string
  /** The credential as sent, empty where none was. */
  readonly key: string
  readonly headers: IncomingMessage["headers"]
  /** The parsed body, undefined where it is no JSON. */
  readonly body: unknown
  readonly text: string
  readonly stream: boolean
  /** Milliseconds since 1970, monotonic within the process; `endedAt` when the answer or the connection ended. */
  readonly at: number
  readonly endedAt: number | undefined
  /** Status of the answer, undefined until there is one. */
  readonly status: number | undefined
  readonly requestId: string
  readonly state: "open" | Ending
  /** Resolves when the state is final. */
  readonly ended: Promise<Ending>
}

/** What one call costs; the count of completion tokens grows while a stream is generated. */
export interface Charge extends Readonly<Usage> {
  /** The call's id. */
  readonly call: number
  readonly vendor: VendorName
  readonly operation: Operation
  readonly model: string
  readonly requestId: string
}

/**
 * Which calls a script is for: a model, fields that must be equal (generating calls only, unless `operation` says
 * otherwise), or a test.
 */
export type Match =
  | string
  | { readonly vendor?: VendorName; readonly model?: string; readonly operation?: Operation; readonly stream?: boolean }
  | ((call: Call) => boolean)

const generating: ReadonlySet<Operation | undefined> = new Set(["chat", "responses", "embeddings"])

/** Whether a call is one that a script or a wait is for. */
export const matches = (match: Match, call: Call): boolean => {
  if (typeof match === "function") return match(call)
  if (typeof match === "string") return call.model === match
  const { model = call.model, operation, stream = call.stream, vendor = call.vendor } = match
  return model === call.model && stream === call.stream && vendor === call.vendor &&
    (operation === undefined ? generating.has(call.operation) : operation === call.operation)
}
