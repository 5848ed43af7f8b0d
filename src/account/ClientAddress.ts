/** Addresses of callers, as counters see them. */
import { BlockList, isIP } from "node:net"

const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/** Loopback, private, link-local and carrier-grade NAT ranges: many callers may share one address of them. */
const shared = new BlockList()
shared.addSubnet("127.0.0.0", 8, "ipv4")
shared.addSubnet("10.0.0.0", 8, "ipv4")
shared.addSubnet("172.16.0.0", 12, "ipv4")
shared.addSubnet("192.168.0.0", 16, "ipv4")
shared.addSubnet("169.254.0.0", 16, "ipv4")
shared.addSubnet("100.64.0.0", 10, "ipv4")
shared.addSubnet("fc00::", 7, "ipv6")
shared.addSubnet("fe80::", 10, "ipv6")

/** The first four of an IPv6 address's eight groups, `::` written out and zeros in front left out. */
const prefix64 = (address: string): string => {
  const [head = "", tail] = address.split("::")
  const left = head === "" ? [] : head.split(":")
  const right = tail === undefined || tail === "" ? [] : tail.split(":")
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length)
  return [...left, ...Array<string>(zeros).fill("0"), ...right]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")
}

/**
 * The name under which an address is counted: an IPv4 address, also one mapped into IPv6, as it is; an IPv6 address by its
 * /64, since a caller owns at least that many; anything else is `unknown`.
 */
export const groupOf = (address: string): string => {
  const plain = address.split("%", 1)[0] ?? ""
  const v4 = mapped.exec(plain)?.[1] ?? plain
  switch (isIP(v4)) {
    case 4:
      return v4
    case 6:
      return `${prefix64(v4)}::/64`
    default:
      return "unknown"
  }
}

/** Whether a group may stand for many callers, so that one of them must not lock out the others for long. */
export const isShared = (group: string): boolean => {
  const address = group.endsWith("::/64") ? group.slice(0, -3) : group
  // The /64 of the IPv6 loopback address.
  if (address === "0:0:0:0::") return true
  const version = isIP(address)
  return version === 0 || shared.check(address, version === 4 ? "ipv4" : "ipv6")
}
