/** What must not be lost: the ledger under kill -9, the vault under kill -9, a file that two processes want. */
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { closeSync, openSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setTimeout as sleep } from "node:timers/promises"
import type { Child } from "../../test/support/Harness.ts"
import * as Harness from "../../test/support/Harness.ts"
import type { Torment } from "./Torment.ts"
import { ask, figure, post, promise, scaled, start, watchMachine } from "./Torment.ts"

const workers = 8

/**
 * Each worker has a model of its own and one call at a time, and no prompt is as long as another of its model: a charge is then
 * told from every other by its model and its number of prompt tokens.
 */
export const kill: Torment = {
  name: "kill",
  about: "200 kill -9 under load against the fake provider's bill",
  boundMinutes: 25,
  run: Effect.fnUntraced(function*(options) {
    const rounds = scaled(200, options)
    const models = Array.from({ length: workers }, (_, i) => `w${i}`)
    const { env, fake, folder, hub } = yield* start({ models })
    const seen200 = new Set<string>()
    const lengths = models.map(() => 0)
    const run: { asked: number; hub: Child; running: boolean; dead: boolean } = { asked: 0, hub, running: true, dead: false }

    const work = async (worker: number): Promise<void> => {
      while (run.running) {
        const target = run.hub
        const content = "x".repeat(4 * ++(lengths[worker] as number))
        const stream = Math.random() < 0.5
        fake.script({ model: `w${worker}` }, { text: "one two three four", delay: { headers: Math.random() * 20, chunk: Math.random() * 10 } })
        run.asked++
        try {
          const answer = await target.chat({ model: `w${worker}`, stream, messages: [{ role: "user", content }] }, { signal: AbortSignal.timeout(20_000) })
          const id = answer.headers.get("x-request-id")
          if (answer.status === 200 && id !== null && (!stream || answer.text.includes("run.completed"))) seen200.add(id)
        } catch {
          await sleep(5)
        }
        // The next process has another address.
        while (run.running && run.dead) await sleep(5)
      }
    }
    const working = Promise.all(models.map((_, worker) => work(worker)))
    for (let round = 1; round <= rounds; round++) {
      yield* Effect.promise(() => sleep(50 + Math.random() * 700))
      run.dead = true
      run.hub.signal("SIGKILL")
      yield* Effect.promise(() => run.hub.ended)
      run.hub = yield* Harness.spawnChild({ env, folder })
      run.dead = false
      if (round % 20 === 0) options.say(`${round} kills, ${fake.bill.length} calls on the bill`)
    }
    run.running = false
    yield* Effect.promise(() => Promise.race([working, sleep(25_000)]))
    yield* Effect.promise(() => sleep(500))
    run.hub.signal("SIGTERM")
    yield* Effect.promise(() => run.hub.ended)

    const db = new DatabaseSync(join(folder, "tokenhub.db"), { readOnly: true })
    const attempts = db.prepare("SELECT model, outcome, prompt_tokens FROM attempts").all().map((row) => ({
      model: String(row["model"]),
      outcome: row["outcome"],
      prompt_tokens: Number(row["prompt_tokens"])
    }))
    const ids = new Set(db.prepare("SELECT id FROM requests").all().map(({ id }) => String(id)))
    const sums = db.prepare("SELECT (SELECT sum(cost) FROM requests) AS rows, (SELECT sum(cost) FROM usage_hourly) AS hours").get()
    const integrity = db.prepare("PRAGMA integrity_check").get()?.["integrity_check"]
    db.close()
    const key = (model: string, tokens: number) => `${model}/${tokens}`
    const settled = new Map<string, number>()
    const unknown = new Map<string, number>()
    for (const { model, outcome, prompt_tokens } of attempts) {
      if (outcome === "ok") settled.set(key(model, prompt_tokens), (settled.get(key(model, prompt_tokens)) ?? 0) + 1)
      else unknown.set(model, (unknown.get(model) ?? 0) + 1)
    }
    let missing = 0
    let atMaximum = 0
    for (const { model, prompt } of fake.bill) {
      if (settled.has(key(model, prompt))) continue
      const left = unknown.get(model) ?? 0
      if (left > 0) {
        unknown.set(model, left - 1)
        atMaximum++
      } else missing++
    }
    const double = [...settled.values()].filter((count) => count > 1).length
    const open = attempts.filter(({ outcome }) => outcome === null).length
    const lost = [...seen200].filter((id) => !ids.has(id)).length
    return [
      figure("kills", rounds),
      figure("requests asked", run.asked),
      figure("calls on the provider's bill", fake.bill.length),
      figure("of these settled with their usage", settled.size),
      figure("of these settled at their maximum, unknown", atMaximum),
      promise("missing on the ledger", missing, "0", missing === 0),
      promise("twice on the ledger", double, "0", double === 0),
      promise("left open", open, "0", open === 0),
      promise("answers seen whole whose request is on no ledger", lost, "0", lost === 0),
      promise("hourly sums minus rows, nano-dollars", Number(sums?.["hours"]) - Number(sums?.["rows"]), "0", sums?.["hours"] === sums?.["rows"]),
      promise("integrity of the file", String(integrity), "ok", integrity === "ok")
    ]
  })
}

export const vault: Torment = {
  name: "vault",
  about: "200 kill -9 while the vault's password is rotated",
  boundMinutes: 20,
  run: (options) =>
    Effect.sync(() => {
      const kills = scaled(200, options)
      const { status, stdout } = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", "--retry=0", "test/vault/Kill.test.ts"], {
        env: { ...process.env, TOKENHUB_TEST_KILLS: String(kills) },
        encoding: "utf8"
      })
      if (status !== 0) options.say(stdout)
      return [figure("kills", kills), promise("one password opens, and every secret", status === 0 ? "yes" : "NO", "yes", status === 0)]
    })
}

export const twice: Torment = {
  name: "twice",
  about: "a second process on the same file, while the first serves",
  boundMinutes: 3,
  run: Effect.fnUntraced(function*(options) {
    const { env, folder, hub } = yield* start()
    const tries = scaled(10, options)
    let refused = 0
    let served = 0
    for (let i = 0; i < tries; i++) {
      const second = yield* Harness.spawnChild({ env, folder })
      const [ended, reply] = yield* Effect.promise(() => Promise.all([second.ended, post(hub, ask())]))
      if (ended.code === 1 && second.errors().includes("Another TokenHub is running")) refused++
      if (reply.status === 200) served++
    }
    return [
      promise("second starts refused with a clear line", `${refused}/${tries}`, "all", refused === tries),
      promise("requests of the first served meanwhile", `${served}/${tries}`, "all", served === tries)
    ]
  })
}

export const budget: Torment = {
  name: "budget",
  about: "200 parallel calls on a budget for ten",
  boundMinutes: 3,
  run: Effect.fnUntraced(function*() {
    const { fake, hub } = yield* start()
    const made = yield* Effect.promise(() => hub.admin("POST", "/keys", { name: "measure" }))
    const send = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })
    const reserved = yield* Effect.promise(async () => {
      const { id } = (await hub.chat(ask(), send(made.json.key))).json
      return BigInt((await hub.admin("GET", `/requests/${id}`)).json.reserved_usd.replace(".", ""))
    })
    const amount = reserved * 10n
    const usd = `${amount / 1_000_000_000n}.${String(amount % 1_000_000_000n).padStart(9, "0")}`
    const { key } = (yield* Effect.promise(() => hub.admin("POST", "/keys", { name: "ten", budget_usd: usd }))).json
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    fake.script({}, { text: "held", delay: { headers: held }, always: true })
    const before = fake.calls.length
    const replies = yield* Effect.promise(async () => {
      const tally = { answered: 0 }
      const all = Array.from({ length: 200 }, () => post(hub, ask(), send(key)).finally(() => tally.answered++))
      while (tally.answered < 190) await sleep(10)
      release()
      return Promise.all(all)
    })
    const at = (status: number) => replies.filter((reply) => reply.status === status).length
    const upstream = fake.calls.length - before
    return [
      promise("calls that reached the upstream together", upstream, "10", upstream === 10),
      promise("answered 200 / 402", `${at(200)} / ${at(402)}`, "10 / 190", at(200) === 10 && at(402) === 190)
    ]
  })
}

export const locked: Torment = {
  name: "locked",
  about: "another program holds the database's lock for ten seconds",
  boundMinutes: 3,
  run: Effect.fnUntraced(function*() {
    const { fake, folder, hub } = yield* start()
    yield* Effect.promise(() => post(hub, ask()))
    const other = new DatabaseSync(join(folder, "tokenhub.db"))
    other.exec("BEGIN IMMEDIATE")
    const machine = watchMachine(hub)
    let lag = 0
    let reads = 0
    let slowestRead = 0
    const replies: Array<{ readonly status: number; readonly ms: number }> = []
    yield* Effect.promise(async () => {
      const until = performance.now() + 10_000
      const calls: Array<Promise<unknown>> = []
      while (performance.now() < until) {
        calls.push(post(hub, ask()).then((reply) => replies.push(reply)))
        const began = performance.now()
        if ((await hub.admin("GET", "/models")).status === 200) reads++
        slowestRead = Math.max(slowestRead, performance.now() - began)
        const late = /^tokenhub_event_loop_lag_seconds (\S+)/m.exec((await hub.get("/metrics")).text)?.[1]
        lag = Math.max(lag, Number(late ?? 0) * 1000)
        await sleep(20)
      }
      await Promise.all(calls)
    })
    other.exec("ROLLBACK")
    other.close()
    const recovered = yield* Effect.promise(async () => {
      const began = performance.now()
      while ((await post(hub, ask())).status !== 200) await sleep(20)
      return Math.round(performance.now() - began)
    })
    const refused = replies.filter(({ status }) => status === 503)
    return [
      figure("calls refused with 503 meanwhile", `${refused.length}/${replies.length}`),
      promise("longest wait for a refusal, ms", Math.round(Math.max(...refused.map(({ ms }) => ms))), "< 4000", refused.every(({ ms }) => ms < 4000)),
      promise("reads served meanwhile", reads, "> 50", reads > 50),
      figure("slowest of them, ms", Math.round(slowestRead)),
      promise("average lag of the event loop, most, ms", Math.round(lag), "< 100", lag < 100),
      machine(),
      promise("calls that left without a row", fake.calls.length - 2, "0", fake.calls.length === 2),
      figure("ms until it serves again", recovered)
    ]
  })
}

/** A file system of so many megabytes in memory, gone with the scope; undefined where this user may mount none. */
const smallDisk = (megabytes: number) =>
  Effect.gen(function*() {
    const folder = yield* Harness.folder
    const mount = yield* Effect.acquireRelease(
      Effect.sync(() => spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder]).status === 0),
      (mounted) => Effect.sync(() => mounted && spawnSync("umount", ["-l", folder]))
    )
    return mount ? folder : undefined
  })

export const full: Torment = {
  name: "full",
  about: "a disk that fills up under load, and is emptied again",
  boundMinutes: 4,
  run: Effect.fnUntraced(function*() {
    const folder = yield* smallDisk(16)
    if (folder === undefined) return [figure("not run", "it needs a file system of its own, and this user may mount none")]
    const { env, fake, hub } = yield* start({ folder })
    const stuffing = join(folder, "stuffing")
    const { key } = (yield* Effect.promise(() => hub.admin("POST", "/keys", { name: "budget", budget_usd: "1000" }))).json
    const one = (to: Child) => post(to, ask(), { headers: { authorization: `Bearer ${key}` } })
    const found = yield* Effect.promise(async () => {
      for (let i = 0; i < 20; i++) await one(hub)
      const file = openSync(stuffing, "w")
      try {
        for (;;) writeSync(file, Buffer.alloc(4096))
      } catch {
        closeSync(file)
      }
      const replies: Array<number> = []
      const until = performance.now() + 30_000
      let ready = 200
      let reads = 0
      while (performance.now() < until && (ready !== 503 || replies.filter((status) => status === 503).length < 50)) {
        replies.push(...(await Promise.all(Array.from({ length: 8 }, () => one(hub)))).map(({ status }) => status))
        ready = (await hub.get("/health/ready")).status
        if ((await hub.admin("GET", "/models")).status === 200) reads++
      }
      rmSync(stuffing)
      const began = performance.now()
      while ((await one(hub)).status !== 200 || (await hub.get("/health/ready")).status !== 200) await sleep(20)
      return { ready, reads, replies, recoveredMs: Math.round(performance.now() - began), bill: fake.bill.length }
    })
    hub.signal("SIGTERM")
    const { code } = yield* Effect.promise(() => hub.ended)
    const db = new DatabaseSync(join(folder, "tokenhub.db"), { readOnly: true })
    const attempts = Number(db.prepare("SELECT count(*) AS count FROM attempts").get()?.["count"])
    const open = Number(db.prepare("SELECT count(*) AS count FROM attempts WHERE outcome IS NULL").get()?.["count"])
    const integrity = String(db.prepare("PRAGMA integrity_check").get()?.["integrity_check"])
    db.close()
    const again = yield* Harness.spawnChild({ env, folder })
    const served = (yield* Effect.promise(() => one(again))).status
    const at = (status: number) => found.replies.filter((reply) => reply === status).length
    return [
      promise("while it is full: answered 200 / 503 / otherwise", `${at(200)} / ${at(503)} / ${found.replies.length - at(200) - at(503)}`, "no other", found.replies.length === at(200) + at(503) && at(503) > 0),
      promise("ready meanwhile", found.ready, "503", found.ready === 503),
      promise("reads served meanwhile", found.reads, "> 0", found.reads > 0),
      figure("ms until it serves again, once there is room", found.recoveredMs),
      promise("calls on the bill / on the ledger / open there", `${found.bill} / ${attempts} / ${open}`, "each once, none open", found.bill === attempts && open === 0),
      promise("integrity of the file, exit code, next start's answer", `${integrity}, ${code}, ${served}`, "ok, 0, 200", integrity === "ok" && code === 0 && served === 200)
    ]
  })
}
