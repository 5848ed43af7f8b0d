import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import { adminPasswordFault, hasPasswordLength, passwordFault } from "../../src/vault/Passwords.ts"

const fault = (password: string) => passwordFault(Redacted.make(password))

describe("password rule", () => {
  it("counts bytes of UTF-8, from 8 to 1,024", () => {
    assert.match(fault("a1b2c3d")!, /8 to 1024 bytes/)
    assert.isUndefined(fault("a1b2c3d4"))
    assert.isUndefined(fault("ключ"), "four letters of two bytes")
    assert.isUndefined(fault("x".repeat(1024)))
    assert.match(fault("x".repeat(1025))!, /8 to 1024 bytes/)
    assert.isFalse(hasPasswordLength(Redacted.make("")))
  })

  it("refuses the famous ones in any case", () => {
    for (const password of ["password", "PassWord", "12345678", "changeme", "tokenhub"]) assert.match(fault(password)!, /every guesser/)
  })

  it("refuses what is no Unicode text, since different ones would be the same bytes", () => {
    assert.match(fault("\ud800 abcdefgh")!, /valid Unicode/)
  })

  it("refuses an admin password that no header carries, though an export may be under it", () => {
    for (const password of [" a long one", "a long one ", "a long\none", "a long\tone", "a long one\u0085"]) {
      assert.match(adminPasswordFault(Redacted.make(password))!, /no HTTP header carries/)
      assert.isUndefined(fault(password))
    }
    for (const password of ["a long one", "пароль долгий", "tränenüberströmt", "\u00a0a long one\u00a0"]) {
      assert.isUndefined(adminPasswordFault(Redacted.make(password)))
    }
    assert.match(adminPasswordFault(Redacted.make("password"))!, /every guesser/)
  })

  it("never repeats the password", () => {
    for (const password of ["short", "password", "x".repeat(1025)]) assert.notInclude(fault(password)!, password)
  })
})
