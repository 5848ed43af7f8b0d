/**
 * How many prompt tokens a request will probably be, without a tokenizer: characters are counted by class, in one pass. The
 * figures are set so that the examples of OpenAI's cookbook ("How to count tokens with tiktoken") and its rule of thumb, 100
 * tokens for 75 English words, come out about right; a factor per model, learnt from reported usage, corrects the rest.
 */
import type { ChatRequest, ImagePart, Message, Part, Source } from "../domain/Chat.ts"
import type { EmbeddingRequest } from "../domain/Embedding.ts"

const kinds = { letter: 0, upper: 1, digit: 2, space: 3, newline: 4, other: 5 } as const
type AsciiClass = (typeof kinds)[keyof typeof kinds]

const classOf = (code: number): AsciiClass => {
  if (code >= 97 && code <= 122) return kinds.letter
  if (code >= 65 && code <= 90) return kinds.upper
  if (code >= 48 && code <= 57) return kinds.digit
  if (code === 32 || code === 9) return kinds.space
  if (code === 10 || code === 13) return kinds.newline
  return kinds.other
}

const ascii = Uint8Array.from({ length: 128 }, (_, code) => classOf(code))

/**
 * Tokens per UTF-16 unit beyond ASCII: kana, Chinese and Hangul; halves of surrogate pairs (emoji); other scripts' letters;
 * symbols.
 */
const beyondAscii = (code: number): number => {
  if (code >= 0x3040 && code <= 0x9fff) return 0.9
  if (code >= 0xac00 && code <= 0xd7a3) return 0.9
  if (code >= 0xd800 && code <= 0xdfff) return 1.2
  if (code < 0x2000) return 0.45
  return 1
}

/** The longest word that is usually one token, and the letters of each further one. */
const oneTokenWord = 8
const lettersPerToken = 4.5

/**
 * Estimated tokens of a piece of text. Words count 1 and a little more when long, digits 1 per three, punctuation 1 (0.5 in a
 * run of the same sign), line ends and indentation 1 per run; a space before a word belongs to the word.
 */
const piece = (text: string): number => {
  let tokens = 0
  let run: number = kinds.newline
  let length = 0
  let before = -1
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code >= 128) {
      tokens += beyondAscii(code)
      run = kinds.other
      before = code
      continue
    }
    const kind = ascii[code] ?? kinds.other
    switch (kind) {
      case kinds.letter:
      case kinds.upper:
        // A capital after a small letter starts a word: camelCase is two.
        if ((run === kinds.letter || run === kinds.upper) && !(kind === kinds.upper && run === kinds.letter)) {
          length++
          if (length > oneTokenWord) tokens += 1 / lettersPerToken
        } else {
          tokens += 1
          length = 1
        }
        break
      case kinds.digit:
        if (run === kinds.digit) length++
        else {
          if (run === kinds.space && length === 1) tokens += 1
          length = 1
        }
        if (length % 3 === 1) tokens += 1
        break
      case kinds.space:
      case kinds.newline:
        if (run === kind) length++
        else length = 1
        if (kind === kinds.newline ? length === 1 : length === 2) tokens += 1
        break
      default:
        tokens += code === before ? 0.5 : 1
        length = 0
    }
    run = kind
    before = code
  }
  return tokens
}

/**
 * Longer texts are judged by this many pieces of this length, spread evenly: any text costs 40 µs at most. On prose, JSON and
 * source code of 130,000 characters that is mostly within 2 % of counting all of it, seldom beyond 6 %.
 */
const pieces = 64
const pieceLength = 128

/** Estimated tokens of a text. */
export const textTokens = (text: string): number => {
  if (text.length <= pieces * pieceLength) return Math.ceil(piece(text))
  const stride = (text.length - pieceLength) / (pieces - 1)
  let tokens = 0
  for (let i = 0; i < pieces; i++) {
    const start = Math.floor(i * stride)
    tokens += piece(text.slice(start, start + pieceLength))
  }
  return Math.ceil(tokens / (pieces * pieceLength) * text.length)
}

/** OpenAI counts 85 tokens at "low" detail; Anthropic about 1,600 at its largest size, more than others usually do. */
const lowDetailImageTokens = 85
const imageTokens = 1600
/** Anthropic counts 1,500 to 3,000 tokens a page of a PDF file; a page is taken as 40 KB, a file behind a URL as five pages. */
const pageTokens = 2250
const pageBytes = 40_000
const pagesBehindUrl = 5
/** Gemini counts 32 tokens a second of audio, the most of all vendors; a second is taken as 16 KB (128 kbit/s). */
const audioTokensPerSecond = 32
const audioBytesPerSecond = 16_000
/** Around each message, and before the answer (OpenAI's cookbook). */
const messageTokens = 4
const nameTokens = 1
const answerTokens = 3

const bytesOfBase64 = (data: string): number => Math.ceil(data.length * 0.75)

const image = (part: ImagePart): number => part.detail === "low" ? lowDetailImageTokens : imageTokens

const file = (source: Source): number => {
  if (source.type === "url") return pagesBehindUrl * pageTokens
  const bytes = bytesOfBase64(source.data)
  if (source.mediaType.startsWith("text/")) return Math.ceil(bytes / 4)
  return Math.max(1, Math.ceil(bytes / pageBytes)) * pageTokens
}

/** Tokens of a text: estimated by `textTokens`, or left for a tokenizer to count. */
type OfText = (text: string) => number

const partTokens = (part: Part, ofText: OfText): number => {
  switch (part.type) {
    case "text":
    case "refusal":
      return ofText(part.text)
    case "reasoning":
      return ofText(part.text) + Math.ceil((part.redacted?.length ?? 0) / 4)
    case "image":
      return image(part)
    case "file":
      return file(part.source)
    case "audio":
      return Math.ceil(bytesOfBase64(part.data) / audioBytesPerSecond) * audioTokensPerSecond
    case "tool_call":
      return ofText(part.name) + ofText(part.arguments) + messageTokens
    case "tool_result":
      return part.content.reduce((sum, inner) => sum + partTokens(inner, ofText), messageTokens)
  }
}

const tokensOf = ({ content, name }: Message, ofText: OfText): number =>
  content.reduce((sum, part) => sum + partTokens(part, ofText), messageTokens + (name === undefined ? 0 : nameTokens + ofText(name)))

/** Prompt tokens of a whole request, tools and response format (as JSON) included; estimated unless `ofText` knows better. */
export const promptTokens = (request: ChatRequest, ofText: OfText = textTokens): number => {
  const { messages, responseFormat, tools } = request
  return messages.reduce((sum, message) => sum + tokensOf(message, ofText), answerTokens)
    + (tools === undefined || tools.length === 0 ? 0 : ofText(JSON.stringify(tools)))
    + (responseFormat?.type === "json_schema" ? ofText(JSON.stringify(responseFormat.schema) ?? "") : 0)
}

/** Anthropic's documentation names up to 530 tokens that tools add to a prompt, more than others say. */
const toolUseTokens = 530

const bytesOf: OfText = (text) => Buffer.byteLength(text)

/**
 * The most prompt tokens that a request can be, which is what a budget reserves: no tokenizer makes more than one token of a
 * byte. Pictures and files, which have no such bound, count as they are estimated.
 */
export const mostPromptTokens = (request: ChatRequest): number =>
  promptTokens(request, bytesOf) + messageTokens * request.messages.length + (request.tools?.length ? toolUseTokens : 0)

/** Likewise of a question for embeddings. */
export const mostEmbeddingTokens = ({ inputs }: EmbeddingRequest): number =>
  inputs.reduce<number>((sum, input) => sum + answerTokens + (typeof input === "string" ? bytesOf(input) : input.length), 0)

/** Estimated tokens of a question for embeddings: of all its inputs, and of the longest, which one context window has to hold. */
export const embeddingTokens = ({ inputs }: EmbeddingRequest): { readonly total: number; readonly longest: number } => {
  let total = 0
  let longest = 0
  for (const input of inputs) {
    const tokens = typeof input === "string" ? textTokens(input) : input.length
    total += tokens
    longest = Math.max(longest, tokens)
  }
  return { total, longest }
}

/** An error halves in about seven calls: one odd report moves little, a wrong factor is corrected within dozens. */
const share = 0.1
/** Under this, what vendors add around a prompt outweighs the tokenizer's share. */
const leastPrompt = 32
const smallest = 1 / 3
const largest = 3

const clamp = (ratio: number): number => Math.min(largest, Math.max(smallest, ratio))

/** Factors by model between what providers counted and what was estimated: exponentially weighted, from 1/3 to 3. */
export interface Calibration {
  readonly ratio: (model: string) => number
  /** No model's ratio is smaller. */
  readonly least: () => number
  readonly learn: (model: string, estimatedTokens: number, countedTokens: number) => void
  /** The models that learnt something since the last call, with their ratios. */
  readonly changes: () => ReadonlyMap<string, number>
}

/** `known` are ratios of an earlier life; what is no sensible number is left out. */
export const makeCalibration = (known: Iterable<readonly [model: string, ratio: number]>): Calibration => {
  const ratios = new Map<string, number>()
  let least = 1
  const set = (model: string, ratio: number) => {
    ratios.set(model, ratio)
    least = Math.min(least, ratio)
  }
  for (const [model, ratio] of known) if (Number.isFinite(ratio)) set(model, clamp(ratio))
  let changed = new Map<string, number>()
  return {
    ratio: (model) => ratios.get(model) ?? 1,
    least: () => least,
    learn: (model, estimatedTokens, countedTokens) => {
      if (estimatedTokens < leastPrompt || countedTokens <= 0) return
      const old = ratios.get(model) ?? 1
      const next = old + (clamp(countedTokens / estimatedTokens) - old) * share
      set(model, next)
      changed.set(model, next)
    },
    changes: () => {
      const taken = changed
      changed = new Map()
      return taken
    }
  }
}
