/**
 * A JSON object and the bytes in which it came: another that says much the same is sent in them, since writing a long text as JSON
 * again costs more than all else that is done with it. Pure functions.
 */
type Json = { readonly [name: string]: unknown }

/** The bytes of a field of the outermost object: from its name to the end of its value. */
interface Field {
  readonly start: number
  readonly end: number
}

/** What the bytes of a JSON object are made of. */
export interface Outline {
  readonly bytes: Buffer
  readonly fields: ReadonlyArray<Field>
  /** How many fields it and all objects in it have. */
  readonly names: number
}

export interface JsonSource extends Outline {
  /** What the bytes say. */
  readonly value: Json
}

/** Without a byte order mark, which RFC 8259 lets a receiver ignore. */
export const unmarked = (body: Buffer): Buffer => (body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? body.subarray(3) : body)

const quote = 0x22
const comma = 0x2c
const colon = 0x3a
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
 * One look over the bytes, strings jumped over; undefined: arrays and objects stand deeper in each other than `deepest`. What it
 * tells of anything else than an object in valid JSON means nothing.
 */
export const outline = (bytes: Buffer, deepest: number): Outline | undefined => {
  const fields: Array<Field> = []
  let names = 0
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
      case colon:
        names++
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
  return { bytes, fields, names }
}

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null

const namesIn = (value: unknown): number => {
  if (!isObject(value)) return 0
  let names = 0
  if (Array.isArray(value)) { for (const one of value) names += namesIn(one) }
  else for (const name in value) names += 1 + namesIn(value[name])
  return names
}

const isSame = (a: unknown, b: unknown): boolean => {
  if (a === b) return true
  if (!isObject(a) || !isObject(b) || Array.isArray(a) !== Array.isArray(b)) return false
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && isSame(a[name], b[name]))
}

/** A name that JSON and every encoding write alike. */
const plain = /^\w*$/

const nameOf = (bytes: Buffer, { start }: Field): string => {
  const end = endOfString(bytes, start)
  const name = bytes.toString("latin1", start + 1, end)
  return plain.test(name) ? name : JSON.parse(bytes.toString("utf8", start, end + 1))
}

const fieldOut = (name: string, value: unknown): Buffer => Buffer.from(`${JSON.stringify(name)}:${JSON.stringify(value)}`)

const open = Buffer.from("{")
const between = Buffer.from(",")
const end = Buffer.from("}")

/**
 * The JSON of `wanted`: fields that say what those of the source say in the bytes of these. Where an object of the source names a
 * field twice, all is written anew: who reads it may take another of the two than was looked at here.
 */
export const written = ({ bytes, fields, names, value }: JsonSource, wanted: Json): Buffer => {
  if (names !== namesIn(value)) return Buffer.from(JSON.stringify(wanted))
  const kept = new Map(fields.flatMap((field) => {
    const name = nameOf(bytes, field)
    return Object.hasOwn(wanted, name) && isSame(value[name], wanted[name]) ? [[name, field] as const] : []
  }))
  const others = Object.entries(wanted).filter(([name, value]) => value !== undefined && !kept.has(name))
  if (kept.size === fields.length && others.length === 0) return bytes
  const parts = [...Array.from(kept.values(), ({ end, start }) => bytes.subarray(start, end)), ...others.map(([name, value]) => fieldOut(name, value))]
  return Buffer.concat([open, ...parts.flatMap((part, i) => (i === 0 ? [part] : [between, part])), end])
}
