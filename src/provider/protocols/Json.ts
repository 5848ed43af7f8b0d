/** Reading a vendor's JSON without trusting it: whatever is not of the expected type counts as absent. */

export type Json = { readonly [key: string]: unknown }

export const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

export const objectOf = (value: unknown): Json => (isJson(value) ? value : nothing)

const nothing: Json = {}

export const listOf = (value: unknown): ReadonlyArray<Json> => (!Array.isArray(value) ? none : value.every(isJson) ? value : value.filter(isJson))

const none: ReadonlyArray<Json> = []

/** A text that is not empty. */
export const stringOf = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined)

export const numberOf = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined)

/** A code as text: vendors write numbers too. */
export const codeOf = (value: unknown): string | undefined => (typeof value === "number" ? String(value) : stringOf(value))

/** The fields that have a value: neither undefined nor null goes out to a vendor. */
export const present = (fields: Json): Json => {
  for (const name in fields) if (!isPresent(fields[name])) return Object.fromEntries(Object.entries(fields).filter(([, value]) => isPresent(value)))
  return fields
}

const isPresent = (value: unknown): boolean => value !== undefined && value !== null

/** A tool call's arguments as an object, for vendors that do not take text; text that is no object goes under one name. */
export const argumentsObject = (text: string): Json => {
  if (text.trim() === "") return {}
  try {
    const value: unknown = JSON.parse(text)
    return isJson(value) ? value : { value }
  } catch {
    return { value: text }
  }
}
