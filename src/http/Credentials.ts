/** What a request carries to say who sends it, and whether it comes from this machine itself. Pure functions on headers. */
import { Redacted } from "effect"
import { hashOf } from "../account/ClientKeyFormat.ts"

/** Header values as node gives them: names in lower case, bytes as latin1. */
export interface HeaderView {
  readonly [name: string]: string | undefined
}

/** How often a header stands in node's `rawHeaders`, where names and values alternate. */
export const countOf = (name: string, rawHeaders: ReadonlyArray<string>): number => {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i]
    if (raw !== undefined && raw.length === name.length && raw.toLowerCase() === name) count++
  }
  return count
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

const ascii = /^[\x20-\x7e]*$/

/** The text whose UTF-8 bytes the header carries; bytes that are no UTF-8 stay as they are and match nothing. */
const textOf = (value: string): string => {
  if (ascii.test(value)) return value
  try {
    return utf8.decode(Buffer.from(value, "latin1"))
  } catch {
    return value
  }
}

const bearerScheme = /^bearer +(?=[^ ])/i

const bearerTextOf = (headers: HeaderView): string | undefined => {
  const value = headers["authorization"]
  const scheme = value === undefined ? null : bearerScheme.exec(value)
  return value === undefined || scheme === null ? undefined : textOf(value.slice(scheme[0].length))
}

/** The bearer credential (RFC 6750); undefined: none. */
export const bearerOf = (headers: HeaderView): Redacted.Redacted | undefined => {
  const text = bearerTextOf(headers)
  return text === undefined ? undefined : Redacted.make(text)
}

/** What the bearer credential, or else `x-api-key`, is known by; the secret itself goes no further. undefined: there is none. */
export const clientKeyHashOf = (headers: HeaderView): string | undefined => {
  const key = headers["x-api-key"]
  const secret = bearerTextOf(headers) ?? (key === undefined || key === "" ? undefined : textOf(key))
  return secret === undefined ? undefined : hashOf(secret)
}

const loopbackAddress = /^(?:(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1)$/i
const loopbackHost = /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d{1,5})?$/i
const forwarding = /^(?:forwarded|x-forwarded(?:-.*)?|x-real-ip|via)$/

/**
 * Whether a caller counts as a program on this machine: a loopback peer, no sign of a proxy or a web page, and a `Host` that
 * names the loopback, so that neither a reverse proxy nor a rebound name opens anything (API.md, "Who may call what").
 */
export const isLocal = (remoteAddress: string, headers: HeaderView, rawHeaders: ReadonlyArray<string>): boolean =>
  loopbackAddress.test(remoteAddress)
  && headers["origin"] === undefined
  && countOf("host", rawHeaders) === 1
  && loopbackHost.test(headers["host"] ?? "")
  && !Object.keys(headers).some((name) => forwarding.test(name))
