/** One TokenHub that the tests of a file share; each test uses names of its own. */
import { Context, Layer } from "effect"
import { assert } from "@effect/vitest"
import type { Answer, Hub, Options } from "./Harness.ts"
import * as Harness from "./Harness.ts"

export class AdminHub extends Context.Service<AdminHub, Hub>()("tokenhub/test/AdminHub") {
  static readonly layer = (options?: Options) => Layer.effect(AdminHub, Harness.start(options))
}

/** The body of an answer that is a success. */
export const ok = (answer: Answer) => {
  assert.isBelow(answer.status, 300, answer.text)
  return answer.json
}

/** Asserts an error of the envelope. */
export const isError = (answer: Answer, status: number, expected: { readonly code: string; readonly param?: string | null; readonly message?: RegExp }) => {
  const { error } = answer.json
  assert.strictEqual(answer.status, status, answer.text)
  assert.strictEqual(error.code, expected.code)
  if (expected.param !== undefined) assert.strictEqual(error.param, expected.param)
  if (expected.message !== undefined) assert.match(error.message, expected.message)
  assert.strictEqual(error.request_id, answer.headers.get("x-request-id"))
}

/** A provider without a key, for models to belong to. */
export const mockProvider = (hub: Hub, name: string) => hub.admin("POST", "/providers", { name, provider_type: "mock" })
