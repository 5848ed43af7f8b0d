import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { randomBytes } from "node:crypto"
import type { VaultChange } from "../../src/store/VaultStore.ts"
import type { PasswordSlot } from "../../src/vault/KeyDerivation.ts"
import { applyChange, changeSecrets, createVault, openVault, testOpened } from "../../src/vault/OpenVault.ts"

const slot: PasswordSlot = { kek: randomBytes(64), verifier: randomBytes(32), salt: randomBytes(32), iterations: 600_000 }
const text = (value: string) => Buffer.from(value)
const created = createVault(slot, new Map([["a", text("1")], ["b", text("2")]]))
const vault = Result.getOrThrow(openVault(applyChange(new Map(), created), slot.kek))
const change = changeSecrets(vault, new Map([["c", text("3")]]), ["a"])

describe("the test of a change before it is stored", () => {
  const opens = (changed: Partial<VaultChange>, kek: Uint8Array = slot.kek) => testOpened(vault, { ...change, ...changed }, kek) !== undefined

  it("passes what opens again, and leaves the key that it was given alone", () => {
    const after = testOpened(vault, change, slot.kek)
    assert.deepStrictEqual(Array.from(after?.image.records.keys() ?? []), ["b", "c"])
    after?.kek.fill(0)
    assert.isTrue(opens({}))
  })

  it("refuses what would not open: another key, a bent header, manifest or record, a row too few or too many", () => {
    assert.isFalse(opens({}, randomBytes(64)))
    assert.isFalse(opens({ header: change.header.subarray(1) }))
    assert.isFalse(opens({ manifest: randomBytes(32) }))
    assert.isFalse(opens({ generation: change.generation + 1n }))
    assert.isFalse(opens({ remove: [] }))
    assert.isFalse(opens({ put: new Map() }))
    assert.isFalse(opens({ put: new Map([["c", randomBytes(228)]]) }))
  })

  it("refuses a record that opened before and does not now, though the manifest holds", () => {
    const bent = Buffer.from(vault.image.records.get("b")!)
    bent[150]! ^= 1
    assert.isFalse(opens({ put: new Map([...change.put, ["b", bent]]) }), "the manifest covers its last tag and version only")
  })

  it("passes a record that was broken before", () => {
    const broken = applyChange(new Map(vault.image.records).set("b", Buffer.alloc(3)), created)
    const opened = Result.getOrThrow(openVault({ ...broken, records: new Map(broken.records).set("b", Buffer.alloc(3)) }, slot.kek))
    assert.deepStrictEqual(Array.from(opened.corrupt), ["b"])
    assert.isDefined(testOpened(opened, changeSecrets(opened, new Map([["c", text("3")]]), []), slot.kek))
  })
})
