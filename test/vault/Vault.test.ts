import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Metric, Redacted, Result } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Settings } from "../../src/Settings.ts"
import { StoreError } from "../../src/store/StoreError.ts"
import { Prometheus } from "../../src/telemetry/Prometheus.ts"
import { openSecret, type Root } from "../../src/vault/Envelope.ts"
import { DerivationBusy, KeyDerivation, passwordSlot } from "../../src/vault/KeyDerivation.ts"
import { openVault } from "../../src/vault/OpenVault.ts"
import { Vault } from "../../src/vault/Vault.ts"
import { makeMemoryVaultStore, type MemoryVaultStore, quickKeyDerivation } from "../support/VaultDoubles.ts"

const password = "correct horse battery"
const secret = Redacted.make<string>

/** One start of TokenHub on this database, up to its end. */
const started = <A, E>(
  store: MemoryVaultStore,
  use: (vault: Vault["Service"]) => Effect.Effect<A, E>,
  environment: { readonly [name: string]: string } = {},
  derivation: Layer.Layer<KeyDerivation> = quickKeyDerivation
) =>
  Effect.flatMap(Vault, use).pipe(
    // Two starts in one test are two processes.
    Effect.provide(Layer.fresh(Vault.layer).pipe(Layer.provide([
      store.layer,
      derivation,
      Settings.layerTest({ TOKENHUB_ADMIN_PASSWORD: password, TOKENHUB_VAULT_ITERATIONS: "100000", ...environment })
    ])))
  )

const text = (vault: Vault["Service"], name: string) => Effect.map(vault.get(name), Redacted.value)
const tag = <A, E extends { readonly _tag: string }>(effect: Effect.Effect<A, E>) => Effect.map(Effect.flip(effect), (error) => error._tag)

/** The lines that the effect logs, as `Level text`. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
    return Effect.as(Effect.provide(effect, Logger.layer([logger])), lines)
  })

/** The root key of a stored vault, as whoever has its bytes and its password finds it. */
const rootOf = (image: MemoryVaultStore["image"], password: string) =>
  Effect.gen(function*() {
    const derivation = yield* KeyDerivation
    const header = Buffer.from(image!.header)
    const { kek } = yield* passwordSlot(derivation, secret(password), { salt: header.subarray(13, 45), iterations: header.readUInt32BE(8) })
    return Result.getOrThrow(openVault(image!, kek)).root
  }).pipe(Effect.provide(quickKeyDerivation))

const filled = Effect.fnUntraced(function*() {
  const store = makeMemoryVaultStore()
  yield* started(store, (vault) =>
    Effect.gen(function*() {
      yield* vault.put("provider/a", secret("key of a"))
      yield* vault.put("provider/b", secret("key of b"))
    }))
  return store
})

const withRecords = (store: MemoryVaultStore, change: (records: Map<string, Uint8Array>) => void) => {
  const records = new Map(store.image!.records)
  change(records)
  store.image = { ...store.image!, records }
}

const flip = (bytes: Uint8Array, at: number) => {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at)
  return copy
}

describe("first start", () => {
  it.effect("makes a vault under the environment's password, with real derivations, that the next start opens", () =>
    Effect.gen(function*() {
      const store = makeMemoryVaultStore()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* vault.status, {
            state: "unlocked", generation: 1n, secrets: [], iterations: 100_000, corrupt: []
          })
          yield* vault.put("provider/openai", secret("schlüssel-🔑"))
        }), {}, KeyDerivation.layer)
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* text(vault, "provider/openai"), "schlüssel-🔑")
          assert.strictEqual((yield* vault.status).generation, 2n)
        }), {}, KeyDerivation.layer)
    }))

  it.effect("stops with one line for a password that may not be used, and makes nothing", () =>
    Effect.gen(function*() {
      const store = makeMemoryVaultStore()
      const error = yield* Effect.flip(started(store, () => Effect.void, { TOKENHUB_ADMIN_PASSWORD: "password" }))
      assert.strictEqual(error._tag, "SettingsError")
      assert.match(error.message, /^TOKENHUB_ADMIN_PASSWORD is one of those that every guesser/)
      assert.isUndefined(store.image)
    }))

  it.effect("takes the vault of another process that was first", () =>
    Effect.gen(function*() {
      const store = makeMemoryVaultStore()
      const other = makeMemoryVaultStore()
      yield* started(other, (vault) => vault.put("x", secret("of the other")))
      // The other's vault appears while this process derives for its own.
      const late = Layer.effect(
        KeyDerivation,
        Effect.map(KeyDerivation, (quick) =>
          KeyDerivation.of({
            derive: (...args) => Effect.tap(quick.derive(...args), () => Effect.sync(() => void (store.image ??= other.image)))
          }))
      ).pipe(Layer.provide(quickKeyDerivation))
      assert.strictEqual(yield* started(store, (vault) => text(vault, "x"), {}, late), "of the other")
    }))

  it.effect("takes the secrets of TOKENHUB_VAULT_IMPORT with it, once", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tokenhub-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(folder, "vault.export")
      writeFileSync(path, yield* started(yield* filled(), (vault) => vault.export(secret("a passphrase"))))
      const environment = { TOKENHUB_VAULT_IMPORT: path, TOKENHUB_VAULT_IMPORT_PASSPHRASE: "a passphrase" }
      const store = makeMemoryVaultStore()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
          yield* vault.remove("provider/a")
        }), environment)
      rmSync(path)
      yield* started(store, (vault) => Effect.map(vault.status, ({ secrets }) => assert.deepStrictEqual(secrets, ["provider/b"])), environment)
    }))

  it.effect("takes a vault of the Python generation with it likewise", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tokenhub-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(folder, "vault.json")
      writeFileSync(path, JSON.stringify({ salt: "AAECAwQFBgcICQoLDA0ODw==", data: { provider_openai_api_key: "AQEBAQEBAQEBAQEBAQEBAYFq/C4Ar2yVmGS5MR6HHyA=" } }))
      const environment = { TOKENHUB_VAULT_IMPORT: path, TOKENHUB_VAULT_IMPORT_PASSPHRASE: "correct horse battery staple" }
      const store = makeMemoryVaultStore()
      yield* started(store, (vault) =>
        Effect.map(text(vault, "provider/openai"), (value) => assert.strictEqual(value, "sk-python-1")), environment, KeyDerivation.layer)
      assert.strictEqual(store.image!.generation, 1n, "with the vault, in one change")
    }))

  it.effect("makes a root key of its own each time", () =>
    Effect.gen(function*() {
      const roots = yield* Effect.forEach(["a", "b"], () =>
        Effect.gen(function*() {
          const store = makeMemoryVaultStore()
          yield* started(store, () => Effect.void)
          return yield* rootOf(store.image, password)
        }))
      assert.notDeepEqual(roots[0]?.rk, roots[1]?.rk)
      assert.notDeepEqual(roots[0]?.vaultId, roots[1]?.vaultId)
    }))

  it.effect("stops, and makes nothing, where TOKENHUB_VAULT_IMPORT can't be taken", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tokenhub-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(folder, "vault.export")
      writeFileSync(path, yield* started(yield* filled(), (vault) => vault.export(secret("a passphrase"))))
      const cases: ReadonlyArray<readonly [{ readonly [name: string]: string }, RegExp]> = [
        [{ TOKENHUB_VAULT_IMPORT: join(folder, "none") }, /PASSPHRASE must be set/],
        [{ TOKENHUB_VAULT_IMPORT: join(folder, "none"), TOKENHUB_VAULT_IMPORT_PASSPHRASE: "a passphrase" }, /can't be read/],
        [{ TOKENHUB_VAULT_IMPORT: path, TOKENHUB_VAULT_IMPORT_PASSPHRASE: "another" }, /passphrase does not open/]
      ]
      for (const [environment, message] of cases) {
        const store = makeMemoryVaultStore()
        const error = yield* Effect.flip(started(store, () => Effect.void, environment))
        assert.strictEqual(error._tag, "SettingsError")
        assert.match(error.message, message)
        assert.isUndefined(store.image)
      }
    }))
})

describe("secrets", () => {
  it.effect("come back as they were put, whatever form the name has", () =>
    started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        yield* vault.put("café", secret(""))
        assert.strictEqual(yield* text(vault, "café".normalize("NFD")), "")
        assert.isTrue(vault.has("café".normalize("NFD")))
        yield* vault.put("café", secret("x".repeat(65_536)))
        assert.strictEqual((yield* text(vault, "café")).length, 65_536)
        yield* vault.remove("café".normalize("NFD"))
        assert.isFalse(vault.has("café"))
        assert.strictEqual(yield* tag(vault.get("café")), "NotFound")
        assert.strictEqual(yield* tag(vault.remove("café")), "NotFound")
        assert.strictEqual((yield* vault.status).generation, 4n)
      })))

  it.effect("are refused where name or value can't be stored", () =>
    started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        const fault = (name: string, value: string) =>
          Effect.map(Effect.flip(vault.put(name, secret(value))), (error) => error._tag === "InvalidRequest" ? error.param : error._tag)
        assert.strictEqual(yield* fault("", "x"), "name")
        assert.strictEqual(yield* fault("n".repeat(513), "x"), "name")
        assert.strictEqual(yield* fault("\ud800", "x"), "name")
        assert.strictEqual(yield* fault("n", "\ud800"), "value")
        assert.strictEqual(yield* fault("n", "é".repeat(32_769)), "value")
        assert.strictEqual((yield* vault.status).generation, 1n)
      })))

  it.effect("never lie in the database as text", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      const { header, manifest, records } = store.image!
      assert.isFalse(Buffer.concat([header, manifest, ...records.values()]).includes("key of"))
    }))

  it.effect("tell listeners of every change, until they stop listening", () =>
    started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        let changes = 0
        const stop = vault.onChange(() => changes++)
        yield* vault.put("a", secret("1"))
        yield* vault.remove("a")
        yield* vault.lock
        yield* vault.unlock(secret(password))
        assert.strictEqual(changes, 4)
        stop()
        yield* vault.lock
        assert.strictEqual(changes, 4)
      })))
})

describe("memory", () => {
  it.effect("keeps a text that was asked for, so that no call upstream costs a decryption", () =>
    started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        yield* vault.put("a", secret("1"))
        const first = yield* vault.get("a")
        assert.strictEqual(yield* vault.get("a"), first)
        yield* vault.put("a", secret("2"))
        assert.strictEqual(yield* text(vault, "a"), "2")
      })))

  it.effect("loses values and keys as soon as they are not needed", () =>
    Effect.gen(function*() {
      const fill = vi.spyOn(Buffer.prototype, "fill")
      yield* Effect.addFinalizer(() => Effect.sync(() => fill.mockRestore()))
      /** How many buffers of this length were zeroed since the last time of asking. */
      const zeroed = (length: number) => {
        const buffers = new Set(fill.mock.contexts.filter((buffer: Buffer) => buffer.length === length && buffer.every((byte) => byte === 0)))
        fill.mockClear()
        return buffers.size
      }
      const [keyLength, valueLength] = [64, 41]
      yield* started(makeMemoryVaultStore(), (vault) =>
        Effect.gen(function*() {
          zeroed(0)
          yield* vault.put("a", secret("x".repeat(valueLength)))
          assert.isAtLeast(zeroed(valueLength), 2, "what was put, and what the change was tested with")
          yield* vault.get("a")
          assert.strictEqual(zeroed(valueLength), 1)
          yield* vault.lock
          assert.strictEqual(zeroed(keyLength), 2, "the root key and the key that wraps it")
          yield* vault.isAdmin(secret(password))
          assert.strictEqual(zeroed(keyLength), 1)
          yield* vault.unlock(secret(password))
          zeroed(0)
        }))
      assert.strictEqual(zeroed(keyLength), 2, "at the end too")
    }))

  it.effect("loses every master key", () =>
    Effect.gen(function*() {
      const keys: Array<Buffer> = []
      const remembering = Layer.effect(
        KeyDerivation,
        Effect.map(KeyDerivation, ({ derive }) =>
          KeyDerivation.of({ derive: (...args) => Effect.tap(derive(...args), (key) => Effect.sync(() => void keys.push(key))) }))
      ).pipe(Layer.provide(quickKeyDerivation))
      yield* started(makeMemoryVaultStore(), (vault) =>
        Effect.gen(function*() {
          const data = yield* vault.export(secret("a passphrase"))
          yield* vault.import({ passphrase: secret("a passphrase"), data, dryRun: false })
          yield* vault.rotate({ oldPassword: secret(password), newPassword: secret("another password"), rekey: true })
        }), {}, remembering)
      assert.lengthOf(keys, 5)
      for (const key of keys) assert.isTrue(key.every((byte) => byte === 0))
    }))
})

describe("metrics and log", () => {
  it.effect("tell the state and the generation after every change", () =>
    Effect.gen(function*() {
      const { render } = yield* Prometheus
      const gauges = Effect.map(render, (text) => ["unlocked", "generation"].map((name) => Number(new RegExp(`^tokenhub_vault_${name} (\\d+)$`, "m").exec(text)?.[1])))
      yield* started(yield* filled(), (vault) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* gauges, [1, 3])
          yield* vault.put("x", secret("y"))
          assert.deepStrictEqual(yield* gauges, [1, 4])
          yield* vault.lock
          assert.deepStrictEqual(yield* gauges, [0, 4])
          yield* vault.unlock(secret(password))
          assert.deepStrictEqual(yield* gauges, [1, 4])
        }))
      yield* started(yield* filled(), () => gauges, { TOKENHUB_ADMIN_PASSWORD: "another password" }).pipe(
        Effect.map((shown) => assert.deepStrictEqual(shown, [0, 3]))
      )
    }).pipe(Effect.provide(Prometheus.layer), Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("name what is damaged, when it is opened", () =>
    Effect.gen(function*() {
      const broken = yield* filled()
      withRecords(broken, (records) => records.set("provider/a", Buffer.alloc(3)))
      const [record, manifest, ...more] = yield* logged(started(broken, () => Effect.void))
      assert.deepStrictEqual(more, [])
      assert.match(record ?? "", /^Error .*record of 'provider\/a' is damaged; it is kept as it is/)
      assert.match(manifest ?? "", /^Error Records of the vault are missing, or older/)
      const short = yield* filled()
      withRecords(short, (records) => records.delete("provider/a"))
      assert.lengthOf(yield* logged(started(short, () => Effect.void)), 1)
      assert.deepStrictEqual(yield* logged(started(yield* filled(), () => Effect.void)), [])
    }))

  it.effect("say that the environment must follow a new password", () =>
    Effect.gen(function*() {
      const lines = yield* logged(started(yield* filled(), (vault) =>
        vault.rotate({ oldPassword: secret(password), newPassword: secret("another password"), rekey: false })))
      assert.lengthOf(lines, 1)
      assert.match(lines[0] ?? "", /^Warn .*change TOKENHUB_ADMIN_PASSWORD too, or the next start is locked/)
      assert.notInclude(lines[0], "another password")
    }))
})

describe("lock", () => {
  it.effect("keeps names, and opens nothing until the password is given", () =>
    Effect.gen(function*() {
      yield* started(yield* filled(), (vault) =>
        Effect.gen(function*() {
          yield* vault.lock
          const status = yield* vault.status
          assert.strictEqual(status.state, "locked")
          assert.deepStrictEqual(status.secrets, ["provider/a", "provider/b"])
          assert.isTrue(vault.has("provider/a"))
          assert.strictEqual(yield* tag(vault.get("provider/a")), "VaultLocked")
          assert.strictEqual(yield* tag(vault.get("provider/none")), "NotFound")
          assert.strictEqual(yield* tag(vault.put("x", secret("x"))), "VaultLocked")
          assert.strictEqual(yield* tag(vault.remove("provider/a")), "VaultLocked")
          assert.strictEqual(yield* tag(vault.export(secret("a passphrase"))), "VaultLocked")
          assert.strictEqual(yield* tag(vault.import({ passphrase: secret("x"), data: new Uint8Array(), dryRun: true })), "VaultLocked")
          assert.strictEqual(
            yield* tag(vault.rotate({ oldPassword: secret(password), newPassword: secret("another password"), rekey: false })),
            "VaultLocked"
          )
          assert.strictEqual(yield* tag(vault.unlock(secret("wrong password"))), "WrongPassword")
          assert.strictEqual(yield* tag(vault.unlock(secret(""))), "WrongPassword")
          yield* vault.unlock(secret(password))
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
          assert.strictEqual(yield* tag(vault.unlock(secret("wrong password"))), "WrongPassword")
          assert.strictEqual((yield* vault.status).state, "unlocked", "a wrong password locks nobody out")
        }))
    }))

  it.effect("is not opened for a wrong password by a right one that comes with it", () =>
    Effect.gen(function*() {
      yield* started(yield* filled(), (vault) =>
        Effect.gen(function*() {
          yield* vault.lock
          const [right, wrong] = yield* Effect.all(
            [Effect.result(vault.unlock(secret(password))), Effect.result(vault.unlock(secret("wrong password")))],
            { concurrency: 2 }
          )
          assert.isTrue(Result.isSuccess(right))
          assert.strictEqual(Result.getOrThrow(Result.flip(wrong))._tag, "WrongPassword")
        }))
    }))

  it.effect("opens while the database can't be read, with what was read before", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          yield* vault.lock
          store.unreadable = new StoreError({ kind: "unavailable", message: "The disk of the database can't be read or written" })
          yield* vault.unlock(secret(password))
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
        }))
    }))

  it.effect("opens under either form of the password", () =>
    Effect.gen(function*() {
      const store = makeMemoryVaultStore()
      const composed = "pässwörter"
      yield* started(store, (vault) => vault.put("a", secret("1")), { TOKENHUB_ADMIN_PASSWORD: composed })
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* text(vault, "a"), "1")
          assert.isTrue(yield* vault.isAdmin(secret(composed)))
        }), { TOKENHUB_ADMIN_PASSWORD: composed.normalize("NFD") })
    }))

  it.effect("stands at the start where the environment's password no longer opens the vault, which stays as it is", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      const before = store.image
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.strictEqual((yield* vault.status).state, "locked")
          assert.strictEqual(yield* tag(vault.get("provider/a")), "VaultLocked")
          assert.isFalse(yield* vault.isAdmin(secret("another password")), "the environment's password opens nothing")
          assert.isTrue(yield* vault.isAdmin(secret(password)))
          assert.strictEqual(store.image, before)
          yield* vault.unlock(secret(password))
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
        }), { TOKENHUB_ADMIN_PASSWORD: "another password" })
    }))
})

describe("admin password", () => {
  /** Counts derivations, and refuses them once `full` is set. */
  const counting = () => {
    const seen = { derivations: 0, full: false }
    const layer = Layer.effect(
      KeyDerivation,
      Effect.map(KeyDerivation, (quick) =>
        KeyDerivation.of({
          derive: (...args) =>
            Effect.suspend(() => {
              seen.derivations += 1
              return seen.full ? Effect.fail(new DerivationBusy({ retryAfterMs: 1000 })) : quick.derive(...args)
            })
        }))
    ).pipe(Layer.provide(quickKeyDerivation))
    return { seen, layer }
  }

  it.effect("is compared without a derivation while unlocked, and by one while locked", () => {
    const { layer, seen } = counting()
    return started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        const atStart = seen.derivations
        assert.isTrue(yield* vault.isAdmin(secret(password)))
        assert.isFalse(yield* vault.isAdmin(secret(`${password}.`)))
        assert.isFalse(yield* vault.isAdmin(secret("")))
        assert.strictEqual(seen.derivations, atStart)
        yield* vault.lock
        assert.isTrue(yield* vault.isAdmin(secret(password)))
        assert.isFalse(yield* vault.isAdmin(secret(`${password}.`)))
        assert.strictEqual(seen.derivations, atStart + 2)
        assert.isFalse(yield* vault.isAdmin(secret("x".repeat(1025))), "no derivation for what can't be a password")
        assert.strictEqual(yield* tag(vault.unlock(secret("short"))), "WrongPassword")
        assert.strictEqual(yield* tag(vault.export(secret("a passphrase"))), "VaultLocked", "nor for what can't be had anyway")
        assert.strictEqual(seen.derivations, atStart + 2)
      }), {}, layer)
  })

  it.effect("is not checked, but put off, where too many derivations wait", () => {
    const { layer, seen } = counting()
    return started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        const passphrase = secret("a passphrase")
        const data = yield* vault.export(passphrase)
        seen.full = true
        assert.strictEqual(yield* tag(vault.import({ passphrase, data, dryRun: false })), "TooManyRequests")
        const rotation = { oldPassword: secret(password), newPassword: secret("another password"), rekey: false }
        assert.strictEqual(yield* tag(vault.rotate(rotation)), "TooManyRequests")
        assert.strictEqual(yield* tag(vault.export(secret("a passphrase"))), "TooManyRequests")
        yield* vault.lock
        assert.strictEqual(yield* tag(vault.isAdmin(secret(password))), "TooManyRequests")
        assert.strictEqual(yield* tag(vault.unlock(secret(password))), "TooManyRequests")
      }), {}, layer)
  })
})

describe("rotate", () => {
  for (const rekey of [false, true]) {
    it.effect(`changes the password${rekey ? " and the root key" : ""}; every secret opens, now and at the next start`, () =>
      Effect.gen(function*() {
        const store = yield* filled()
        const before = store.image!
        yield* started(store, (vault) =>
          Effect.gen(function*() {
            yield* vault.rotate({ oldPassword: secret(password), newPassword: secret("another password"), rekey })
            assert.isTrue(yield* vault.isAdmin(secret("another password")))
            assert.isFalse(yield* vault.isAdmin(secret(password)))
            assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
            yield* vault.put("provider/c", secret("key of c"))
          }))
        const after = store.image!
        assert.notDeepEqual(after.header.subarray(13, 45), before.header.subarray(13, 45), "a fresh salt")
        assert.deepStrictEqual(after.header.subarray(45, 61), before.header.subarray(45, 61), "the same vault")
        assert.strictEqual(Buffer.from(after.header).readUInt32BE(61), rekey ? 2 : 1)
        assert.strictEqual(after.records.get("provider/a")!.length, before.records.get("provider/a")!.length)
        assert.strictEqual(Buffer.from(after.records.get("provider/a")!).equals(before.records.get("provider/a")!), !rekey)
        yield* started(store, (vault) => Effect.map(vault.status, ({ state }) => assert.strictEqual(state, "locked")))
        yield* started(store, (vault) =>
          Effect.gen(function*() {
            assert.strictEqual(yield* text(vault, "provider/b"), "key of b")
            assert.strictEqual(yield* text(vault, "provider/c"), "key of c")
          }), { TOKENHUB_ADMIN_PASSWORD: "another password" })
      }))
  }

  it.effect("with a new root key closes what comes later to whoever has an old backup and its password", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      const old = yield* rootOf(store.image, password)
      const opensLater = (rekey: boolean) =>
        Effect.gen(function*() {
          const copy = makeMemoryVaultStore(store.image)
          yield* started(copy, (vault) =>
            Effect.andThen(
              vault.rotate({ oldPassword: secret(password), newPassword: secret("another password"), rekey }),
              vault.put("provider/c", secret("key of c"))
            ))
          const stolen: Root = { ...old, epoch: Buffer.from(copy.image!.header).readUInt32BE(61) }
          return Result.isSuccess(openSecret(stolen, "provider/c", copy.image!.records.get("provider/c")!))
        })
      assert.isTrue(yield* opensLater(false), "a new password alone keeps the root key")
      assert.isFalse(yield* opensLater(true))
    }))

  it.effect("takes the number of iterations that is set now; the old one is opened as it is", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.strictEqual((yield* vault.status).iterations, 100_000)
          yield* vault.rotate({ oldPassword: secret(password), newPassword: secret(password), rekey: false })
          assert.strictEqual((yield* vault.status).iterations, 600_000)
        }), { TOKENHUB_VAULT_ITERATIONS: "600000" })
    }))

  it.effect("refuses a wrong old password and a weak new one, and changes nothing", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      const before = store.image
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          const rotate = (oldPassword: string, newPassword: string) =>
            tag(vault.rotate({ oldPassword: secret(oldPassword), newPassword: secret(newPassword), rekey: true }))
          assert.strictEqual(yield* rotate("wrong password", "another password"), "WrongPassword")
          assert.strictEqual(yield* rotate(password, "password"), "InvalidRequest")
          assert.strictEqual(yield* rotate(password, "short"), "InvalidRequest")
        }))
      assert.strictEqual(store.image, before)
    }))

  it.effect("leaves the old password in place where the commit fails", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      const before = store.image
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          store.fault = new StoreError({ kind: "unavailable", message: "disk full" })
          const rotation = { oldPassword: secret(password), newPassword: secret("another password"), rekey: true }
          assert.strictEqual(yield* tag(vault.rotate(rotation)), "StoreUnavailable")
          assert.isTrue(yield* vault.isAdmin(secret(password)))
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
          assert.strictEqual(store.image, before)
          yield* vault.rotate(rotation)
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
        }))
    }))

  it.effect("of two at once with the same old password, one wins", () =>
    Effect.gen(function*() {
      yield* started(yield* filled(), (vault) =>
        Effect.gen(function*() {
          const rotate = (newPassword: string) =>
            Effect.result(vault.rotate({ oldPassword: secret(password), newPassword: secret(newPassword), rekey: false }))
          const results = yield* Effect.all([rotate("first password"), rotate("second password")], { concurrency: 2 })
          assert.strictEqual(results.filter(Result.isSuccess).length, 1)
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
        }))
    }))
})

describe("changes at once", () => {
  it.effect("wait for one another, and all are made", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      const names = Array.from({ length: 10 }, (_, i) => `at once/${i}`)
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          yield* Effect.forEach(names, (name) => vault.put(name, secret(name)), { concurrency: "unbounded", discard: true })
          for (const name of names) assert.strictEqual(yield* text(vault, name), name)
        }))
      assert.strictEqual(store.image!.generation, 13n)
    }))

  it.effect("are tested before they are stored: what would not open again is not", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          const before = store.image!
          // What the vault holds in memory goes bad: no other way leads to a change that does not open.
          const records = before.records as Map<string, Uint8Array>
          records.set("provider/b", Buffer.alloc(3))
          const exit = yield* Effect.exit(vault.put("provider/a", secret("newer")))
          assert.match(String(exit), /does not open again; it was not stored/)
          assert.strictEqual(store.image, before)
        }))
    }))

  it.effect("are whole, though who asked for them leaves in the middle: what is stored is what is served", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          const before = store.image
          const asking = yield* Effect.forkChild(vault.put("provider/a", secret("newer")), { startImmediately: true })
          while (store.image === before) yield* Effect.yieldNow
          yield* Fiber.interrupt(asking)
          assert.strictEqual(yield* text(vault, "provider/a"), "newer")
          yield* vault.put("provider/b", secret("newer too"))
        }))
    }))
})

describe("another writer", () => {
  it.effect("makes a change a conflict; the next try is on what it left", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          const mine = store.image
          yield* started(store, (other) => other.put("provider/a", secret("of the other")))
          const theirs = store.image
          assert.notStrictEqual(theirs, mine)
          assert.strictEqual(yield* tag(vault.put("provider/a", secret("mine"))), "Conflict")
          assert.strictEqual(store.image, theirs)
          assert.strictEqual(yield* text(vault, "provider/a"), "of the other")
          yield* vault.put("provider/a", secret("mine"))
          assert.strictEqual(yield* text(vault, "provider/a"), "mine")
        }))
    }))

  it.effect("that changed the password locks this one", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          yield* started(store, (other) =>
            other.rotate({ oldPassword: secret(password), newPassword: secret("another password"), rekey: true }))
          const lines = yield* logged(Effect.map(tag(vault.put("x", secret("x"))), (fault) => assert.strictEqual(fault, "Conflict")))
          assert.deepStrictEqual(lines, ["Warn Another process changed the vault's password; the vault is locked here"])
          assert.strictEqual((yield* vault.status).state, "locked")
          assert.strictEqual(yield* tag(vault.unlock(secret(password))), "WrongPassword")
          yield* vault.unlock(secret("another password"))
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
        }))
    }))
})

describe("damage", () => {
  it.effect("of one record, at any byte, closes that secret alone, and the row is kept", () =>
    Effect.gen(function*() {
      const { image } = yield* filled()
      const record = image!.records.get("provider/a")!
      for (let at = 0; at < record.length; at++) {
        const store = makeMemoryVaultStore(image)
        withRecords(store, (records) => records.set("provider/a", flip(record, at)))
        const damaged = store.image
        yield* started(store, (vault) =>
          Effect.gen(function*() {
            assert.strictEqual(yield* tag(vault.get("provider/a")), "VaultCorrupt", `byte ${at}`)
            assert.strictEqual(yield* text(vault, "provider/b"), "key of b")
            assert.deepStrictEqual((yield* vault.status).corrupt, ["provider/a"])
            assert.strictEqual(store.image, damaged)
          }))
      }
    }))

  it.effect("of one record does not stop changes beside it, and ends when the secret is put again", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      withRecords(store, (records) => records.set("provider/a", Buffer.alloc(3)))
      const rotation = { oldPassword: secret(password), newPassword: secret("another password") }
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          yield* vault.put("provider/c", secret("key of c"))
          assert.deepStrictEqual(Buffer.from(store.image!.records.get("provider/a")!), Buffer.alloc(3))
          assert.strictEqual(yield* tag(vault.export(secret("a passphrase"))), "VaultCorrupt")
          assert.strictEqual(yield* tag(vault.rotate({ ...rotation, rekey: true })), "VaultCorrupt")
          yield* vault.rotate({ ...rotation, rekey: false })
          assert.deepStrictEqual((yield* vault.status).corrupt, ["provider/a"])
          yield* vault.put("provider/a", secret("new key of a"))
          assert.deepStrictEqual((yield* vault.status).corrupt, [])
          assert.strictEqual(yield* text(vault, "provider/a"), "new key of a")
        }))
    }))

  it.effect("of one record that claims the last version there is ends when the secret is put again", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      withRecords(store, (records) => records.set("provider/a", Buffer.from(records.get("provider/a")!).fill(0xff, 12, 16)))
      yield* started(store, (vault) => vault.put("provider/a", secret("new key of a")))
      yield* started(store, (vault) => Effect.map(text(vault, "provider/a"), (value) => assert.strictEqual(value, "new key of a")))
    }))

  const tampered: ReadonlyArray<readonly [string, (store: MemoryVaultStore) => Effect.Effect<void, unknown>]> = [
    ["a deleted row", (store) => Effect.sync(() => withRecords(store, (records) => records.delete("provider/a")))],
    ["a rolled-back row", (store) =>
      Effect.gen(function*() {
        const old = store.image!.records.get("provider/a")!
        yield* started(store, (vault) => vault.put("provider/a", secret("a newer key")))
        withRecords(store, (records) => records.set("provider/a", old))
      })],
    ["a row that came back after it was removed", (store) =>
      Effect.gen(function*() {
        const old = store.image!.records.get("provider/a")!
        yield* started(store, (vault) => vault.remove("provider/a"))
        withRecords(store, (records) => records.set("provider/a", old))
      })],
    ["an older header", (store) =>
      Effect.gen(function*() {
        const { header } = store.image!
        yield* started(store, (vault) => vault.put("provider/c", secret("key of c")))
        store.image = { ...store.image!, header }
      })],
    ["a changed manifest", (store) => Effect.sync(() => void (store.image = { ...store.image!, manifest: flip(store.image!.manifest, 0) }))],
    ["a changed generation", (store) => Effect.sync(() => void (store.image = { ...store.image!, generation: 77n }))]
  ]

  for (const [what, tamper] of tampered) {
    it.effect(`is noticed: ${what} makes the whole vault corrupt, and nothing is written over it`, () =>
      Effect.gen(function*() {
        const store = yield* filled()
        yield* tamper(store)
        const before = store.image
        yield* started(store, (vault) =>
          Effect.gen(function*() {
            assert.strictEqual(yield* tag(vault.get("provider/a")), "VaultCorrupt")
            assert.strictEqual(yield* tag(vault.get("provider/b")), "VaultCorrupt")
            assert.deepStrictEqual((yield* vault.status).corrupt, (yield* vault.status).secrets)
            assert.isTrue(yield* vault.isAdmin(secret(password)))
            const refused = yield* Effect.flip(vault.put("provider/a", secret("x")))
            assert.deepStrictEqual([refused._tag, "code" in refused && refused.code], ["Conflict", "vault_corrupt"])
            assert.strictEqual(yield* tag(vault.remove("provider/b")), "Conflict")
            assert.strictEqual(yield* tag(vault.export(secret("a passphrase"))), "VaultCorrupt")
            assert.strictEqual(
              yield* tag(vault.rotate({ oldPassword: secret(password), newPassword: secret("another password"), rekey: false })),
              "VaultCorrupt"
            )
          }))
        assert.strictEqual(store.image, before)
      }))
  }

  it.effect("of the row's place: a record moved to another name opens nothing", () =>
    Effect.gen(function*() {
      const store = yield* filled()
      withRecords(store, (records) => records.set("provider/b", records.get("provider/a")!))
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* tag(vault.get("provider/b")), "VaultCorrupt")
          assert.strictEqual(yield* text(vault, "provider/a"), "key of a")
        }))
    }))

  it.effect("of the header, at any byte, starts locked and changes nothing", () =>
    Effect.gen(function*() {
      const { image } = yield* filled()
      for (let at = 0; at < image!.header.length; at++) {
        const store = makeMemoryVaultStore({ ...image!, header: flip(image!.header, at) })
        const damaged = store.image
        yield* started(store, (vault) =>
          Effect.gen(function*() {
            assert.strictEqual((yield* vault.status).state, "locked", `byte ${at}`)
            assert.include(["VaultCorrupt", "WrongPassword"], yield* tag(vault.unlock(secret(password))))
            assert.strictEqual(yield* tag(vault.get("provider/a")), "VaultLocked")
          }))
        assert.strictEqual(store.image, damaged)
      }
    }))

  it.effect("of the iteration count is refused before any derivation", () =>
    Effect.gen(function*() {
      const { image } = yield* filled()
      const header = Buffer.from(image!.header)
      header.writeUInt32BE(4_000_000_000, 8)
      yield* started(makeMemoryVaultStore({ ...image!, header }), (vault) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* tag(vault.unlock(secret(password))), "VaultCorrupt")
          assert.isFalse(yield* vault.isAdmin(secret(password)))
        }), {}, KeyDerivation.layer)
    }))
})

describe("export and import", () => {
  const passphrase = secret("a passphrase of its own")

  it.effect("carry every secret to another TokenHub", () =>
    Effect.gen(function*() {
      const data = yield* started(yield* filled(), (vault) => vault.export(passphrase))
      yield* started(makeMemoryVaultStore(), (vault) =>
        Effect.gen(function*() {
          yield* vault.put("provider/a", secret("key of a"))
          yield* vault.put("provider/b", secret("another key"))
          yield* vault.put("own", secret("stays"))
          const counts = { added: 0, replaced: 1, unchanged: 1 }
          const { generation } = yield* vault.status
          assert.deepStrictEqual(yield* vault.import({ passphrase, data, dryRun: true }), counts)
          assert.strictEqual(yield* text(vault, "provider/b"), "another key")
          assert.deepStrictEqual(yield* vault.import({ passphrase, data, dryRun: false }), counts)
          assert.strictEqual(yield* text(vault, "provider/b"), "key of b")
          assert.strictEqual(yield* text(vault, "own"), "stays")
          assert.strictEqual((yield* vault.status).generation, generation + 1n, "all in one change")
          assert.deepStrictEqual(yield* vault.import({ passphrase, data, dryRun: false }), { added: 0, replaced: 0, unchanged: 2 })
          assert.strictEqual((yield* vault.status).generation, generation + 1n, "nothing new, nothing written")
        }), { TOKENHUB_ADMIN_PASSWORD: "the other's password" })
    }))

  it.effect("take the Python generation's vault, and name what is wrong with it", () =>
    started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        const file = {
          salt: "AAECAwQFBgcICQoLDA0ODw==",
          data: {
            provider_openai_api_key: "AQEBAQEBAQEBAQEBAQEBAYFq/C4Ar2yVmGS5MR6HHyA=",
            provider_my_llm_api_key: "AgICAgICAgICAgICAgICAkWVNiL7tHKD+RZzGpqbFQM="
          }
        }
        const run = (passphrase: string, content: unknown) =>
          vault.import({ passphrase: secret(passphrase), data: Buffer.from(JSON.stringify(content)), dryRun: false })
        const long = { ...file.data, ["x".repeat(600)]: file.data.provider_openai_api_key }
        assert.strictEqual(yield* tag(run("a wrong passphrase", file)), "WrongPassword")
        assert.strictEqual(yield* tag(run("correct horse battery staple", { ...file, data: long })), "InvalidRequest")
        assert.deepStrictEqual((yield* vault.status).secrets, [], "all or nothing")
        assert.deepStrictEqual(yield* run("correct horse battery staple", file), { added: 2, replaced: 0, unchanged: 0 })
        assert.strictEqual(yield* text(vault, "provider/openai"), "sk-python-1")
        assert.strictEqual(yield* text(vault, "provider/my_llm"), "schlüssel-🔑")
      }), {}, KeyDerivation.layer))

  it.effect("refuse a weak passphrase, a wrong one, and data that is no file of secrets", () =>
    started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* tag(vault.export(secret("short"))), "InvalidRequest")
        const data = yield* vault.export(passphrase)
        assert.strictEqual(yield* tag(vault.import({ passphrase: secret("wrong"), data, dryRun: false })), "WrongPassword")
        assert.strictEqual(yield* tag(vault.import({ passphrase, data: Buffer.from("no"), dryRun: false })), "InvalidRequest")
        const costly = Buffer.from(data.toString(), "base64")
        costly.writeUInt32BE(4_000_000_000, 8)
        assert.strictEqual(yield* tag(vault.import({ passphrase, data: costly, dryRun: false })), "InvalidRequest")
      }), {}, KeyDerivation.layer))

  it.effect("leave everything as it was where the commit fails", () =>
    Effect.gen(function*() {
      const data = yield* started(yield* filled(), (vault) => vault.export(passphrase))
      const store = makeMemoryVaultStore()
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          store.fault = new StoreError({ kind: "unavailable", message: "read-only" })
          assert.isTrue(Exit.isFailure(yield* Effect.exit(vault.import({ passphrase, data, dryRun: false }))))
          assert.deepStrictEqual((yield* vault.status).secrets, [])
        }))
    }))
})

describe("bytes for a place outside", () => {
  const bytes = Buffer.from("an answer")

  it.effect("open after a restart and another password, and no more after a new root key", () =>
    Effect.gen(function*() {
      const store = makeMemoryVaultStore()
      const next = "another horse battery"
      const sealed = yield* started(store, (vault) => vault.seal(["answer", "a"], bytes))
      yield* started(store, (vault) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* vault.unseal(["answer", "a"], sealed), bytes)
          assert.isUndefined(yield* vault.unseal(["answer", "b"], sealed))
          yield* vault.rotate({ oldPassword: secret(password), newPassword: secret(next), rekey: false })
          assert.deepStrictEqual(yield* vault.unseal(["answer", "a"], sealed), bytes)
          yield* vault.rotate({ oldPassword: secret(next), newPassword: secret(password), rekey: true })
          assert.isUndefined(yield* vault.unseal(["answer", "a"], sealed))
        }))
    }))

  it.effect("are neither sealed nor opened while the vault is locked", () =>
    started(makeMemoryVaultStore(), (vault) =>
      Effect.gen(function*() {
        const sealed = yield* vault.seal(["answer", "a"], bytes)
        yield* vault.lock
        assert.strictEqual(yield* tag(vault.seal(["answer", "a"], bytes)), "VaultLocked")
        assert.strictEqual(yield* tag(vault.unseal(["answer", "a"], sealed)), "VaultLocked")
      })))
})
