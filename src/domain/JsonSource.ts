/**
 * A JSON object and the bytes in which it came: what is not changed of it goes on in them, since writing a long text as JSON again
 * costs more than all else that is done with it. Pure functions.
 */
type Json = { readonly [name: string]: unknown }

/** The bytes of a field of the outermost object: from its name to the end of its value. */
interface Field {
  readonly start: number
  readonly end: number
}

/** Where the fields of an object stand in its bytes. */
export interface Outline {
  readonly bytes: Buffer
  readonly fields: ReadonlyArray<Field>
}

export interface JsonSource extends Outline {
  /** What the bytes say. */
  readonly value: Json
}

const quote = 0x22
const comma = 0x2c
const backslash = 0x5c

/** Most strings end within so many bytes, which are looked at sooner than `indexOf` is asked. */
const near = 64

/** The index of the quote that ends the string which begins at `start`; the length of the bytes where none does. */
const endOfString = (bytes: Buffer, start: number): number => {
  let at = start + 1
  for (const far = Math.min(start + near, bytes.length); at < far; at++) {
    if (bytes[at] === quote) return at
    if (bytes[at] === backslash) at++
  }
  while (true) {
    at = bytes.indexOf(quote, at)
    if (at < 0) return bytes.length
    let escapes = 0
    while (bytes[at - 1 - escapes] === backslash) escapes++
    if (escapes % 2 === 0) return at
    at++
  }
}

/**
 * One look over the bytes, strings jumped over; undefined: arrays and objects stand deeper in each other than `deepest`. The fields
 * are those of an object in valid JSON; of anything else they mean nothing.
 */
export const outline = (bytes: Buffer, deepest: number): Outline | undefined => {
  const fields: Array<Field> = []
  let depth = 0
  let start: number | undefined
  const close = (end: number) => {
    if (start !== undefined) fields.push({ start, end })
    start = undefined
  }
  for (let i = 0; i < bytes.length; i++) {
    switch (bytes[i]) {
      case quote:
        if (depth === 1) start ??= i
        i = endOfString(bytes, i)
        break
      case comma:
        if (depth === 1) close(i)
        break
      case 0x5b:
      case 0x7b:
        if (++depth > deepest) return undefined
        break
      case 0x5d:
      case 0x7d:
        if (--depth === 0) close(i)
        break
      default:
    }
  }
  return { bytes, fields }
}

const nameOf = (bytes: Buffer, { start }: Field): string => JSON.parse(bytes.toString("utf8", start, endOfString(bytes, start) + 1))

const fieldOut = (name: string, value: unknown): Buffer => Buffer.from(`${JSON.stringify(name)}:${JSON.stringify(value)}`)

const open = Buffer.from("{")
const between = Buffer.from(",")
const end = Buffer.from("}")

/**
 * The JSON of `wanted`, in the bytes of the source where a field has the very value that it has there. An object that names a field
 * twice is written anew: who reads it may take another of the two than was looked at here.
 */
export const written = ({ bytes, fields, value }: JsonSource, wanted: Json): Buffer => {
  const names = fields.map((field) => nameOf(bytes, field))
  if (new Set(names).size < names.length) return Buffer.from(JSON.stringify(wanted))
  const isKept = (name: string) => Object.hasOwn(value, name) && Object.hasOwn(wanted, name) && wanted[name] === value[name]
  const kept = fields.filter((_, i) => isKept(names[i] ?? ""))
  const others = Object.entries(wanted).filter(([name, value]) => value !== undefined && !isKept(name))
  if (kept.length === fields.length && others.length === 0) return bytes
  const parts = [...kept.map(({ end, start }) => bytes.subarray(start, end)), ...others.map(([name, value]) => fieldOut(name, value))]
  return Buffer.concat([open, ...parts.flatMap((part, i) => (i === 0 ? [part] : [between, part])), end])
}
