/** Answers in one piece: how many a second, what each costs, how much later they come, by connections and by size. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Bench, Figures } from "./measure.ts"
import { interleaved, smallBytes, warmUp } from "./measure.ts"
import { rssMb } from "./processes.ts"
import type { Section, Subjects } from "./section.ts"
import { known, milliseconds, ratioOf, rounded } from "./section.ts"

type By = ReadonlyMap<string, Figures>

const doors = ["openai", "chat"]

/** Requests of half a kilobyte with as short answers, on 16 connections; and memory before, during and after. */
export const small = async (bench: Bench, subjects: Subjects): Promise<Section> => {
  const idle = new Map(subjects.map(({ name, value }) => [name, rssMb(value.pid)]))
  await warmUp(bench, subjects, {})
  const by = await interleaved(bench, subjects, { connections: 16 }, "small requests")
  await sleep(2000)
  const rows = subjects.flatMap(({ name, value }) => {
    const figures = by.get(name)
    return figures === undefined ? [] : [{
      subject: name,
      "requests/s": Math.round(figures.perSecond),
      "CPU µs/request": rounded(figures.cpuPerRequest),
      "× bare": rounded(ratioOf(by, "cpuPerRequest", name), 2),
      "RSS MB idle": rounded(idle.get(name) ?? Number.NaN, 0),
      "under load": rounded(figures.rssMost, 0),
      after: rounded(rssMb(value.pid), 0)
    }]
  })
  console.log("\nSmall requests: 0.5 KB in and out, 16 connections")
  console.table(rows)
  return {
    figures: { small: Object.fromEntries(by), rssIdleMb: Object.fromEntries(idle) },
    ratios: known([
      ...doors.map((door) => ({ name: `${door}: CPU of a small request / bare proxy`, value: ratioOf(by, "cpuPerRequest", door), target: 2 })),
      { name: "openai: CPU of a small request / Portkey", value: ratioOf(by, "cpuPerRequest", "openai", "portkey"), target: 0.2 }
    ]),
    charts: []
  }
}

/** Latency on 1, 4, 16 and 64 connections: as fast as they go, and with an upstream that takes 10 ms, so that nobody queues. */
export const latency = async (bench: Bench, subjects: Subjects): Promise<Section> => {
  const measured: Array<{ readonly delayMs: number; readonly connections: number; readonly by: By }> = []
  for (const delayMs of [0, 10]) {
    for (const connections of [1, 4, 16, 64]) {
      measured.push({ delayMs, connections, by: await interleaved(bench, subjects, { connections, answer: { delayMs } }, `latency at ${connections}`) })
    }
  }
  for (const delayMs of [0, 10]) {
    console.log(`\nAdded latency in ms beyond the upstream itself, which answers ${delayMs === 0 ? "at once" : `after ${delayMs} ms`}: p50 / p99`)
    console.table(subjects.filter(({ name }) => name !== "upstream").map(({ name }) => ({
      subject: name,
      ...Object.fromEntries(measured.filter((one) => one.delayMs === delayMs).map(({ by, connections }) => {
        const [own, direct] = [by.get(name), by.get("upstream")]
        const text = own === undefined || direct === undefined
          ? "-"
          : `${milliseconds(own.p50 - direct.p50).toFixed(2)} / ${milliseconds(own.p99 - direct.p99).toFixed(2)}`
        return [`${connections} connection${connections === 1 ? "" : "s"}`, text]
      }))
    })))
  }
  const beyondBare = (door: string, figure: "p50" | "p99", delayMs: number) => {
    const by = measured.find((one) => one.delayMs === delayMs && one.connections === 16)?.by
    return ((by?.get(door)?.[figure] ?? Number.NaN) - (by?.get("bare")?.[figure] ?? Number.NaN)) / 1000
  }
  for (const door of doors) {
    const [p50, p99, paced50, paced99] = [beyondBare(door, "p50", 0), beyondBare(door, "p99", 0), beyondBare(door, "p50", 10), beyondBare(door, "p99", 10)]
    if (Number.isFinite(p50)) {
      console.log(`${door} at 16 connections beyond the bare proxy: p50 ${rounded(p50, 2)} ms (target: 1), p99 ${rounded(p99, 2)} ms; with 10 ms upstream ${rounded(paced50, 2)} and ${rounded(paced99, 2)} ms`)
    }
  }
  return {
    figures: { latency: measured.map(({ by, ...rest }) => ({ ...rest, ...Object.fromEntries(by) })) },
    ratios: [],
    charts: []
  }
}

const sizes: Readonly<Record<string, number>> = { "0.5 KB": smallBytes, "10 KB": 10_240, "100 KB": 102_400, "1 MB": 1_048_576 }

/** Large requests with small answers, and the other way round. */
export const bodies = async (bench: Bench, subjects: Subjects): Promise<Section> => {
  const measured: Array<{ readonly way: "in" | "out"; readonly size: string; readonly bytes: number; readonly by: By }> = []
  for (const way of ["in", "out"] as const) {
    for (const [size, bytes] of Object.entries(sizes)) {
      const load = way === "in" ? { bytes } : { answer: { bytes } }
      measured.push({ way, size, bytes, by: await interleaved(bench, subjects, { connections: 8, ...load }, `${size} ${way}`) })
    }
  }
  for (const way of ["in", "out"] as const) {
    console.log(`\nCPU µs per request by the size of what goes ${way}, 8 connections (× bare)`)
    console.table(subjects.filter(({ name }) => name !== "upstream").map(({ name }) => ({
      subject: name,
      ...Object.fromEntries(measured.filter((one) => one.way === way).map(({ by, size }) => {
        const own = by.get(name)
        return [size, own === undefined ? "-" : `${Math.round(own.cpuPerRequest)} (${rounded(ratioOf(by, "cpuPerRequest", name), 2)})`]
      }))
    })))
  }
  return {
    figures: { bodies: measured.map(({ by, ...rest }) => ({ ...rest, ...Object.fromEntries(by) })) },
    ratios: known(measured.filter(({ size }) => size === "100 KB").flatMap(({ by, way }) =>
      doors.map((door) => ({ name: `${door}: CPU with 100 KB ${way} / bare proxy`, value: ratioOf(by, "cpuPerRequest", door), target: 1.3 })))),
    charts: (["in", "out"] as const).map((way) => ({
      name: `bodies-${way}`,
      title: `CPU per request by the size of what goes ${way}`,
      x: "bytes",
      y: "CPU µs per request",
      series: subjects.filter(({ name }) => name !== "upstream").map(({ name }) => ({
        name,
        points: measured.filter((one) => one.way === way).flatMap(({ by, bytes }) => {
          const own = by.get(name)
          return own === undefined ? [] : [[bytes, own.cpuPerRequest] as const]
        })
      }))
    }))
  }
}
