/**
 * Signatures of thoughts carry their vendor's mark in the canonical form, except Anthropic's: a conversation that moves between
 * vendors sends each its own ones only, since a foreign signature is an error. The vendor gets its bytes back untouched.
 */
type Vendor = "gemini" | "openai"

const vendors: ReadonlyArray<Vendor> = ["gemini", "openai"]

export const marked = (vendor: Vendor, signature: string): string => `${vendor}:${signature}`

/** The vendor's own signature, or undefined where another vendor made it. */
export const unmarked = (vendor: Vendor, signature: string | undefined): string | undefined =>
  signature?.startsWith(`${vendor}:`) === true ? signature.slice(vendor.length + 1) : undefined

/** Whether a signature has a mark, so that it is not Anthropic's. */
export const isMarked = (signature: string): boolean => vendors.some((vendor) => signature.startsWith(`${vendor}:`))

/** A thought of OpenAI's goes back by its item's id and its encrypted content. */
export const join = (id: string, encrypted: string): string => `${id}:${encrypted}`

/** The inverse of `join`. */
export const split = (signature: string): readonly [id: string, encrypted: string] => {
  const at = signature.indexOf(":")
  return [signature.slice(0, at), signature.slice(at + 1)]
}
