import { assert, describe, it } from "@effect/vitest"
import type { Fault } from "../../src/domain/ProviderError.ts"
import type { Decision, History } from "../../src/orchestrate/Escalation.ts"
import { consequence, decide, maybeBilled } from "../../src/orchestrate/Escalation.ts"
import { fault } from "../support/Doubles.ts"

const fresh: History = { retries: 0, hops: [], committed: false, allowEscalation: true, timeLeftMs: 60_000 }

/** What happens to a fault from first to last, with candidates always left: R retry, E escalate, L escalate to a larger context, S stop. */
const course = (name: Fault, given: { readonly retryAfterMs?: number } = {}): string => {
  let history = fresh
  let steps = ""
  for (;;) {
    const decision: Decision = decide(fault(name, given), history)
    if (decision.type === "stop") return steps + "S"
    if (decision.type === "retry") {
      steps += "R"
      history = { ...history, retries: history.retries + 1 }
    } else {
      steps += decision.to === "any" ? "E" : "L"
      history = { ...history, retries: 0, hops: [...history.hops, name] }
    }
  }
}

describe("Escalation.decide", () => {
  it.each<[row: string, Fault, string]>([
    ["1", "invalid_request", "S"],
    ["2", "context_overflow", "LS"],
    ["3", "authentication", "EEES"],
    ["4", "permission", "EEES"],
    ["5", "model_not_found", "EEES"],
    ["6", "request_timeout", "RERERERS"],
    ["7", "conflict", "RS"],
    ["8", "payload_too_large", "LLLS"],
    ["9", "unprocessable", "S"],
    ["11", "rate_limited", "EEES"],
    ["13", "quota_exhausted", "EEES"],
    ["14", "server_error", "RERERERS"],
    ["15", "unavailable", "RRERRERRERRS"],
    ["16", "overloaded", "EEES"],
    ["17", "redirected", "S"],
    ["18", "malformed_response", "ES"],
    ["19", "truncated_response", "ES"],
    ["20", "unexpected_body", "S"],
    ["21", "connection_reset", "RS"],
    ["25", "stream_error", "EEES"],
    ["26", "first_token_timeout", "EEES"],
    ["35", "name_not_resolved", "EEES"],
    ["36", "connection_refused", "EEES"],
    ["37", "connect_timeout", "EEES"],
    ["38", "tls_error", "S"],
    ["40", "empty_completion", "ES"]
  ])("row %s: %s goes %s", (_, name, expected) => {
    assert.strictEqual(course(name), expected)
  })

  it("row 10: waits as long as the upstream asks if the deadline allows, and goes on after two waits", () => {
    assert.deepStrictEqual(decide(fault("rate_limited", { retryAfterMs: 3000 }), fresh), { type: "retry", waitMs: 3000 })
    assert.strictEqual(course("rate_limited", { retryAfterMs: 3000 }), "RRERRERRERRS")
  })

  it("waits before a retry as long as a failing provider asks, unless the deadline comes first", () => {
    assert.deepStrictEqual(decide(fault("unavailable", { retryAfterMs: 700 }), fresh), { type: "retry", waitMs: 700 })
    assert.deepStrictEqual(decide(fault("unavailable", { retryAfterMs: 700 }), { ...fresh, timeLeftMs: 700 }), { type: "retry" })
  })

  it("row 10: escalates at once if the wait would pass the deadline", () => {
    assert.deepStrictEqual(
      decide(fault("rate_limited", { retryAfterMs: 3000 }), { ...fresh, timeLeftMs: 2999 }),
      { type: "escalate", to: "any" }
    )
  })

  it("does nothing more once the client has seen a part of the answer", () => {
    for (const name of ["server_error", "unavailable", "rate_limited", "stream_error"] as const) {
      assert.deepStrictEqual(decide(fault(name), { ...fresh, committed: true }), { type: "stop" })
    }
  })

  it("still retries, but never escalates, where the policy forbids it", () => {
    const strict = { ...fresh, allowEscalation: false }
    assert.deepStrictEqual(decide(fault("server_error"), strict), { type: "retry" })
    assert.deepStrictEqual(decide(fault("server_error"), { ...strict, retries: 1 }), { type: "stop" })
    assert.deepStrictEqual(decide(fault("context_overflow"), strict), { type: "stop" })
  })

  it("makes at most three hops, whatever the faults", () => {
    const hops: ReadonlyArray<Fault> = ["authentication", "overloaded", "connection_refused"]
    assert.deepStrictEqual(decide(fault("overloaded"), { ...fresh, hops }), { type: "stop" })
  })
})

describe("Escalation.consequence", () => {
  it.each<[Fault, boolean, number]>([
    ["authentication", false, 300_000],
    ["model_not_found", false, 60_000],
    ["rate_limited", false, 5_000],
    ["quota_exhausted", false, 300_000],
    ["server_error", true, 0],
    ["overloaded", true, 0],
    ["invalid_request", false, 0],
    ["malformed_response", false, 0],
    ["truncated_response", true, 0]
  ])("%s: breaks %s, cools %d ms", (name, breaks, coolDownMs) => {
    assert.deepStrictEqual(consequence(fault(name), 0), { breaks, coolDownMs })
  })

  it("cools as long as the upstream asked, without jitter", () => {
    assert.strictEqual(consequence(fault("rate_limited", { retryAfterMs: 1234 }), 0.9).coolDownMs, 1234)
    assert.strictEqual(consequence(fault("rate_limited"), 1).coolDownMs, 6250)
  })
})

describe("Escalation.maybeBilled", () => {
  it.each<[Fault, boolean]>([
    ["malformed_response", true],
    ["truncated_response", true],
    ["bad_encoding", true],
    ["response_too_large", true],
    ["connection_reset", true],
    ["stream_interrupted", true],
    ["stream_error", true],
    ["first_token_timeout", true],
    ["stream_stalled", true],
    ["call_timeout", true],
    ["empty_completion", true],
    ["invalid_request", false],
    ["authentication", false],
    ["rate_limited", false],
    ["unavailable", false],
    ["redirected", false],
    ["unexpected_body", false],
    ["connection_refused", false],
    ["tls_error", false]
  ])("%s: %s", (name, billed) => assert.strictEqual(maybeBilled(fault(name)), billed))

  it("books a reset that may have been billed, but not a refusal or a call that never left", () => {
    assert.isTrue(maybeBilled(fault("connection_reset")))
    assert.isFalse(maybeBilled(fault("connection_reset", { sent: false })))
    assert.isFalse(maybeBilled(fault("server_error")))
  })
})
