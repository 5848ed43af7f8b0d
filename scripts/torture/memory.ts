/** What must not grow: memory under huge answers and over time. */
import { Effect } from "effect"
import { setTimeout as sleep } from "node:timers/promises"
import type { Torment } from "./Torment.ts"
import { ask, figure, openFiles, post, promise, rssMb, scaled, start } from "./Torment.ts"

export const huge: Torment = {
  name: "huge",
  about: "answers of a gigabyte, lines of 100 MB, bombs, and readers that read nothing",
  boundMinutes: 5,
  run: Effect.fnUntraced(function*(options) {
    const { fake, hub } = yield* start({ env: { TOKENHUB_BREAKER_FAILURES: "1000", TOKENHUB_RETRIES_PER_SECOND: "0" }, history: 100 })
    yield* Effect.promise(async () => {
      for (let i = 0; i < 300; i++) await post(hub, ask())
    })
    const rounds = scaled(10, options)
    let whole = 0
    /** By how much RSS grows at most while the provider does that. */
    const growth = async (fault: string, stream: boolean, times: number) => {
      const before = rssMb(hub)
      let most = before
      const watch = setInterval(() => (most = Math.max(most, rssMb(hub))), 5)
      for (let i = 0; i < times; i++) {
        fake.script({}, { fault })
        const { status } = await post(hub, ask({ stream }))
        if (status === 200 && !stream) whole++
      }
      clearInterval(watch)
      return most - before
    }
    const first = yield* Effect.promise(() => growth("huge", false, 1))
    const figures = [promise("a gigabyte, once: RSS grew by, MB", first, "< 64", first < 64)]
    for (const [fault, stream] of [["huge", false], ["huge", true], ["long-line", true], ["gzip-bomb", false], ["endless", true]] as const) {
      const more = yield* Effect.promise(() => growth(fault, stream, rounds))
      figures.push(figure(`${fault}${stream ? " (stream)" : ""}, ${rounds} in a row: RSS grew by, MB`, more))
    }
    const last = rssMb(hub)
    return [
      ...figures,
      promise("RSS after all of them, MB", last, "< 640", last < 640),
      promise("answered as if they were whole", whole, "0", whole === 0)
    ]
  })
}

export const soak: Torment = {
  name: "soak",
  about: "ten minutes of steady load of every kind, with RSS each minute",
  boundMinutes: 65,
  run: Effect.fnUntraced(function*(options) {
    const minutes = options.minutes ?? 10 * options.scale
    const { fake, hub } = yield* start({ models: ["m", "n"], history: 1000, env: { TOKENHUB_LOG_LEVEL: "error", TOKENHUB_RETRIES_PER_SECOND: "1000" } })
    const bodies = [
      ask(),
      ask({ stream: true }),
      ask({ model: "n", orchestration_mode: "adversarial", enable_refinement: true }),
      ask({ messages: [{ role: "user", content: "x".repeat(100_000) }] }),
      ask({ model: "nobody" }),
      ask({ messages: [] })
    ]
    fake.script((call) => call.model === "m" && Math.random() < 0.02, { fault: "reset-mid-stream", always: true })
    const statuses = new Map<number, number>()
    const rss: Array<number> = []
    const load = { asked: 0, running: true }
    yield* Effect.promise(async () => {
      const workers = Array.from({ length: 16 }, async () => {
        while (load.running) {
          const { status } = await post(hub, bodies[load.asked++ % bodies.length] ?? ask())
          statuses.set(status, (statuses.get(status) ?? 0) + 1)
          await sleep(20)
        }
      })
      const step = Math.min(1, minutes / 5) * 60_000
      for (let left = minutes * 60_000; left > 0; left -= step) {
        await sleep(Math.min(step, left))
        rss.push(rssMb(hub))
        options.say(`${load.asked} requests, RSS ${rss.at(-1)} MB, ${openFiles(hub)} open files`)
      }
      load.running = false
      await Promise.all(workers)
    })
    const settledRss = rss.slice(Math.floor(rss.length / 3))
    const growth = (settledRss.at(-1) ?? 0) - (settledRss[0] ?? 0)
    return [
      figure("minutes", minutes),
      figure("requests", load.asked),
      figure("answers by status", [...statuses].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`).join(", ")),
      promise("connections that failed, or 500", (statuses.get(0) ?? 0) + (statuses.get(500) ?? 0), "0", !statuses.has(0) && !statuses.has(500)),
      figure("RSS at each step, MB", rss.join(" ")),
      promise("growth after the first third, MB", growth, "< 64", growth < 64),
      figure("open files at the end", openFiles(hub))
    ]
  })
}
