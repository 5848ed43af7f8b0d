/** The last guard before a text leaves the process: what looks like a key is cut out, wherever it came from. */

const mark = "[redacted]"

/**
 * Client keys of TokenHub, the prefixes of the big vendors' keys (OpenAI and Anthropic `sk-`, Groq `gsk_`, xAI `xai-`,
 * Google `AIza`, Perplexity `pplx-`, Hugging Face `hf_`), and the credentials of `Authorization` headers.
 */
const keys = new RegExp(
  [
    "\\b(?:th_[0-9A-Za-z]{20,}|sk-[\\w-]{8,}|gsk_\\w{16,}|xai-\\w{16,}|AIza[\\w-]{30,}|pplx-\\w{16,}|hf_[0-9A-Za-z]{16,})",
    "\\b(?<scheme>Bearer|Basic) +[\\w+/.~=-]{8,}"
  ].join("|"),
  "g"
)

/** The text without anything that looks like a key. */
export const scrub = (text: string): string =>
  text.replace(keys, (_match, scheme: string | undefined) => (scheme === undefined ? mark : `${scheme} ${mark}`))
