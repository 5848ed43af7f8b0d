import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import type { LookupAddress } from "node:dns"
import { once } from "node:events"
import type { AddressInfo } from "node:net"
import { connect, createServer } from "node:net"
import type { Resolve } from "../../src/provider/EgressGuard.ts"
import { checkBaseUrl, guardedLookup, LookupError, reachOf } from "../../src/provider/EgressGuard.ts"

describe("checkBaseUrl", () => {
  const never = [
    "http://0.0.0.0",
    "http://0/v1",
    "http://169.254.169.254/latest/meta-data",
    "http://169.254.170.2",
    "http://[::ffff:169.254.169.254]",
    "http://[::ffff:a9fe:a9fe]/v1",
    "http://[::169.254.169.254]",
    "http://[64:ff9b::a9fe:a9fe]",
    "http://0xa9fea9fe",
    "http://2852039166",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://100.100.100.200",
    "http://168.63.129.16",
    "http://192.0.0.192",
    "http://192.0.2.1",
    "http://198.18.0.1",
    "http://224.0.0.1",
    "http://239.255.255.250",
    "http://255.255.255.255",
    "http://240.0.0.1",
    "http://[::]",
    "http://[fe80::1]",
    "http://[ff02::1]",
    "http://[fd00:ec2::254]",
    "http://[2002:a9fe:a9fe::1]",
    "http://[2001:0:53aa:64c::1]",
    "http://[2001:db8::1]",
    "http://[fec0::1]",
    "http://[fd20:ce::254]",
    "http://[5f00::1]",
    "http://[3fff::1]",
    "http://192.88.99.1",
    "http://198.51.100.7",
    "http://[100::1]",
    "http://[64:ff9b:1::1]",
    "http://[::ffff:0:169.254.169.254]",
    "http://203.0.113.9",
    "http://instance-data/latest",
    "http://metadata.google.internal/computeMetadata/v1",
    "http://METADATA.google.internal./v1",
    "http://metadata",
    "http://①⑥⑨.254.169.254",
    "ftp://api.example.com",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/plain,hello",
    "gopher://127.0.0.1:6379/_PING",
    "//api.example.com",
    "api.example.com",
    "http:api.example.com",
    "http:\\\\api.example.com",
    "http://api.example.com\\@169.254.169.254",
    "http://user@api.example.com",
    "http://user:password@api.example.com",
    "http://:password@api.example.com",
    "http://@169.254.169.254",
    "https://api.example.com/v1?key=secret",
    "https://api.example.com/v1#fragment",
    "https://api.example.com/v1\r\nx-evil: 1",
    "https://api.exa mple.com",
    "https://api.example.com:0/v1",
    "https://api.example.com:99999/v1",
    "http://[::1",
    "http://",
    "https:///v1",
    "",
    `https://api.example.com/${"a".repeat(3000)}`
  ]
  const ownNetwork = [
    "http://127.0.0.1:8080",
    "http://127.1",
    "http://2130706433",
    "http://0x7f000001",
    "http://0177.0.0.1",
    "http://127.0.0.1./v1",
    "http://10.1.2.3",
    "http://172.16.0.1",
    "http://172.31.255.255",
    "http://192.168.1.1",
    "http://100.64.0.1",
    "http://[::1]:11434/v1",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:10.0.0.1]",
    "http://[64:ff9b::7f00:1]",
    "http://[fd12:3456::1]"
  ]
  it("is tried on sixty and more", () => assert.isAtLeast(new Set([...never, ...ownNetwork]).size, 60))

  for (const url of never) {
    it(`refuses ${JSON.stringify(url.slice(0, 60))} always`, () => {
      assert.isTrue(Result.isFailure(checkBaseUrl(url, false)))
      assert.isTrue(Result.isFailure(checkBaseUrl(url, true)))
    })
  }

  for (const url of ownNetwork) {
    it(`takes ${url} only where private addresses are allowed`, () => {
      assert.isTrue(Result.isFailure(checkBaseUrl(url, false)))
      assert.isTrue(Result.isSuccess(checkBaseUrl(url, true)))
    })
  }

  const mended: ReadonlyArray<readonly [string, string]> = [
    ["https://api.openai.com/v1", "https://api.openai.com/v1"],
    [" https://API.openai.com/v1/ ", "https://api.openai.com/v1"],
    ["https://api.openai.com//v1//", "https://api.openai.com/v1"],
    ["https://api.openai.com/v1/v1", "https://api.openai.com/v1"],
    ["https://api.openai.com/v1/v1/", "https://api.openai.com/v1"],
    ["https://api.anthropic.com/", "https://api.anthropic.com"],
    ["https://example.com/openai/v1/v1", "https://example.com/openai/v1"],
    ["https://example.com/v1x/v1", "https://example.com/v1x/v1"],
    ["https://generativelanguage.googleapis.com/v1beta/v1beta", "https://generativelanguage.googleapis.com/v1beta"],
    ["http://8.8.8.8:443/v1", "http://8.8.8.8:443/v1"],
    ["https://[2606:4700::1111]/v1", "https://[2606:4700::1111]/v1"],
    ["http://172.32.0.1", "http://172.32.0.1"]
  ]
  for (const [given, good] of mended) {
    it(`makes ${JSON.stringify(given)} ${good}`, () => assert.deepStrictEqual(checkBaseUrl(given, false), Result.succeed(good)))
  }
})

describe("reachOf", () => {
  it("takes what is no address for never, and ignores a zone", () => {
    assert.strictEqual(reachOf("example.com"), "never")
    assert.strictEqual(reachOf(""), "never")
    assert.strictEqual(reachOf("fe80::1%eth0"), "never")
    assert.strictEqual(reachOf("1.1.1.1"), "public")
  })
})

describe("guardedLookup", () => {
  const four = (address: string): LookupAddress => ({ address, family: 4 })
  const resolveTo = (...addresses: ReadonlyArray<LookupAddress>): Resolve => (_, done) => done(null, addresses)
  const look = (allowPrivate: boolean, resolve: Resolve, all = true, name = "api.example.com") =>
    new Promise<unknown>((done) => guardedLookup(allowPrivate, resolve, 50)(name, { all }, (error, address) => done(error ?? address)))

  it("refuses a name that resolves to a special address, whatever is allowed", async () => {
    for (const allowPrivate of [false, true]) {
      const error = await look(allowPrivate, resolveTo(four("169.254.169.254")))
      assert.instanceOf(error, LookupError)
      assert.propertyVal(error, "code", "EGRESS_REFUSED")
    }
  })

  it("refuses a name that resolves to a private address, unless that is allowed", async () => {
    assert.propertyVal(await look(false, resolveTo(four("127.0.0.1"))), "code", "EGRESS_REFUSED")
    assert.deepStrictEqual(await look(true, resolveTo(four("127.0.0.1"))), [four("127.0.0.1")])
  })

  it("gives only the good ones of several addresses, so that no other is connected to", async () => {
    const mixed = resolveTo(four("10.0.0.1"), four("93.184.216.34"), { address: "::ffff:127.0.0.1", family: 6 })
    assert.deepStrictEqual(await look(false, mixed), [four("93.184.216.34")])
    assert.strictEqual(await look(false, mixed, false), "93.184.216.34")
  })

  it("refuses a metadata service's name without asking what it resolves to", async () => {
    const never: Resolve = () => assert.fail("resolved")
    assert.propertyVal(await look(true, never, true, "metadata.google.internal"), "code", "EGRESS_REFUSED")
  })

  it("asks once for each connection, so that a name that is rebound meanwhile leads nowhere else than to the address that was checked", async () => {
    const server = createServer((socket) => socket.on("error", () => {}).resume()).listen(0, "127.0.0.1")
    await once(server, "listening")
    const { port } = server.address() as AddressInfo
    const asked: Array<string> = []
    // Each answer of this name server differs from the one before, as in an attack by rebinding.
    const answers = ["127.0.0.1", "169.254.169.254", "::ffff:169.254.169.254", "127.0.0.1", "0.0.0.0"]
    const rebinding: Resolve = (_, done) => {
      const address = answers[asked.length] ?? ""
      asked.push(address)
      done(null, [{ address, family: address.includes(":") ? 6 : 4 }])
    }
    const reach = () =>
      new Promise<string>((resolve) => {
        const socket = connect({ host: "rebound.example", port, lookup: guardedLookup(true, rebinding) })
        socket.on("connect", () => resolve(socket.remoteAddress ?? ""))
        socket.on("connect", () => socket.destroy())
        socket.on("error", (error) => resolve("code" in error ? String(error.code) : error.message))
      })
    const reached: Array<string> = []
    for (const _ of answers) reached.push(await reach())
    assert.deepStrictEqual(reached, ["127.0.0.1", "EGRESS_REFUSED", "EGRESS_REFUSED", "127.0.0.1", "EGRESS_REFUSED"])
    assert.deepStrictEqual(asked, answers, "one question a connection")
    server.close()
  })

  it("gives up on a name that does not resolve, or not in time", async () => {
    assert.propertyVal(await look(false, (_, done) => done(new Error("ENOTFOUND"), [])), "code", "NAME_NOT_RESOLVED")
    assert.propertyVal(await look(false, resolveTo()), "code", "NAME_NOT_RESOLVED")
    assert.propertyVal(await look(false, () => {}), "code", "NAME_NOT_RESOLVED")
  })
})
