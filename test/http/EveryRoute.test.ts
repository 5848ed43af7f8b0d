/** Every route of the contract, as it describes itself, against every cause of an error that all routes share. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import type { Answer, Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

class TokenHub extends Context.Service<TokenHub, Hub>()("test/TokenHub") {}

interface Operation {
  readonly method: string
  /** With names in place of `{…}`. */
  readonly path: string
  readonly hasBody: boolean
  readonly statuses: ReadonlyArray<string>
}

const operationsOf = async (hub: Hub): Promise<ReadonlyArray<Operation>> => {
  const { paths } = (await hub.get("/openapi.json")).json
  return Object.entries<Record<string, { requestBody?: object; responses: object }>>(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, { requestBody, responses }]) => ({
      method: method.toUpperCase(),
      path: path.replaceAll(/\{\w+\}/g, "some-name"),
      hasBody: requestBody !== undefined,
      statuses: Object.keys(responses)
    })))
}

const assertError = (answer: Answer, status: number, code: string, where: string): void => {
  assert.strictEqual(answer.status, status, `${where} ${answer.text}`)
  const id = answer.headers.get("x-request-id")
  assert.match(id ?? "", /^req_/, where)
  const { error, ...rest } = answer.json
  assert.strictEqual(error.code, code, where)
  if (where.includes(" /v1/messages")) {
    assert.deepStrictEqual([Object.keys(error), rest], [["type", "message", "code", "param", "retryable"], { type: "error", request_id: id }], where)
  } else {
    assert.deepStrictEqual([Object.keys(error), rest], [["message", "type", "code", "param", "request_id", "retryable"], {}], where)
    assert.strictEqual(error.request_id, id, where)
  }
}

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]

layer(Layer.effect(TokenHub, Harness.start()), { excludeTestServices: true, timeout: 30_000 })("every route", (it) => {
  const test = (name: string, run: (hub: Hub, operations: ReadonlyArray<Operation>) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TokenHub, (hub) => Effect.promise(async () => run(hub, await operationsOf(hub)))))

  const headers = { authorization: `Bearer ${Harness.adminPassword}` }

  test("is one of many", async (_hub, operations) => assert.isAtLeast(operations.length, 40))

  test("with a wrong method is a 405", async (hub, operations) => {
    const taken = Map.groupBy(operations, ({ path }) => path)
    for (const [path, known] of taken) {
      const wrong = methods.find((method) => known.every((operation) => operation.method !== method))
      if (wrong === undefined) continue
      assertError(await hub.request(wrong, path), 405, "method_not_allowed", `${wrong} ${path}`)
    }
  })

  test("with a body that is no JSON, of another type, or too deep is refused, and the contract has the status", async (hub, operations) => {
    for (const { hasBody, method, path, statuses } of operations) {
      if (!hasBody) continue
      const where = `${method} ${path}`
      for (const body of ["{", "", "\uFEFF", `{"a":${"[".repeat(100)}${"]".repeat(100)}}`]) {
        assertError(await hub.request(method, path, body, { headers }), 400, "invalid_json", where)
      }
      assertError(await hub.request(method, path, "{}", { headers: { ...headers, "content-type": "text/plain" } }), 415, "unsupported_media_type", where)
      assertError(await hub.request(method, path, "[]", { headers }), 400, "invalid_request", where)
      assert.includeMembers([...statuses], ["400", "413", "415"], where)
    }
  })

  test("under /admin wants the password before it looks at anything else, and /v1 a key where the caller is not local", async (hub, operations) => {
    for (const { hasBody, method, path, statuses } of operations) {
      const area = /^\/(admin|v1)\//.exec(path)?.[1]
      if (area === undefined) continue
      const where = `${method} ${path}`
      const body = hasBody ? "{" : undefined
      const stranger = { origin: "https://example.org" }
      assertError(await hub.request(method, path, body, { headers: stranger }), 401, "missing_credential", where)
      assertError(await hub.request(method, path, body, { headers: { ...stranger, authorization: "Bearer th_wrong" } }), 401, "invalid_credential", where)
      // The right password in between, or the address would be made to wait.
      if (area === "admin") assert.strictEqual((await hub.admin("GET", "/vault")).status, 200)
      assert.include(statuses, "401", where)
    }
  })
})
