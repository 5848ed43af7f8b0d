/** FAULTS.md rows 58, 64 and 66 to 71 through the whole product: more than there is room for, and outages. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { setTimeout as sleep } from "node:timers/promises"
import * as Bench from "../support/Bench.ts"
import type { FakeProvider } from "../support/FakeProvider.ts"
import type { Answer, Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

const { ask, ok } = Bench

interface Made {
  readonly fake: FakeProvider
  readonly hub: Hub
}

const test = (name: string, options: Parameters<typeof Bench.start>[0], run: (made: Made) => Promise<void>) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(Bench.start(options), (made) => Effect.promise(() => run(made)))), 40_000)

const isOverloaded = (answer: Answer) => {
  assert.strictEqual(answer.status, 503, answer.text)
  assert.strictEqual(answer.json.error.type, "overloaded_error")
  assert.isAtLeast(Number(answer.headers.get("retry-after")), 1)
}

describe("more work than there is room for", () => {
  test("58: connections beyond the bound are told 503, and health answers", { env: { TOKENHUB_PROCESS_CONCURRENCY: "50" } }, async ({ fake, hub }) => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    fake.script({}, { text: "held", delay: { headers: held }, always: true })
    const tally = { answered: 0 }
    const answers = Array.from({ length: 300 }, () => hub.chat(ask()).finally(() => tally.answered++))
    while (tally.answered < 250) await sleep(10)
    ok(await hub.get("/health/live"))
    assert.strictEqual(tally.answered, 250)
    release()
    const all = await Promise.all(answers)
    assert.strictEqual(all.filter(({ status }) => status === 200).length, 50)
    all.filter(({ status }) => status !== 200).forEach(isOverloaded)
  })

  it.live("67: with the heap nearly full new work gets 503 with Retry-After, and ready says why", () =>
    Effect.gen(function*() {
      // This process uses more than a hundredth of its limit, so that its heap counts as full.
      const hub = yield* Harness.start({ env: { TOKENHUB_MAX_HEAP_PERCENT: "1" } })
      yield* Effect.promise(async () => {
        while ((await hub.get("/health")).json.ready === true) await sleep(10)
        const refusal = await hub.chat(ask())
        isOverloaded(refusal)
        assert.include(refusal.json.error.message, "memory")
        isOverloaded(await hub.admin("GET", "/providers"))
        assert.deepStrictEqual((await hub.get("/health/ready")).json.reasons, ["heap_full"])
        ok(await hub.get("/health/live"))
        const { text } = await hub.get("/metrics")
        assert.match(text, /^tokenhub_shed_total\{reason="heap_full"\} [1-9]/m)
        assert.match(text, /^tokenhub_heap_used_ratio 0\.\d+/m)
      })
    }).pipe(Effect.scoped), 30_000)

  it.live("70: with the event loop late new work gets 503 with Retry-After, and afterwards it is welcome", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_MAX_LOOP_LAG_MS: "10" } })
      yield* Effect.promise(async () => {
        const busy = setInterval(() => Harness.spin(100), 110)
        while ((await hub.get("/health")).json.ready === true) await sleep(1)
        // It may have recovered meanwhile.
        let answer = await hub.chat(ask())
        while (answer.status === 200) answer = await hub.chat(ask())
        isOverloaded(answer)
        clearInterval(busy)
        while ((await hub.chat(ask())).status !== 200) await sleep(20)
      })
    }).pipe(Effect.scoped), 30_000)

  test("70: what a provider's queue can't hold is refused while the others are served", {
    env: { TOKENHUB_PROVIDER_QUEUE: "6" },
    provider: { max_concurrency: 4 }
  }, async ({ fake, hub }) => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    fake.script({}, { text: "slow", delay: { headers: held }, always: true })
    const tally = { answered: 0 }
    const answers = Array.from({ length: 60 }, () => hub.chat(ask({ model: "m" })).finally(() => tally.answered++))
    // Nobody waits to be refused: those that are served have no answer yet.
    while (tally.answered < 50) await sleep(10)
    assert.lengthOf(fake.calls, 4)
    release()
    const all = await Promise.all(answers)
    assert.lengthOf(all.filter(({ status }) => status === 200), 10)
    all.filter(({ status }) => status !== 200).forEach(isOverloaded)
    assert.lengthOf(fake.calls, 10)
  })
})

describe("requests that share a connection", () => {
  test("64: are answered in order, each authenticated by itself", {}, async ({ fake, hub }) => {
    const { key } = ok(await hub.admin("POST", "/keys", { name: "k" }))
    fake.script({}, { text: "first", delay: { headers: 200 } }, { text: "second" })
    const request = (credential: string) => {
      const body = JSON.stringify(ask())
      return `POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${credential}Content-Length: ${body.length}\r\n\r\n${body}`
    }
    const good = `Authorization: Bearer ${key}\r\n`
    const received = await hub.raw(request(good) + request("") + request(good), (text) => text.includes("second"))
    assert.deepStrictEqual([...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status), ["200", "401", "200"])
    assert.isBelow(received.indexOf("first"), received.indexOf("missing_credential"))
    assert.isBelow(received.indexOf("missing_credential"), received.indexOf("second"))
  })
})

describe("a chain of models that all fail", () => {
  test("68: is at most three hops long, and no model is asked twice", { models: ["a", "b", "c", "d", "e", "f"] }, async ({ fake, hub }) => {
    // Each has a larger context window than the one before it.
    for (const [at, name] of ["f", "e", "d", "c", "b", "a"].entries()) ok(await hub.admin("PATCH", `/models/${name}`, { context_size: 100_000 * (at + 1) }))
    fake.script({}, { fault: "529", always: true })
    isOverloaded(await hub.chat(ask()))
    assert.deepStrictEqual(fake.calls.map(({ model }) => model), ["f", "e", "d", "c"])
  })

  test("68: an alias never leads to another alias", { models: ["a", "b"] }, async ({ hub }) => {
    ok(await hub.admin("PATCH", "/models/a", { aliases: ["x"] }))
    assert.strictEqual((await hub.admin("PATCH", "/models/b", { aliases: ["x"] })).status, 409)
    assert.strictEqual((await hub.admin("PATCH", "/models/b", { aliases: ["a"] })).status, 409)
    assert.strictEqual(ok(await hub.chat(ask({ model: "x" }))).model, "a")
  })

  test("69: a critic that fails for good leaves the last good draft, and all calls are on the bill", { models: ["planner", "critic"] }, async ({ fake, hub }) => {
    fake.script({ model: "critic" }, { fault: "malformed-json", always: true })
    const answer = ok(await hub.chat(ask({ orchestration_mode: "adversarial", planner_model: "planner", critic_model: "critic", policy: { allow_escalation: false } })))
    assert.include(answer.response, "planner heard")
    assert.isString(answer.degraded)
    assert.lengthOf(answer.attempts, 2)
    assert.strictEqual(answer.attempts[1].outcome, "malformed_response")
    assert.isAbove(answer.attempts[1].usage.total_tokens, 0)
    assert.strictEqual(answer.tokens_used, answer.attempts[0].usage.total_tokens + answer.attempts[1].usage.total_tokens)
    const [row] = await Bench.settled(hub)
    assert.strictEqual(row?.usage.promptTokens, answer.usage.prompt_tokens)
  })
})

describe("a second call where the first brings no token", () => {
  for (const stream of [false, true]) {
    test(`is taken if it answers first, and the other is cancelled at once (${stream ? "stream" : "plain"})`, {
      env: { TOKENHUB_HEDGE_AFTER_MS: "100" },
      models: ["spare", "slow"]
    }, async ({ fake, hub }) => {
      fake.script({ model: "slow" }, stream ? { fault: "no-first-token" } : { fault: "no-headers" })
      fake.script({ model: "spare" }, { text: "from the spare one" })
      const answer = await hub.post("/v1/chat/completions", { stream, messages: [{ role: "user", content: "Hello" }] })
      assert.strictEqual(answer.status, 200, answer.text)
      assert.strictEqual(answer.headers.get("x-tokenhub-model"), "spare")
      if (stream) {
        assert.lengthOf(answer.text.match(/data: \[DONE\]/g) ?? [], 1)
        assert.lengthOf(answer.text.match(/"role":"assistant"/g) ?? [], 1)
      } else assert.strictEqual(answer.json.choices[0].message.content, "from the spare one")
      const [slow, spare] = fake.calls
      assert.deepStrictEqual([slow?.model, spare?.model], ["slow", "spare"])
      await slow?.ended
      assert.isBelow((slow?.endedAt ?? Infinity) - (spare?.endedAt ?? 0), 1000)
      const [row] = await Bench.settled(hub)
      const { attempts } = ok(await hub.admin("GET", `/requests/${row?.id}`))
      assert.deepStrictEqual(attempts.map(({ model, outcome }: { model: string; outcome: string }) => [model, outcome]), [["slow", "cancelled"], ["spare", "ok"]])
      assert.match((await hub.get("/metrics")).text, /^tokenhub_hedges_total\{model="slow"\} [1-9]/m)
    })
  }
})

describe("a provider that is down", () => {
  const patient = { TOKENHUB_BREAKER_FAILURES: "1000" }

  test("71: gets at most 1.2 calls a request and the allowance, and one a request when it is back", {
    env: { ...patient, TOKENHUB_RETRIES_PER_SECOND: "4" },
    models: ["a", "b", "c"]
  }, async ({ fake, hub }) => {
    fake.script({}, { fault: "503", always: true })
    const began = performance.now()
    const requests = 300
    for (let done = 0; done < requests; done += 50) {
      const answers = await Promise.all(Array.from({ length: 50 }, () => hub.chat(ask({ model: "a" }))))
      for (const { status } of answers) assert.include([502, 503], status)
    }
    const seconds = (performance.now() - began) / 1000
    // Five seconds' worth are saved up at the start.
    assert.isAtMost(fake.calls.length, 1.2 * requests + 4 * (seconds + 5))
    assert.isAtLeast(fake.calls.length, requests)
    fake.reset()
    const back = await Promise.all(Array.from({ length: 50 }, () => hub.chat(ask({ model: "a" }))))
    assert.isTrue(back.every(({ status }) => status === 200))
    assert.lengthOf(fake.calls, 50)
  })

  test("71: is asked by one probe at a time when its circuit reopens, however many wait", { env: { TOKENHUB_BREAKER_OPEN_MS: "400" } }, async ({ fake, hub }) => {
    fake.script({}, { fault: "503", always: true })
    while ((await hub.admin("GET", "/providers/p")).json.health.m.circuit === "closed") await hub.chat(ask())
    const shown = async () => /^tokenhub_circuit_state\{(?=[^}]*model="m")[^}]*\} (\d)$/m.exec((await hub.get("/metrics")).text)?.[1]
    assert.strictEqual(await shown(), "2")
    assert.deepInclude((await hub.admin("GET", "/providers/p")).json.health.m, { reason: "circuit_open" })
    fake.reset()
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    fake.script({}, { text: "back", delay: { headers: held } })
    while ((await hub.admin("GET", "/providers/p")).json.health.m.circuit === "open") await sleep(10)
    const waiting = Array.from({ length: 40 }, () => hub.chat(ask()))
    const early = await Promise.all(waiting.map((answer) => Promise.race([answer, sleep(2000).then(() => undefined)])))
    assert.lengthOf(fake.calls, 1)
    assert.lengthOf(early.filter((answer) => answer === undefined), 1)
    for (const answer of early) if (answer !== undefined) isOverloaded(answer)
    release()
    await Promise.all(waiting)
    const back = await Promise.all(Array.from({ length: 20 }, () => hub.chat(ask())))
    assert.isTrue(back.every(({ status }) => status === 200))
    assert.strictEqual(await shown(), "0")
    assert.deepInclude((await hub.admin("GET", "/providers/p")).json.health.m, { circuit: "closed", retry_after_ms: 0 })
  })

  test("71: is looked after in the background where that was switched on", { env: { TOKENHUB_HEALTH_CHECK_SECONDS: "1", TOKENHUB_BREAKER_FAILURES: "1" } }, async ({ fake, hub }) => {
    const shown = async () => ok(await hub.admin("GET", "/providers/p")).last_check
    assert.isUndefined(await shown())
    fake.script({ operation: "chat" }, { fault: "529", always: true })
    await hub.chat(ask())
    let check = await shown()
    while (check === undefined) {
      await sleep(50)
      check = await shown()
    }
    assert.deepInclude(check, { ok: true })
    assert.isTrue(fake.calls.some(({ operation }) => operation === "models"))
    fake.script({ operation: "models" }, { error: 401, always: true })
    while ((await shown()).ok) await sleep(50)
    assert.match((await shown()).message, /./)
  })
})
