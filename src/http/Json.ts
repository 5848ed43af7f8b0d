/** JSON from strangers: what is looked at before and after it is parsed (FAULTS.md rows 60 to 62). Pure functions. */
import { isUtf8 } from "node:buffer"
import { Result } from "effect"
import type { JsonSource } from "../domain/JsonSource.ts"
import { outline, unmarked } from "../domain/JsonSource.ts"
import { InvalidRequest } from "../domain/RequestError.ts"

const deepest = 64

/** A path as errors show it: `messages[3].content`. */
export const formatPath = (path: ReadonlyArray<PropertyKey>): string =>
  path.reduce<string>(
    (text, key) => (typeof key === "number" ? `${text}[${key}]` : text === "" ? String(key) : `${text}.${String(key)}`),
    ""
  )

/** The path of a key that reaches for a prototype, in plain data where it has no business; undefined: there is none. */
const prototypeKey = (value: unknown, path: ReadonlyArray<PropertyKey>, free: ReadonlySet<string>): ReadonlyArray<PropertyKey> | undefined => {
  if (typeof value !== "object" || value === null) return undefined
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = prototypeKey(value[i], [...path, i], free)
      if (found !== undefined) return found
    }
    return undefined
  }
  for (const [key, inner] of Object.entries(value)) {
    const at = [...path, key]
    if (key === "__proto__" || (key === "constructor" && typeof inner === "object" && inner !== null)) return at
    if (path.length === 0 && free.has(key)) continue
    const found = prototypeKey(inner, at, free)
    if (found !== undefined) return found
  }
  return undefined
}

/**
 * Whether the names of such keys stand in the text at all, as they are or by escapes: most bodies need no walk then, which
 * costs ten times what parsing does where there are many small values. A quote is rarer in a long text than the letters of a name.
 */
const mayReach = (text: string): boolean => text.includes("\"__proto__\"") || text.includes("\"constructor\"") || text.includes("\\u00")

const invalid = (message: string, param?: string): Result.Result<never, InvalidRequest> =>
  Result.fail(new InvalidRequest({ message, code: "invalid_json", ...(param === undefined ? {} : { param }) }))

/** What a parser found wrong. V8 quotes the text around some faults, which may be a key: that is not handed on. */
const faultOf = (error: unknown): string =>
  error instanceof Error ? error.message.replace(/, (?:\.\.\.)?".*"(?:\.\.\.)? is not valid JSON$/s, "") : "it can't be parsed"

const none: ReadonlySet<string> = new Set()

/** What the bytes of a body say; `source`: where it is an object. */
export interface Parsed {
  readonly value: unknown
  readonly source: JsonSource | undefined
}

/**
 * Parses the bytes of a body: valid UTF-8, with or without a byte order mark, at most 64 deep, without keys that reach for a
 * prototype. `free` names top-level fields whose content is the caller's own data (JSON schemas) and may have such keys.
 */
export const parse = (bytes: Buffer, free = none): Result.Result<Parsed, InvalidRequest> => {
  const body = unmarked(bytes)
  if (body.length === 0) return invalid("The body is empty; JSON is expected")
  if (!isUtf8(body)) return invalid("The body is not valid UTF-8")
  const made = outline(body, deepest)
  if (made === undefined) return invalid(`The body is nested deeper than ${deepest} levels`)
  const text = body.toString("utf8")
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return invalid(`The body is not valid JSON: ${faultOf(error)}`)
  }
  const found = mayReach(text) ? prototypeKey(value, [], free) : undefined
  return found === undefined
    ? Result.succeed({ value, source: isRecord(value) ? { ...made, value } : undefined })
    : invalid(`The field '${formatPath(found)}' has a name that is not allowed`, formatPath(found))
}

/** `{[name]: value}`, or nothing where the value is absent or null. */
export const defined = <K extends string, A>(name: K, value: A | null | undefined): { readonly [P in K]?: A } =>
  // A computed key widens to an index signature.
  value === null || value === undefined ? {} : { [name]: value } as { readonly [P in K]: A }

/** `f(value)`, or undefined where the value is absent or null. */
export const mapped = <A, B>(value: A | null | undefined, f: (value: A) => B): B | undefined =>
  value === null || value === undefined ? undefined : f(value)

export const isRecord = (value: unknown): value is { readonly [name: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Top-level fields of any client protocol whose content is JSON Schema, the client's own data. */
export const schemaFields: ReadonlySet<string> = new Set(["tools", "response_format", "output_config", "output_format", "text", "functions"])
