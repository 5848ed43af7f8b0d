import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { Ledger } from "../../src/account/Ledger.ts"
import { isError, ok } from "../support/AdminHub.ts"
import type { FakeProvider } from "../support/FakeProvider.ts"
import * as Fake from "../support/FakeProvider.ts"
import type { Answer, Client, Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

/** 1 $ per million tokens, so that a token is 1,000 nano-dollars. */
const price = 0.001

const addModels = async (hub: Client, fake: FakeProvider) => {
  ok(await hub.admin("POST", "/providers", { name: "p", provider_type: "openai-compatible", api_key: "sk-test", allow_private: true, base_url: fake.url("openai") }))
  const add = async (model: object) => ok(await hub.admin("POST", "/models", { provider: "p", context_size: 100_000, max_output_tokens: 1000, ...model }))
  await add({ name: "large", weight: 20, cost_per_1k_tokens: price, aliases: ["big"] })
  await add({ name: "small", weight: 10, cost_per_1k_tokens: price })
  await add({ name: "unpriced", weight: 5, cost_per_1k_tokens: null })
}

const bench = (env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", ...env } })
    yield* Effect.promise(() => addModels(hub, fake))
    return { fake, hub }
  })

const test = (name: string, run: (bench: { readonly fake: FakeProvider; readonly hub: Hub }) => Promise<void>, env: Readonly<Record<string, string>> = {}) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(bench(env), (made) => Effect.promise(() => run(made)))), 30_000)

interface Key {
  readonly id: string
  readonly send: { readonly headers: Record<string, string> }
}

const makeKey = async (hub: Client, limits: object = {}): Promise<Key> => {
  const { id, key } = ok(await hub.admin("POST", "/keys", { name: "test", ...limits }))
  return { id, send: { headers: { authorization: `Bearer ${key}` } } }
}

const ask = (more: object = {}) => ({ messages: [{ role: "user", content: "Hello" }], max_tokens: 100, ...more })

const nanos = (usd: string): bigint => BigInt(usd.replace(".", ""))

const dollars = (amount: bigint): string => `${amount / 1_000_000_000n}.${String(amount % 1_000_000_000n).padStart(9, "0")}`

const shownKey = async (hub: Client, { id }: Key) => ok(await hub.admin("GET", `/keys/${id}`))

/** What one call of this request reserves. */
const reservedFor = async (hub: Client, body: object): Promise<bigint> => {
  const { id } = ok(await hub.chat(body, (await makeKey(hub)).send))
  return nanos(ok(await hub.admin("GET", `/requests/${id}`)).reserved_usd)
}

describe("a budget", () => {
  test("for ten calls lets ten of 200 at once reach the upstream, and what is left pays for more", async ({ fake, hub }) => {
    fake.script({}, { text: "Hi", usage: { prompt: 5, completion: 1 } })
    const one = await reservedFor(hub, ask())
    const budget = one * 10n + one / 2n
    const key = await makeKey(hub, { budget_usd: dollars(budget), budget_period: "total" })
    fake.reset()
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    fake.script({}, { text: "Hi", usage: { prompt: 5, completion: 1 }, delay: { headers: held }, always: true })
    let refused = 0
    const answers = Array.from({ length: 200 }, async () => {
      const answer = await hub.chat(ask(), key.send)
      if (answer.status === 402 && ++refused === 190) release()
      return answer
    })
    const settled = await Promise.all(answers)
    assert.lengthOf(fake.bill, 10)
    assert.strictEqual(settled.filter(({ status }) => status === 200).length, 10)
    const [no] = settled.filter(({ status }) => status === 402)
    assert.isDefined(no)
    isError(no!, 402, { code: "budget_exceeded", message: /this key's budget/ })
    assert.strictEqual(no?.json.error.type, "budget_error")
    assert.strictEqual(no?.headers.get("x-should-retry"), "false")
    const { reserved_usd, spent_usd } = await shownKey(hub, key)
    assert.deepStrictEqual([nanos(spent_usd), nanos(reserved_usd)], [10n * 6000n, 0n])
    ok(await hub.chat(ask(), key.send))
    const usage = ok(await hub.admin("GET", "/usage?group_by=key"))
    const row = usage.rows.find(({ group }: { group: string }) => group === key.id)
    assert.strictEqual(nanos(row.cost_usd), 11n * 6000n)
  })

  test("that can't pay the critic leaves the draft, and says so", async ({ fake, hub }) => {
    fake.script({}, { text: "a draft", usage: { prompt: 5, completion: 100 }, always: true })
    const key = await makeKey(hub, { budget_usd: "0.000180000" })
    const body = ok(await hub.chat(ask({ orchestration_mode: "adversarial" }), key.send))
    assert.deepInclude(body, { response: "a draft", degraded: "budget" })
    assert.lengthOf(fake.bill, 1)
    assert.lengthOf(body.attempts, 1)
  })

  test("has no use for models without a price", async ({ fake, hub }) => {
    const key = await makeKey(hub, { budget_usd: 10, models: ["unpriced"] })
    isError(await hub.chat(ask({ model: "unpriced" }), key.send), 402, { code: "budget_exceeded", message: /no price/ })
    const none = await hub.chat(ask(), key.send)
    isError(none, 422, { code: "no_candidate" })
    assert.include(none.json.error.details.models.map(({ reason }: { reason: string }) => reason), "unpriced")
    assert.lengthOf(fake.calls, 0)
    ok(await hub.chat(ask({ model: "unpriced" }), (await makeKey(hub)).send))
  })

  test("that is used up is told by the status also where a stream was asked for, on every door", async ({ fake, hub }) => {
    const key = await makeKey(hub, { budget_usd: 0 })
    for (const path of ["/v1/chat", "/v1/chat/completions", "/v1/messages"]) {
      const answer = await hub.post(path, ask({ model: "large", stream: true }), key.send)
      assert.strictEqual(answer.status, 402, path)
      assert.strictEqual(answer.headers.get("x-should-retry"), "false")
    }
    assert.lengthOf(fake.calls, 0)
  })

  test("of all callers together holds for those without a key too, and its alerts are told", async ({ fake, hub }) => {
    fake.script({}, { text: "Hi", usage: { prompt: 5, completion: 95 }, always: true })
    const feed = new AbortController()
    const events = await fetch(`${hub.url}/admin/events`, { headers: { authorization: `Bearer ${Harness.adminPassword}` }, signal: feed.signal })
    const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader()
    let cost = 0n
    while (true) {
      const answer = await hub.chat(ask())
      if (answer.status !== 200) {
        isError(answer, 402, { code: "budget_exceeded", message: /all callers/ })
        break
      }
      cost += nanos(answer.json.cost_usd)
    }
    assert.isTrue(cost <= 1_000_000n && cost >= 800_000n)
    assert.strictEqual(BigInt(fake.bill.length) * 100_000n, cost)
    let seen = ""
    while (!/"percent":100/.test(seen)) seen += (await reader.read()).value ?? ""
    feed.abort()
    assert.deepStrictEqual([...seen.matchAll(/event: budget.alert\ndata: (.*)/g)].map(([, data]) => JSON.parse(data ?? "").percent), [80, 100])
    const metrics = (await hub.get("/metrics")).text
    assert.match(metrics, /tokenhub_budget_used_ratio\{[^}]*key="all"[^}]*\} 0\.[89]|tokenhub_budget_used_ratio\{[^}]*key="all"[^}]*\} 1/)
    assert.match(metrics, /tokenhub_budget_alerts_total\{(?=[^}]*key="all")(?=[^}]*percent="100")[^}]*\} 1/)
  }, { TOKENHUB_BUDGET_USD: "0.001", TOKENHUB_BUDGET_PERIOD: "day", TOKENHUB_HEARTBEAT_MS: "50" })

  it.live("is still spent after a restart, and what ran when the process was killed at its maximum", () =>
    Effect.gen(function*() {
      const fake = yield* Fake.scoped()
      const folder = yield* Harness.folder
      const env = { TOKENHUB_MOCK: "false" }
      const first = yield* Harness.spawnChild({ env, folder })
      const key = yield* Effect.promise(async () => {
        await addModels(first, fake)
        fake.script({}, { text: "Hi", usage: { prompt: 5, completion: 5 } }, { text: "never", delay: { headers: 60_000 } })
        const key = await makeKey(first, { budget_usd: "0.001" })
        ok(await first.chat(ask(), key.send))
        const arrived = fake.next({})
        const lost = first.chat(ask(), key.send).catch(() => undefined)
        await arrived
        const { reserved_usd, spent_usd } = await shownKey(first, key)
        assert.strictEqual(nanos(spent_usd), 10_000n)
        // What was settled is written when it is asked for.
        await first.admin("GET", "/requests?limit=1")
        first.signal("SIGKILL")
        await Promise.all([first.ended, lost])
        return { ...key, expected: 10_000n + nanos(reserved_usd) }
      })
      const second = yield* Harness.start({ env, folder })
      yield* Effect.promise(async () => {
        const { reserved_usd, spent_usd } = await shownKey(second, key)
        assert.deepStrictEqual([nanos(spent_usd), nanos(reserved_usd)], [key.expected, 0n])
        isError(await second.chat(ask({ max_tokens: 900 }), key.send), 402, { code: "budget_exceeded" })
        ok(await second.chat(ask(), key.send))
      })
    }).pipe(Effect.scoped), 30_000)
})

describe("a limit a minute", () => {
  test("of a key lets one minute's requests pass at once; the next is told when to come back", async ({ fake, hub }) => {
    const key = await makeKey(hub, { rpm: 4 })
    const burst = await Promise.all(Array.from({ length: 4 }, () => hub.chat(ask(), key.send)))
    assert.deepStrictEqual(burst.map(({ status }) => status), [200, 200, 200, 200])
    assert.deepStrictEqual(burst.map(({ headers }) => headers.get("x-ratelimit-limit-requests")), ["4", "4", "4", "4"])
    assert.strictEqual(Math.min(...burst.map(({ headers }) => Number(headers.get("x-ratelimit-remaining-requests")))), 0)
    const refused = await hub.chat(ask(), key.send)
    isError(refused, 429, { code: "too_many_requests", message: /4 requests a minute of this key/ })
    assert.strictEqual(refused.json.error.type, "rate_limit_error")
    const wait = Number(refused.headers.get("retry-after"))
    assert.isTrue(Number.isInteger(wait) && wait >= 1 && wait <= 15, String(wait))
    assert.match(refused.headers.get("x-ratelimit-reset-requests") ?? "", /^(\d+(\.\d)?s|1m0s)$/)
    assert.strictEqual(refused.headers.get("x-ratelimit-remaining-requests"), "0")
    assert.lengthOf(fake.calls, 4)
    ok(await hub.chat(ask(), (await makeKey(hub)).send))
    ok(await hub.get("/v1/models", key.send))
    assert.isNull((await hub.chat(ask(), (await makeKey(hub)).send)).headers.get("x-ratelimit-limit-requests"))
    const rows = ok(await hub.admin("GET", "/requests?status=429")).requests
    assert.deepStrictEqual(rows.map((row: { key: string }) => row.key), [key.id])
  })

  test("on tokens reserves the estimate and is settled with the truth", async ({ fake, hub }) => {
    const left = (answer: Answer) => Number(answer.headers.get("x-ratelimit-remaining-tokens"))
    const key = await makeKey(hub, { tpm: 2000 })
    fake.script({}, { text: "Hi", usage: { prompt: 5, completion: 5 } }, { text: "Hi", usage: { prompt: 5, completion: 2995 } })
    const first = await hub.chat(ask({ max_tokens: 1000 }), key.send)
    ok(first)
    assert.isAtLeast(left(first), 1990)
    const second = await hub.chat(ask({ max_tokens: 1000 }), key.send)
    ok(second)
    assert.strictEqual(left(second), 0)
    const refused = await hub.chat(ask(), key.send)
    isError(refused, 429, { code: "too_many_requests", message: /2000 tokens a minute of this key/ })
    // About 1,000 are owed and 100 wanted, at 2,000 a minute.
    const wait = Number(refused.headers.get("retry-after"))
    assert.isTrue(wait > 20 && wait <= 35, String(wait))
    assert.lengthOf(fake.calls, 2)
  })

  test("of all callers together counts them all", async ({ hub }) => {
    for (let i = 0; i < 3; i++) ok(await hub.chat(ask()))
    isError(await hub.chat(ask()), 429, { code: "too_many_requests", message: /all callers/ })
  }, { TOKENHUB_LIMIT_RPM: "3" })

  test("on the tokens of all callers together counts them all", async ({ fake, hub }) => {
    fake.script({}, { text: "Hi", usage: { prompt: 5, completion: 1490 } })
    const first = await hub.chat(ask({ max_tokens: 1000 }), (await makeKey(hub)).send)
    ok(first)
    assert.strictEqual(first.headers.get("x-ratelimit-limit-tokens"), "1500")
    isError(await hub.chat(ask(), (await makeKey(hub)).send), 429, { code: "too_many_requests", message: /1500 tokens a minute of all callers/ })
    assert.lengthOf(fake.calls, 1)
  }, { TOKENHUB_LIMIT_TPM: "1500" })

  test("on the tokens of a model is settled with the truth, and sends the router on", async ({ fake, hub }) => {
    ok(await hub.admin("PATCH", "/models/large", { tpm: 2000 }))
    fake.script({ model: "large" }, { text: "Hi", usage: { prompt: 5, completion: 5 } }, { text: "Hi", usage: { prompt: 5, completion: 1985 } })
    const models = []
    for (let i = 0; i < 3; i++) models.push(ok(await hub.chat(ask({ max_tokens: 1000 }))).model)
    assert.deepStrictEqual(models, ["large", "large", "small"])
  })

  test("of a model sends the router on to the next, and an explicit request away", async ({ hub }) => {
    ok(await hub.admin("PATCH", "/models/large", { rpm: 1 }))
    const models = [ok(await hub.chat(ask())).model, ok(await hub.chat(ask())).model]
    assert.deepStrictEqual(models, ["large", "small"])
    const refused = await hub.chat(ask({ model: "large", policy: { allow_escalation: false } }))
    assert.strictEqual(refused.status, 429)
    const wait = Number(refused.headers.get("retry-after"))
    assert.isTrue(wait > 40 && wait <= 60, String(wait))
    ok(await hub.admin("PATCH", "/models/large", { rpm: null }))
    assert.strictEqual(ok(await hub.chat(ask())).model, "large")
  })
})

describe("a client key", () => {
  test("opens what its scopes say", async ({ hub }) => {
    const chat = await makeKey(hub, { scopes: ["chat"] })
    const models = await makeKey(hub, { scopes: ["models", "embeddings"] })
    ok(await hub.chat(ask(), chat.send))
    isError(await hub.get("/v1/models", chat.send), 403, { code: "forbidden", message: /models; its scopes: chat/ })
    isError(await hub.post("/v1/embeddings", { input: "Hello" }, chat.send), 403, { code: "forbidden" })
    ok(await hub.get("/v1/models", models.send))
    for (const path of ["/v1/chat", "/v1/chat/completions", "/v1/messages"]) {
      const refused = await hub.post(path, ask(), models.send)
      assert.strictEqual(refused.status, 403, path)
      assert.strictEqual(refused.json.error.type, "permission_error")
    }
    const [row] = ok(await hub.admin("GET", "/requests?status=403&limit=1")).requests
    assert.deepInclude(row, { key: models.id, error_code: "forbidden" })
  })

  test("may ask the models that it may, by name, alias or beginning, and sees no others", async ({ hub }) => {
    const listed = async (key: Key) =>
      ok(await hub.get("/v1/models", key.send)).data.map(({ id }: { id: string }) => id).filter((id: string) => !id.startsWith("tokenhub/"))
    const small = await makeKey(hub, { models: ["sma*"] })
    assert.strictEqual(ok(await hub.chat(ask(), small.send)).model, "small")
    assert.deepStrictEqual(await listed(small), ["small"])
    for (const body of [ask({ model: "large" }), ask({ model: "big", stream: true }), ask({ orchestration_mode: "adversarial", critic_model: "large" })]) {
      isError(await hub.chat(body, small.send), 403, { code: "forbidden", message: /'(large|big)'/ })
    }
    const alias = await makeKey(hub, { models: ["big"] })
    assert.strictEqual(ok(await hub.chat(ask({ model: "large" }), alias.send)).model, "large")
    ok(await hub.admin("PATCH", `/keys/${alias.id}`, { models: ["none-*"] }))
    const none = await hub.chat(ask(), alias.send)
    isError(none, 422, { code: "no_candidate" })
    assert.deepStrictEqual([...new Set(none.json.error.details.models.map(({ reason }: { reason: string }) => reason))], ["not_allowed"])
  })

  test("opens nothing once it has expired, and everything again when that is taken back", async ({ hub }) => {
    const key = await makeKey(hub, { expires_at: new Date(Date.now() + 3_600_000).toISOString() })
    ok(await hub.chat(ask(), key.send))
    ok(await hub.admin("PATCH", `/keys/${key.id}`, { expires_at: new Date(Date.now() - 1).toISOString() }))
    isError(await hub.chat(ask(), key.send), 401, { code: "invalid_credential", message: /^The credential is wrong$/ })
    ok(await hub.admin("PATCH", `/keys/${key.id}`, { expires_at: null }))
    ok(await hub.chat(ask(), key.send))
  })
})

describe("the ledger's sums", () => {
  test("are what the keys' budgets say, whatever became of the calls", async ({ fake, hub }) => {
    fake.script({}, { fault: "500" }, { text: "a" }, { fault: "malformed-json" }, { text: "b" }, { fault: "reset-mid-stream" })
    const keys = await Promise.all([makeKey(hub, { budget_usd: 1 }), makeKey(hub, { budget_usd: 1, budget_period: "day" })])
    await Promise.all(Array.from({ length: 24 }, (_, i) => hub.chat(ask({ stream: i % 3 === 0, max_tokens: 10 + i }), keys[i % 2]?.send)))
    await Effect.runPromise(Context.get(hub.services, Ledger).flush)
    const usage = ok(await hub.admin("GET", "/usage?group_by=key"))
    for (const key of keys) {
      const row = usage.rows.find(({ group }: { group: string }) => group === key.id)
      assert.deepInclude(await shownKey(hub, key), { spent_usd: row.cost_usd, reserved_usd: "0.000000000" })
      assert.isTrue(nanos(row.cost_usd) > 0n)
    }
  })
})
