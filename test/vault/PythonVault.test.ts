import { assert, describe, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import { createCipheriv, pbkdf2Sync } from "node:crypto"
import { readPythonVault } from "../../src/vault/PythonVault.ts"

/** Made with Python's hashlib and OpenSSL under the passphrase `correct horse battery staple`. */
const vault = {
  salt: "AAECAwQFBgcICQoLDA0ODw==",
  data: {
    provider_openai_api_key: "AQEBAQEBAQEBAQEBAQEBAYFq/C4Ar2yVmGS5MR6HHyA=",
    provider_my_llm_api_key: "AgICAgICAgICAgICAgICAkWVNiL7tHKD+RZzGpqbFQM=",
    note: "AwMDAwMDAwMDAwMDAwMDA96rdjRu8PnAee9Y8MeuaBQ="
  }
}

const keyOf = (passphrase: string) => pbkdf2Sync(passphrase, Buffer.from(vault.salt, "base64"), 100_000, 32, "sha256")
const key = keyOf("correct horse battery staple")

const read = (file: unknown) => readPythonVault(Buffer.from(typeof file === "string" ? file : JSON.stringify(file)))
const open = (file: unknown, masterKey: Uint8Array) => Result.flatMap(read(file), (sealed) => sealed.open(masterKey))
const fault = (result: Result.Result<unknown, { readonly _tag: string; readonly message: string }>) => Result.getOrThrow(Result.flip(result))

describe("Python vault", () => {
  it("opens under its passphrase, and its providers' keys get the names of this generation", () => {
    const sealed = Result.getOrThrow(read(vault))
    assert.strictEqual(sealed.iterations, 100_000)
    assert.deepStrictEqual(
      Array.from(Result.getOrThrow(sealed.open(key)), ([name, value]) => [name, Redacted.value(value)]),
      [["provider/openai", "sk-python-1"], ["provider/my_llm", "schlüssel-🔑"], ["note", ""]]
    )
  })

  it("names a wrong passphrase", () => {
    assert.strictEqual(fault(open(vault, keyOf("another passphrase")))._tag, "WrongPassword")
  })

  it("names the damaged entry where others open", () => {
    const error = fault(open({ ...vault, data: { ...vault.data, note: vault.data.note.replace("96rd", "96re") } }, key))
    assert.strictEqual(error._tag, "InvalidRequest")
    assert.match(error.message, /entries do not decrypt: note; nothing was imported/)
  })

  it("does not take text that is no UTF-8 for a secret", () => {
    const cipher = createCipheriv("aes-256-cbc", key, Buffer.alloc(16))
    const sealed = Buffer.concat([Buffer.alloc(16), cipher.update(Buffer.of(0xff, 0xfe)), cipher.final()]).toString("base64")
    assert.strictEqual(fault(open({ ...vault, data: { x: sealed } }, key))._tag, "WrongPassword")
  })

  it("says what is malformed", () => {
    const cases: ReadonlyArray<readonly [unknown, RegExp]> = [
      ["{", /not a vault of the Python generation/],
      [[], /not a vault of the Python generation/],
      [{ salt: vault.salt }, /not a vault of the Python generation/],
      [{ ...vault, data: { x: 1 } }, /not a vault of the Python generation/],
      [{ ...vault, salt: "" }, /salt is not base64/],
      [{ ...vault, salt: "??" }, /salt is not base64/],
      [{ ...vault, data: { x: "%" } }, /'x' is not base64/],
      [{ ...vault, data: { x: "AAAA" } }, /'x' is cut short/],
      [{ ...vault, data: { x: Buffer.alloc(33).toString("base64") } }, /'x' is cut short/],
      [{ ...vault, data: { ...vault.data, "provider/openai": vault.data.note } }, /two entries for 'provider\/openai'/]
    ]
    for (const [file, message] of cases) {
      const error = fault(read(file))
      assert.strictEqual(error._tag, "InvalidRequest")
      assert.match(error.message, message)
    }
  })
})
