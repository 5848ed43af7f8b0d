import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { Change } from "../../../src/account/AuditLog.ts"
import { AuditLog } from "../../../src/account/AuditLog.ts"
import { makeRequestId } from "../../../src/domain/Ids.ts"
import { NotFound, StoreUnavailable } from "../../../src/domain/RequestError.ts"
import { audited } from "../../../src/http/admin/AdminAudit.ts"
import { RequestContext } from "../../../src/http/RequestContext.ts"

const id = makeRequestId(0)

const facts = { id, startedAt: 0, remoteAddress: "", endpoint: undefined, errorBody: () => ({}), caller: undefined, errorCode: null, taken: false }

const serve = <A, E>(effect: Effect.Effect<A, E, AuditLog>, record: (change: Change) => Effect.Effect<void, StoreUnavailable>) =>
  effect.pipe(Effect.provide(Layer.mock(AuditLog, { record })), Effect.provideService(RequestContext, facts))

describe("a change by an admin", () => {
  it.effect("is recorded with its request when it was made, and only then", () =>
    Effect.gen(function*() {
      const recorded: Array<Change> = []
      yield* serve(
        Effect.gen(function*() {
          const record = yield* audited
          yield* record(Effect.succeed(7), (after) => ({ action: "thing.change", target: "thing", after }))
          yield* Effect.flip(record(Effect.fail(new NotFound({ message: "No thing" })), () => ({ action: "thing.remove", target: "thing" })))
        }),
        (change) => Effect.sync(() => void recorded.push(change))
      )
      assert.deepEqual(recorded, [{ action: "thing.change", target: "thing", after: 7, requestId: id }])
    }))

  it.effect("stands also where its record can't be written", () =>
    Effect.gen(function*() {
      const result = yield* serve(
        Effect.flatMap(audited, (record) => record(Effect.succeed("made"), () => ({ action: "thing.add", target: "thing" }))),
        () => Effect.fail(new StoreUnavailable({ message: "The disk is full" }))
      )
      assert.strictEqual(result, "made")
    }))
})
