/**
 * Counts o200k_base tokens (OpenAI's vocabulary since GPT-4o) in time that is linear in the length of the text and bounded in
 * all. Plain functions, for a thread of their own (`TokenWorker.ts`): loading the vocabulary takes a third of a second.
 */
import { textTokens } from "./TokenEstimator.ts"

/** A tokenizer's work grows with the square of a word's length: no more than this goes to it at once. In UTF-16 units. */
export const longestPiece = 512

const isAlphanumeric = (code: number): boolean =>
  (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 48 && code <= 57)

const space = 32
const apostrophe = 39

/** White space in a regular expression's sense, as far as a space may follow it in a token. */
const isWhite = (code: number): boolean =>
  code === space || (code >= 9 && code <= 13) || code === 0xa0 || (code >= 0x1680 && /\s/.test(String.fromCharCode(code)))

/**
 * Whether no token of o200k_base goes over this place: its pattern never takes a space after anything but white space, and ends
 * a word or number before any ASCII sign but the apostrophe.
 */
const isBoundary = (text: string, at: number): boolean => {
  const before = text.charCodeAt(at - 1)
  const after = text.charCodeAt(at)
  return after === space
    ? !isWhite(before)
    : after < 128 && after !== apostrophe && !isAlphanumeric(after) && isAlphanumeric(before)
}

const isLowSurrogate = (code: number): boolean => code >= 0xdc00 && code <= 0xdfff

/** Where the piece that begins at `start` ends: at the last boundary that it has, else where it gets too long. */
const endOf = (text: string, start: number): number => {
  const limit = start + longestPiece
  if (limit >= text.length) return text.length
  for (let at = limit; at > start; at--) if (isBoundary(text, at)) return at
  return isLowSurrogate(text.charCodeAt(limit)) ? limit - 1 : limit
}

/** A text in pieces that have as many tokens together as the whole, but for one or two where a word is longer than a piece. */
export const pieces = function*(text: string): Generator<string> {
  for (let start = 0; start < text.length;) {
    const end = endOf(text, start)
    yield text.slice(start, end)
    start = end
  }
}

/**
 * Tokens of all texts together. `count` is asked piece by piece while `goOn` says so; what is left then is estimated by what
 * the rest came to.
 */
export const tally = (texts: ReadonlyArray<string>, count: (piece: string) => number, goOn: () => boolean): number => {
  let counted = 0
  let estimateOfCounted = 0
  let estimateOfRest = 0
  for (const text of texts) {
    let done = 0
    for (const piece of pieces(text)) {
      if (!goOn()) break
      counted += count(piece)
      done += piece.length
    }
    if (done === text.length) estimateOfCounted += textTokens(text)
    else {
      estimateOfCounted += textTokens(text.slice(0, done))
      estimateOfRest += textTokens(text.slice(done))
    }
  }
  return counted + Math.ceil(estimateOfCounted === 0 ? estimateOfRest : estimateOfRest * (counted / estimateOfCounted))
}
