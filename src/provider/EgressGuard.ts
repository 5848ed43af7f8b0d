/** Where TokenHub may connect to: checks of base URLs, and of addresses after name resolution (FAULTS.md, outgoing requests). */
import { Result } from "effect"
import type { LookupAddress } from "node:dns"
import { lookup as systemLookup } from "node:dns"
import type { LookupFunction } from "node:net"
import { BlockList, isIP } from "node:net"

/** `never`: special ranges that no provider lives in. `private`: networks of one's own, allowed on request. */
export type Reach = "public" | "private" | "never"

const blockList = (ranges: ReadonlyArray<string>): BlockList => {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = "", bits = ""] = range.split("/")
    list.addSubnet(address, Number(bits), isIP(address) === 6 ? "ipv6" : "ipv4")
  }
  return list
}

/** The special-purpose registries of IANA (RFC 6890 and successors), and the metadata services of clouds. */
const never = blockList([
  "0.0.0.0/8",
  "100.100.100.200/32",
  "168.63.129.16/32",
  "169.254.0.0/16",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/128",
  "64:ff9b:1::/48",
  "100::/64",
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
  "5f00::/16",
  "fd00:ec2::254/128",
  "fd20:ce::254/128",
  "fe80::/10",
  "fec0::/10",
  "ff00::/8"
])

const ownNetworks = blockList([
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "::1/128",
  "fc00::/7"
])

/** The eight 16-bit groups of an IPv6 address; undefined where it is none. */
const groupsOf = (address: string): ReadonlyArray<number> | undefined => {
  if (!URL.canParse(`http://[${address}]/`)) return undefined
  const [head = "", tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split("::")
  const hex = (part: string) => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)))
  const left = hex(head)
  const right = tail === undefined ? [] : hex(tail)
  return [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right]
}

/** The IPv4 address that an IPv6 one stands for: mapped, compatible (RFC 4291) or behind NAT64 (RFC 6052). */
const embedded = (address: string): string | undefined => {
  const groups = groupsOf(address)
  if (groups === undefined) return undefined
  const [a, b, c, d, e, f, high = 0, low = 0] = groups
  const zeros = a === 0 && b === 0 && c === 0 && d === 0
  const mapped = zeros && e === 0 && f === 0xffff
  const translated = zeros && e === 0xffff && f === 0
  const compatible = zeros && e === 0 && f === 0 && (high !== 0 || low > 1)
  const nat64 = a === 0x64 && b === 0xff9b && c === 0 && d === 0 && e === 0 && f === 0
  return mapped || translated || compatible || nat64
    ? `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
    : undefined
}

/** What kind of address this is; anything that is no address is `never`. */
export const reachOf = (address: string): Reach => {
  const plain = address.split("%")[0] ?? ""
  const family = isIP(plain)
  if (family === 0) return "never"
  const inner = family === 6 ? embedded(plain) : undefined
  if (inner !== undefined) return reachOf(inner)
  const type = family === 6 ? "ipv6" : "ipv4"
  return never.check(plain, type) ? "never" : ownNetworks.check(plain, type) ? "private" : "public"
}

const allowed = (reach: Reach, allowPrivate: boolean): boolean => reach === "public" || (reach === "private" && allowPrivate)

/** Names of metadata services: refused before anyone is asked what they resolve to. */
const metadataName = /^(metadata|instance-data|metadata\.google\.internal|metadata\.goog)$/

/** A URL's host as `isIP` takes it. */
const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "").toLowerCase()

const refusal = (host: string, allowPrivate: boolean): string | undefined => {
  if (metadataName.test(host)) return `${host} is the name of a metadata service`
  if (isIP(host) === 0) return undefined
  const reach = reachOf(host)
  return allowed(reach, allowPrivate)
    ? undefined
    : reach === "private"
    ? `${host} is a private address, which only local providers, allow_private or TOKENHUB_ALLOW_PRIVATE_UPSTREAMS=true may use`
    : `${host} is in a range that is never called`
}

/**
 * Checks a base URL as an admin gave it and mends its slashes and a doubled `/v1`: the URL without a trailing slash, or one
 * sentence on what is wrong. Names are not resolved here; `guardedLookup` does that for each connection.
 */
export const checkBaseUrl = (raw: string, allowPrivate: boolean): Result.Result<string, string> => {
  const text = raw.trim()
  if (text.length > 2048) return Result.fail("is longer than 2,048 characters")
  if (!URL.canParse(text)) return Result.fail("is not a URL")
  // The URL parser takes "http:host", "http:\\host" and line breaks, which people read differently.
  if (!/^https?:\/\/[^/\\]/i.test(text)) return Result.fail("must begin with http:// or https://")
  if (/[\s\\\p{Cc}]/u.test(text)) return Result.fail("holds white space or a backslash")
  const url = new URL(text)
  if (url.username !== "" || url.password !== "" || text.slice(8).split(/[/?#]/)[0]?.includes("@")) {
    return Result.fail("must not hold a user name or password")
  }
  if (text.includes("?") || text.includes("#")) return Result.fail("must not hold a query or a fragment")
  if (url.port === "0") return Result.fail("names port 0")
  const refused = refusal(hostOf(url), allowPrivate)
  if (refused !== undefined) return Result.fail(`is refused: ${refused}`)
  const path = url.pathname.replace(/\/{2,}/g, "/").replace(/(\/v1(?:beta)?)(?:\1)+(?=\/|$)/g, "$1").replace(/\/$/, "")
  return Result.succeed(url.origin + path)
}

/** An error of `guardedLookup`, told apart by its code. */
export class LookupError extends Error {
  readonly code: "EGRESS_REFUSED" | "NAME_NOT_RESOLVED"
  constructor(code: LookupError["code"], message: string) {
    super(message)
    this.code = code
  }
}

/** What finds all addresses of a name: node's `dns.lookup`, or a test's. */
export type Resolve = (name: string, done: (error: Error | null, addresses: ReadonlyArray<LookupAddress>) => void) => void

const system: Resolve = (name, done) => systemLookup(name, { all: true }, (error, addresses) => done(error, addresses))

/** The longest wait for a name (FAULTS.md row 35), in milliseconds. */
const resolutionLimitMs = 2000

/**
 * A `lookup` for sockets that gives only addresses which may be called, so that the address that was checked is the one
 * that is connected to. Fails with a `LookupError` within two seconds.
 */
export const guardedLookup = (allowPrivate: boolean, resolve: Resolve = system, limitMs = resolutionLimitMs): LookupFunction =>
(name, options, callback) => {
  let settled = false
  const settle = (error: LookupError | null, addresses: ReadonlyArray<LookupAddress>) => {
    if (settled) return
    settled = true
    clearTimeout(timer)
    const [first] = addresses
    if (error !== null || first === undefined) callback(error ?? new LookupError("NAME_NOT_RESOLVED", `${name} has no address`), "", 0)
    else if (options.all === true) callback(null, [...addresses])
    else callback(null, first.address, first.family)
  }
  const timer = setTimeout(() => settle(new LookupError("NAME_NOT_RESOLVED", `${name} did not resolve in time`), []), limitMs)
  const host = name.replace(/\.$/, "").toLowerCase()
  const refused = refusal(host, allowPrivate)
  if (refused !== undefined) return settle(new LookupError("EGRESS_REFUSED", refused), [])
  resolve(name, (error, addresses) => {
    if (error !== null || addresses.length === 0) {
      return settle(new LookupError("NAME_NOT_RESOLVED", `${name} does not resolve`), [])
    }
    const good = addresses.filter(({ address }) => allowed(reachOf(address), allowPrivate))
    const wanted = options.family === 4 || options.family === 6 ? good.filter(({ family }) => family === options.family) : good
    settle(good.length === 0 ? new LookupError("EGRESS_REFUSED", `${name} resolves to an address that may not be called`) : null, wanted)
  })
}
