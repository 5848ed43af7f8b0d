/**
 * Gemini's thought signatures carry a mark in the canonical form: a conversation that moves between vendors sends each its own
 * ones only, since a foreign signature is an error. The vendor gets its bytes back untouched.
 */
const mark = "gemini:"

export const marked = (signature: string): string => mark + signature

/** Gemini's own signature, or undefined where another vendor made it. */
export const unmarked = (signature: string | undefined): string | undefined =>
  signature?.startsWith(mark) === true ? signature.slice(mark.length) : undefined

/** Whether a signature is Gemini's, so that nobody else takes it. */
export const isMarked = (signature: string): boolean => signature.startsWith(mark)
