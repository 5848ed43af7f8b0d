/** What many callers do at once: guess passwords, leave, dawdle, and ask more than there is room for. */
import { Effect } from "effect"
import { Agent, request } from "node:http"
import type { Socket } from "node:net"
import { connect } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import * as Harness from "../../test/support/Harness.ts"
import type { Reply, Torment } from "./Torment.ts"
import { ask, figure, metric, openFiles, percentile, post, promise, rssMb, scaled, start, watchMachine } from "./Torment.ts"

const guess = (port: number, password: string, localAddress: string): Promise<Reply> =>
  new Promise((resolve) => {
    const began = performance.now()
    const sent = request({ host: "127.0.0.1", port, path: "/admin/providers", localAddress, headers: { authorization: `Bearer ${password}` } }, (response) => {
      response.resume()
      response.on("end", () => resolve({ status: response.statusCode ?? 0, ms: performance.now() - began, retryAfter: response.headers["retry-after"] }))
    })
    sent.on("error", () => resolve({ status: 0, ms: performance.now() - began, retryAfter: undefined }))
    sent.end()
  })

export const guesses: Torment = {
  name: "guesses",
  about: "1,000 parallel password guesses, with the vault open and locked",
  boundMinutes: 3,
  run: Effect.fnUntraced(function*(options) {
    const count = scaled(1000, options)
    const { env, folder, hub } = yield* start()
    const storm = async (port: number) => {
      const replies = Promise.all(Array.from({ length: count }, (_, i) => guess(port, `wrong password number ${i}`, "127.0.0.1")))
      const right = await guess(port, Harness.adminPassword, "127.0.0.2")
      const all = await replies
      return { all, right, at: (status: number) => all.filter((reply) => reply.status === status).length }
    }
    const open = yield* Effect.promise(() => storm(hub.port))
    hub.signal("SIGTERM")
    yield* Effect.promise(() => hub.ended)
    const shut = yield* Harness.spawnChild({ folder, env: { ...env, TOKENHUB_ADMIN_PASSWORD: "not the one of the vault" } })
    yield* Effect.promise(() => sleep(6000))
    const locked = yield* Effect.promise(() => storm(shut.port))
    return [open, locked].flatMap(({ all, at, right }, i) => {
      const name = i === 0 ? "open" : "locked"
      const told = all.filter(({ status }) => status === 429).every(({ retryAfter }) => Number(retryAfter) >= 1)
      return [
        promise(`${name}: guesses let in`, at(200), "0", at(200) === 0),
        promise(`${name}: looked at (401) / put off (429)`, `${at(401)} / ${at(429)}`, "the sum is all", at(401) + at(429) === count),
        promise(`${name}: every 429 says when`, told ? "yes" : "NO", "yes", told),
        figure(`${name}: time to a refusal, median / most, ms`, `${percentile(all.map(({ ms }) => ms), 50)} / ${percentile(all.map(({ ms }) => ms), 100)}`),
        promise(`${name}: the right password from another address meanwhile`, right.status, i === 0 ? "200" : "200 or 429", right.status === 200 || (i === 1 && right.status === 429))
      ]
    })
  })
}

export const aborts: Torment = {
  name: "aborts",
  about: "500 clients that leave: in the body, before the answer, in mid-stream, at its end",
  boundMinutes: 5,
  run: Effect.fnUntraced(function*(options) {
    const { fake, hub } = yield* start()
    const each = scaled(125, options)
    yield* Effect.promise(() => post(hub, ask()))
    const before = openFiles(hub)
    /** Leaves after `until` saw enough, or once `when` is there, or at once after what was written. */
    const leave = (text: string, until?: (received: string) => boolean, when?: Promise<unknown>) =>
      new Promise<void>((resolve) => {
        const socket = connect(hub.port, "127.0.0.1")
        let received = ""
        socket.on("error", () => {})
        socket.on("close", () => resolve())
        socket.on("data", (chunk: Buffer) => {
          received += chunk.toString("latin1")
          if (until?.(received) === true) socket.destroy()
        })
        socket.write(text, () => {
          if (until !== undefined) return
          void (when ?? Promise.resolve()).then(() => setTimeout(() => socket.destroy(), 20 + Math.random() * 80))
        })
      })
    const request = (body: object, cut?: number) => {
      const text = JSON.stringify(body)
      return `POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text.slice(0, cut)}`
    }
    const storm = async (one: () => Promise<void>) => {
      const waiting = Array.from({ length: each }, one)
      await Promise.all(waiting)
      const left = performance.now()
      while (fake.calls.some(({ state }) => state === "open") && performance.now() - left < 10_000) await sleep(5)
      return Math.round(performance.now() - left)
    }
    const { cancelled, phases } = yield* Effect.promise(async () => {
      const inBody = await storm(() => leave(request(ask(), 20)))
      fake.reset()
      fake.script({}, { text: "never", delay: { headers: 30_000 }, always: true })
      const arrived = async () => {
        while (fake.calls.length < each) await sleep(5)
      }
      const allThere = arrived()
      const beforeAnswer = await storm(() => leave(request(ask()), undefined, allThere))
      const cancelled = fake.calls.length
      fake.reset()
      fake.script({}, { text: "abcd".repeat(5000), chunkSize: 4, delay: { chunk: 10 }, always: true })
      const inStream = await storm(() => leave(request(ask({ stream: true })), (text) => text.split("step.delta").length > 3 + Math.random() * 10))
      fake.reset()
      fake.script({}, { text: "the end", chunkSize: 4, always: true })
      const atEnd = await storm(() => leave(request(ask({ stream: true })), (text) => text.includes("step.completed") || text.includes("run.completed")))
      return { cancelled, phases: { inBody, beforeAnswer, inStream, atEnd } }
    })
    yield* Effect.promise(() => sleep(1500))
    const inFlight = yield* Effect.promise(() => metric(hub, "tokenhub_in_flight"))
    const rows = (yield* Effect.promise(() => hub.admin("GET", "/requests?event=chat&limit=1000"))).json.requests as ReadonlyArray<{ readonly status: number | null }>
    const open = rows.filter(({ status }) => status === null).length
    return [
      figure("clients that left", each * 4),
      promise("calls that the upstream had taken when their clients left before the answer", cancelled, `${each}`, cancelled === each),
      ...Object.entries(phases).map(([phase, ms]) => promise(`${phase}: ms until the upstream's last call was cancelled`, ms, "<= 1000", ms <= 1000)),
      promise("calls open at the upstream", fake.calls.filter(({ state }) => state === "open").length, "0", fake.calls.every(({ state }) => state !== "open")),
      promise("requests in flight, this scrape included", inFlight, "<= 1", inFlight <= 1),
      promise("rows left open", open, "0", open === 0),
      figure("upstream sockets kept for the next call", fake.openSockets()),
      promise("open files more than before, without these", openFiles(hub) - before - fake.openSockets(), "< 10", openFiles(hub) - before - fake.openSockets() < 10)
    ]
  })
}

const opened = async (port: number, count: number, first: string): Promise<ReadonlyArray<Socket>> => {
  const sockets: Array<Socket> = []
  for (let i = 0; i < count; i++) {
    const socket = connect(port, "127.0.0.1")
    socket.on("error", () => {})
    socket.write(first)
    sockets.push(socket)
    if (i % 200 === 199) await sleep(20)
  }
  return sockets
}

export const dawdlers: Torment = {
  name: "dawdlers",
  about: "5,000 sockets that send their headers byte by byte",
  boundMinutes: 5,
  run: Effect.fnUntraced(function*(options) {
    const { hub } = yield* start()
    const count = scaled(5000, options)
    const before = rssMb(hub)
    const result = yield* Effect.promise(async () => {
      const sockets = await opened(hub.port, count, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
      const seen = { closed: 0, told: 0 }
      for (const socket of sockets) {
        socket.on("close", () => seen.closed++)
        socket.on("data", (chunk: Buffer) => {
          if (chunk.toString("latin1").startsWith("HTTP/1.1 408")) seen.told++
        })
      }
      const began = performance.now()
      const drip = setInterval(() => sockets.forEach((socket) => socket.writable && socket.write("x")), 2000)
      const latencies: Array<number> = []
      let served = 0
      let most = 0
      while (seen.closed < sockets.length && performance.now() - began < 60_000) {
        const reply = await post(hub, ask())
        latencies.push(reply.ms)
        if (reply.status === 200) served++
        most = Math.max(most, rssMb(hub))
        await sleep(100)
      }
      clearInterval(drip)
      const seconds = (performance.now() - began) / 1000
      sockets.forEach((socket) => socket.destroy())
      return { ...seen, latencies, most, seconds, served }
    })
    return [
      figure("sockets", count),
      promise("closed by TokenHub", `${result.closed} in ${Math.round(result.seconds)} s`, "all in 60 s", result.closed === count),
      figure("of these told 408", result.told),
      promise("other requests served meanwhile", `${result.served}/${result.latencies.length}`, "all", result.served === result.latencies.length),
      figure("their time, median / 99 % / most, ms", [50, 99, 100].map((percent) => percentile(result.latencies, percent)).join(" / ")),
      promise("RSS before / most, MB", `${before} / ${result.most}`, "< 1024", result.most < 1024)
    ]
  })
}

export const connections: Torment = {
  name: "connections",
  about: "10,000 connections with a request each",
  boundMinutes: 5,
  run: Effect.fnUntraced(function*(options) {
    const { fake, hub } = yield* start({ env: { TOKENHUB_PROVIDER_CONCURRENCY: "64", TOKENHUB_PROVIDER_QUEUE: "8000", TOKENHUB_MAX_LOOP_LAG_MS: "0" } })
    const count = scaled(10_000, options)
    const before = rssMb(hub)
    fake.script({}, { text: "held", delay: { headers: 120_000 }, always: true })
    const text = JSON.stringify(ask())
    const result = yield* Effect.promise(async () => {
      const sockets = await opened(hub.port, count, `POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`)
      const seen = { refused: 0 }
      for (const socket of sockets) {
        socket.on("data", (chunk: Buffer) => {
          if (chunk.toString("latin1").includes("HTTP/1.1 503")) seen.refused++
        })
      }
      let most = 0
      let inFlight = 0
      const until = performance.now() + 60_000
      do {
        most = Math.max(most, rssMb(hub))
        await sleep(300)
        inFlight = Math.max(inFlight, await metric(hub, "tokenhub_in_flight"))
      } while (performance.now() < until && seen.refused < sockets.length - 4096)
      const live = (await hub.get("/health/live")).status
      sockets.forEach((socket) => socket.destroy())
      await sleep(2000)
      return { ...seen, inFlight, live, most }
    })
    return [
      figure("connections", count),
      promise("requests in flight", result.inFlight, "<= 4097", result.inFlight <= 4097),
      promise("the rest told 503", result.refused, `>= ${count - 4096}`, result.refused >= count - 4096),
      promise("health meanwhile", result.live, "200", result.live === 200),
      promise("RSS before / most, MB", `${before} / ${result.most}`, "< 1024", result.most < 1024)
    ]
  })
}

/** So many requests at once, each worker asking again as soon as it is answered. */
const closedLoop = async (workers: number, seconds: number, one: () => Promise<Reply>): Promise<ReadonlyArray<Reply>> => {
  const replies: Array<Reply> = []
  const until = performance.now() + seconds * 1000
  await Promise.all(Array.from({ length: workers }, async () => {
    while (performance.now() < until) replies.push(await one())
  }))
  return replies
}

/** So many requests a second, whatever becomes of them. */
const openLoop = async (rate: number, seconds: number, one: () => Promise<Reply>): Promise<ReadonlyArray<Reply>> => {
  const replies: Array<Promise<Reply>> = []
  const began = performance.now()
  for (;;) {
    const elapsed = performance.now() - began
    if (elapsed >= seconds * 1000) return Promise.all(replies)
    for (const due = Math.floor(elapsed * rate / 1000); replies.length < due;) replies.push(one())
    await sleep(2)
  }
}

export const overload: Torment = {
  name: "overload",
  about: "three times the load that the providers take, for 60 s",
  boundMinutes: 5,
  run: Effect.fnUntraced(function*(options) {
    const seconds = options.minutes === undefined ? 60 * options.scale : options.minutes * 60
    const slots = 32
    const { fake, hub } = yield* start({ env: { TOKENHUB_PROVIDER_QUEUE: "16", TOKENHUB_LOG_LEVEL: "error" }, provider: { max_concurrency: slots }, history: 1000 })
    fake.script({}, { text: "served", delay: { headers: 200 }, always: true })
    const one = () => post(hub, ask())
    const result = yield* Effect.promise(async () => {
      await closedLoop(slots, 5, one)
      const best = (await closedLoop(slots, 10, one)).filter(({ status }) => status === 200).length / 10
      const machine = watchMachine(hub)
      const replies = await openLoop(best * 3, seconds, one)
      return { best, machine: machine(), replies }
    })
    const good = result.replies.filter(({ status }) => status === 200)
    const refused = result.replies.filter(({ status }) => status === 503 || status === 429)
    const share = good.length / seconds / result.best
    const times = refused.map(({ ms }) => ms)
    return [
      figure("best goodput, requests/s", Math.round(result.best)),
      figure("offered, requests/s", Math.round(result.replies.length / seconds)),
      promise("goodput of the best, %", Math.round(share * 100), ">= 90", share >= 0.9),
      figure("refused", refused.length),
      promise("neither served nor refused", result.replies.length - good.length - refused.length, "0", good.length + refused.length === result.replies.length),
      promise("every refusal says when", refused.filter(({ retryAfter }) => retryAfter === undefined).length, "0 without", refused.every(({ retryAfter }) => retryAfter !== undefined)),
      promise("time to a refusal, median / 95 % / 99 %, ms", [50, 95, 99].map((percent) => percentile(times, percent)).join(" / "), "95 % <= 50", percentile(times, 95) <= 50),
      figure("time to an answer, median / 99 %, ms", [50, 99].map((percent) => percentile(good.map(({ ms }) => ms), percent)).join(" / ")),
      result.machine,
      figure("RSS at the end, MB", rssMb(hub))
    ]
  })
}

export const saturated: Torment = {
  name: "saturated",
  about: "1,024 connections that ask again at once, for 30 s: more than this processor takes",
  boundMinutes: 4,
  run: Effect.fnUntraced(function*(options) {
    const seconds = options.minutes === undefined ? 30 * options.scale : options.minutes * 60
    const { hub } = yield* start({ env: { TOKENHUB_LOG_LEVEL: "error" }, history: 1000 })
    const agent = new Agent({ keepAlive: true, maxSockets: 1024 })
    const one = () => post(hub, ask(), { agent })
    const result = yield* Effect.promise(async () => {
      await closedLoop(32, 5, one)
      const best = (await closedLoop(32, 10, one)).filter(({ status }) => status === 200).length / 10
      const began = performance.now()
      const machine = watchMachine(hub)
      const replies = await closedLoop(1024, seconds, one)
      return { best, machine: machine(), replies, took: (performance.now() - began) / 1000 }
    })
    agent.destroy()
    const good = result.replies.filter(({ status }) => status === 200)
    const refused = result.replies.filter(({ status }) => status === 503)
    const other = result.replies.length - good.length - refused.length
    const share = good.length / result.took / result.best
    return [
      figure("goodput of 32 connections, requests/s (client and provider share the processors)", Math.round(result.best)),
      promise("goodput of 1,024, % of that", Math.round(share * 100), ">= 75", share >= 0.75),
      figure("refused with 503", refused.length),
      promise("neither", other, "0", other === 0),
      figure("time to a refusal, median / 99 %, ms", refused.length === 0 ? "none" : [50, 99].map((percent) => percentile(refused.map(({ ms }) => ms), percent)).join(" / ")),
      figure("time to an answer, median / 99 %, ms", [50, 99].map((percent) => percentile(good.map(({ ms }) => ms), percent)).join(" / ")),
      result.machine,
      figure("RSS at the end, MB", rssMb(hub))
    ]
  })
}
