import { assert, it as base, layer } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { textOf } from "../../src/domain/Chat.ts"
import { adapterFor, callOf, collect, environment, Fake, fakeAdapter, layer as harness, quick, upstreams } from "./Harness.ts"

layer(harness, { excludeTestServices: true })("Upstream", (it) => {
  const model = "gpt-4o"

  it.effect("43: a call that is interrupted before its answer closes the upstream's socket", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      fake.reset()
      fake.script(model, { fault: "no-headers" })
      const adapter = yield* fakeAdapter("openai")
      const arrived = fake.next(model)
      const fiber = yield* Effect.forkChild(adapter.complete(callOf(model)))
      const call = yield* Effect.promise(() => arrived)
      yield* Fiber.interrupt(fiber)
      yield* Effect.promise(() => call.ended).pipe(Effect.timeout(1000))
      assert.notStrictEqual(call.state, "open")
    }).pipe(Effect.scoped))

  it.effect("44: a stream that is interrupted, from outside or by who receives it, closes the upstream's socket", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      fake.reset()
      const adapter = yield* fakeAdapter("openai")
      fake.script(model, { fault: "drip?chunk_ms=20" }, { fault: "stall?after=1" })

      let events = 0
      yield* Effect.exit(adapter.stream(callOf(model), () => (++events < 2 ? Effect.void : Effect.interrupt)))
      yield* Effect.promise(() => fake.calls[0]?.ended ?? Promise.reject(new Error("no call"))).pipe(Effect.timeout(1000))

      const begun = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(adapter.stream(callOf(model), () => Effect.asVoid(Deferred.succeed(begun, undefined))))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* Effect.promise(() => fake.calls[1]?.ended ?? Promise.reject(new Error("no call"))).pipe(Effect.timeout(1000))
    }).pipe(Effect.scoped))

  it.effect("a connection is used again after a whole answer, a stream and an error", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      fake.reset()
      const adapter = yield* fakeAdapter("openai", { maxConcurrency: 1 })
      const before = fake.openSockets()
      for (let round = 0; round < 3; round++) {
        yield* adapter.complete(callOf(model))
        yield* collect(adapter, callOf(model))
        fake.script(model, { error: 400 })
        yield* Effect.flip(adapter.complete(callOf(model)))
      }
      assert.isAtMost(fake.openSockets() - before, 1)
    }).pipe(Effect.scoped))

  it.effect("a slow reader holds the upstream back", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      fake.reset()
      fake.script({ vendor: "openai" }, { fault: "endless" })
      const adapter = yield* fakeAdapter("openai")
      const arrived = fake.next(model)
      const opened = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        adapter.stream(callOf(model), () => Effect.andThen(Deferred.succeed(opened, undefined), Effect.never))
      )
      yield* Deferred.await(opened)
      const held = process.memoryUsage().arrayBuffers
      yield* Effect.sleep(300)
      assert.isBelow(process.memoryUsage().arrayBuffers - held, 8_000_000)
      assert.strictEqual((yield* Effect.promise(() => arrived)).state, "open")
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.scoped))

  it.effect("a closed endpoint lets its running calls end, and takes no more", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      fake.reset()
      fake.script(model, { text: "one two three four five", chunkSize: 4, delay: { chunk: 20 } })
      const own = yield* Scope.make()
      const adapter = yield* Scope.provide(fakeAdapter("openai"), own)
      const arrived = fake.next(model)
      const fiber = yield* Effect.forkChild(collect(adapter, callOf(model)))
      yield* Effect.promise(() => arrived)
      yield* Scope.close(own, Exit.void)
      const late = yield* Effect.flip(adapter.complete(callOf(model)))
      assert.deepInclude({ ...late }, { fault: "connection_reset", sent: false })
      assert.strictEqual(textOf((yield* Fiber.join(fiber)).completion.content), "one two three four five")
    }))

  it.effect("a key that no header can carry is not sent", () =>
    Effect.gen(function*() {
      const adapter = yield* fakeAdapter("openai")
      for (const secret of ["", "a b", "a\r\nx-evil: 1", "schlüssel"]) {
        const error = yield* Effect.flip(adapter.complete(callOf(model, "Hi", { apiKey: Redacted.make(secret) })))
        assert.deepInclude({ ...error }, { fault: "authentication", sent: false })
      }
    }).pipe(Effect.scoped))

  it.effect("38: TLS is verified whatever the environment says", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      const origin = yield* Effect.promise(() => fake.origin("tls-self-signed"))
      const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"]
      process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0"
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]
          else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before
        })
      )
      const adapter = yield* adapterFor("openai", `${origin}/v1`)
      assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).fault, "tls_error")
    }).pipe(Effect.scoped))
})

base.live("calls beyond a provider's concurrency wait in a queue; beyond the queue they are refused, unsent", () =>
  Effect.gen(function*() {
    const fake = yield* Fake
    const adapter = yield* fakeAdapter("openai", { maxConcurrency: 2 })
    let release = () => {}
    const gate = new Promise<void>((resolve) => (release = resolve))
    fake.script("m", { text: "Hi", delay: { headers: gate }, always: true })
    const calls = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(adapter.complete(callOf("m"))))
    while (fake.calls.length < 2) yield* Effect.sleep(5)
    const refused = yield* Effect.flip(adapter.complete(callOf("m")))
    assert.deepInclude({ ...refused }, { fault: "queue_full", sent: false })
    assert.strictEqual(fake.calls.length, 2)
    release()
    for (const call of calls) assert.strictEqual(textOf((yield* Fiber.join(call)).content), "Hi")
    assert.strictEqual(fake.calls.length, 3)
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.mergeAll(Fake.layer, upstreams({ ...environment, TOKENHUB_PROVIDER_QUEUE: "1" })))
  ))

base.live("a wait in the queue is as bounded as the wait for a first byte", () =>
  Effect.gen(function*() {
    const fake = yield* Fake
    const adapter = yield* fakeAdapter("openai", { maxConcurrency: 1, timeouts: { ...quick, wholeCallMs: 60_000, firstByteMs: 200 } })
    fake.script("m", { fault: "drip?chunk_ms=20" })
    const busy = yield* Effect.forkChild(adapter.stream(callOf("m"), () => Effect.void))
    while (fake.calls.length < 1) yield* Effect.sleep(5)
    assert.strictEqual((yield* Effect.flip(adapter.complete(callOf("m")))).fault, "queue_full")
    yield* Fiber.interrupt(busy)
    yield* adapter.complete(callOf("m"))
  }).pipe(Effect.scoped, Effect.provide(harness)))

base.live("private addresses are called for local types and on request only, by name as by number", () =>
  Effect.gen(function*() {
    const fake = yield* Fake
    const byName = fake.url("openai").replace("127.0.0.1", "localhost")
    for (const baseUrl of [fake.url("openai"), byName]) {
      const refused = yield* adapterFor("openai", baseUrl)
      const error = yield* Effect.flip(refused.complete(callOf("m")))
      assert.deepInclude({ ...error }, { fault: "egress_refused", sent: false })
      const stream = yield* Effect.flip(collect(refused, callOf("m")))
      assert.strictEqual(stream.fault, "egress_refused")
      assert.strictEqual(fake.calls.length, 0)
      for (const adapter of [yield* adapterFor("ollama", baseUrl), yield* adapterFor("openai", baseUrl, { allowPrivate: true })]) {
        yield* adapter.complete(callOf("m"))
      }
      fake.reset()
    }
  }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Fake.layer, upstreams({})))))
