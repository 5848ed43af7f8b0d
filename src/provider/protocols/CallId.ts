/** Ids of tool calls at vendors that want them short: an id that another vendor made may be longer. */
import { createHash } from "node:crypto"

/** Which ids a vendor takes. */
export interface CallIds {
  readonly pattern: RegExp
  readonly longest: number
}

export const fits = (id: string, { pattern }: CallIds): boolean => pattern.test(id)

/** The id as the vendor takes it: itself, or digits of its hash, so that a call and its result stay together. */
export const callId = (id: string, ids: CallIds): string =>
  fits(id, ids) ? id : createHash("sha256").update(id).digest("hex").slice(0, ids.longest)
