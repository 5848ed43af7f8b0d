import { assert, describe, it } from "@effect/vitest"
import { groupOf, isShared } from "../../src/account/ClientAddress.ts"

describe("A caller's address", () => {
  it.each([
    ["203.0.113.7", "203.0.113.7"],
    ["::ffff:203.0.113.7", "203.0.113.7"],
    ["2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"],
    ["2001:DB8::1", "2001:db8:0:0::/64"],
    ["2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["::", "0:0:0:0::/64"],
    ["a socket", "unknown"],
    ["", "unknown"]
  ])("%s is counted as %s", (address, group) => assert.strictEqual(groupOf(address), group))

  it.each([
    ["127.0.0.1", true],
    ["::1", true],
    ["10.1.2.3", true],
    ["172.31.0.1", true],
    ["172.32.0.1", false],
    ["192.168.1.1", true],
    ["100.64.0.1", true],
    ["fd00::1", true],
    ["fe80::1%eth0", true],
    ["203.0.113.7", false],
    ["2001:db8::1", false]
  ])("%s may stand for many: %s", (address, shared) => assert.strictEqual(isShared(groupOf(address)), shared))
})
