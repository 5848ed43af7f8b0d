/** Tool calls in Anthropic's form, where the canonical one is wider: input is an object, and ids have few characters. */

type Input = { readonly [name: string]: unknown }

const isObject = (value: unknown): value is Input => typeof value === "object" && value !== null && !Array.isArray(value)

/** Where Anthropic's documentation ("Fine-grained tool streaming") puts arguments that are no JSON object. */
const malformed = "INVALID_JSON"

/** Arguments as an input: text that is no JSON object goes under `INVALID_JSON`, so that nothing of it is lost. */
export const inputOf = (text: string): Input => {
  if (text.trim() === "") return {}
  try {
    const value: unknown = JSON.parse(text)
    if (isObject(value)) return value
  } catch {
    // It goes on as text.
  }
  return { [malformed]: text }
}

/** The inverse of `inputOf`: JSON text. */
export const argumentsOf = (input: unknown): string => {
  if (!isObject(input)) return input === undefined || input === null ? "{}" : JSON.stringify(input)
  const text = input[malformed]
  return typeof text === "string" && Object.keys(input).length === 1 ? text : JSON.stringify(input)
}

const allowed = /^[\w-]+$/

/** Marks ids that stand for another vendor's, in base64url. */
const prefix = "th_"

/** A tool call's id as Anthropic takes it: letters, digits, underscore and hyphen. */
export const toolUseId = (id: string): string =>
  allowed.test(id) && !id.startsWith(prefix) ? id : prefix + Buffer.from(id).toString("base64url")

/** The inverse of `toolUseId`. */
export const toolCallId = (id: string): string => {
  if (!id.startsWith(prefix)) return id
  const original = Buffer.from(id.slice(prefix.length), "base64url").toString()
  return toolUseId(original) === id ? original : id
}
