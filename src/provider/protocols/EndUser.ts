import { createHash } from "node:crypto"

/** OpenAI and those that took its field over refuse longer names; coding agents send JSON of three ids. */
const longest = 64

/** The end user's name as vendors take it; a long one is its SHA-256, so that the same user stays the same. */
export const endUser = (name: string | undefined): string | undefined =>
  name === undefined || name.length <= longest ? name : createHash("sha256").update(name).digest("hex")
