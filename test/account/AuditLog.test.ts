import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { AuditLog } from "../../src/account/AuditLog.ts"
import { memoryAudit, unavailable } from "../support/MemoryStores.ts"

describe("The audit log", () => {
  it.effect("says who changed what, when, without secrets", () => {
    const store = memoryAudit()
    return Effect.gen(function*() {
      const log = yield* AuditLog
      yield* log.record({
        action: "provider.put",
        target: "openai",
        after: { price: 12n, key: Redacted.make("hidden-thing"), note: "uses sk-abcdefghijklmnop" },
        requestId: "req_1"
      })
      const [entry] = yield* log.page({ limit: 10 })
      assert.deepInclude(entry, { actor: "admin", action: "provider.put", target: "openai", before: null, requestId: "req_1" })
      assert.notInclude(String(entry?.after), "hidden-thing")
      assert.notInclude(String(entry?.after), "abcdefgh")
      assert.doesNotThrow(() => JSON.parse(String(entry?.after)))
    }).pipe(Effect.provide(AuditLog.layer.pipe(Layer.provide(store.layer))))
  })

  it.effect("says so when a change can't be recorded", () => {
    const store = memoryAudit()
    store.fault = unavailable
    return Effect.gen(function*() {
      const log = yield* AuditLog
      assert.strictEqual((yield* Effect.flip(log.record({ action: "a", target: "b" })))._tag, "StoreUnavailable")
    }).pipe(Effect.provide(AuditLog.layer.pipe(Layer.provide(store.layer))))
  })
})
