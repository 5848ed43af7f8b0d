/** How TokenHub's cost grows with its models and its client keys; how soon it is ready; how its memory does over minutes. */
import { join } from "node:path"
import type { Bench, Figures } from "./measure.ts"
import { interleaved, measure, warmUp } from "./measure.ts"
import { rssMb, stop } from "./processes.ts"
import type { Section, Subjects } from "./section.ts"
import { known, rounded } from "./section.ts"
import { median } from "./statistics.ts"
import { grown, launch } from "./tokenhub.ts"

type Kind = "models" | "keys"

const sizesOf: { readonly [K in Kind]: { readonly quick: ReadonlyArray<number>; readonly full: ReadonlyArray<number> } } = {
  models: { quick: [10, 10_000], full: [10, 100, 1000, 10_000] },
  keys: { quick: [1, 10_000], full: [1, 10, 100, 1000, 10_000] }
}

/** One TokenHub for each size, all of them measured in turn. */
const ofKind = async (bench: Bench, kind: Kind, sizes: ReadonlyArray<number>, path: string) => {
  const subjects = []
  try {
    for (const size of sizes) {
      subjects.push({ name: String(size), value: await grown(bench.ground, { models: 1, keys: 1, [kind]: size }, path) })
    }
    const load = { connections: 16, routed: kind === "models" }
    await warmUp(bench, subjects, load)
    const by = await interleaved(bench, subjects, load, kind)
    return subjects.flatMap(({ name, value }) => {
      const figures = by.get(name)
      return figures === undefined ? [] : [{ size: Number(name), readyMs: value.readyMs ?? Number.NaN, rssMb: rssMb(value.pid), figures }]
    })
  } finally {
    await Promise.all(subjects.map(({ value }) => value.stop()))
  }
}

export const growth = async (bench: Bench, path: string, quick: boolean): Promise<Section> => {
  const sections: Array<Section> = []
  for (const kind of ["models", "keys"] as const) {
    const rows = await ofKind(bench, kind, sizesOf[kind][quick ? "quick" : "full"], path)
    console.log(`\nTokenHub ${path} with many ${kind}${kind === "models" ? ", the router choosing" : ", used in turn"}; 16 connections`)
    console.table(rows.map(({ figures, readyMs, rssMb, size }) => ({
      [kind]: size,
      "CPU µs/request": rounded(figures.cpuPerRequest),
      "requests/s": Math.round(figures.perSecond),
      "p99 ms": rounded(figures.p99 / 1000, 2),
      "ready after ms": Math.round(readyMs),
      "RSS MB": rounded(rssMb, 0)
    })))
    const [least, most] = [rows[0], rows.at(-1)]
    const flat = (most?.figures.cpuPerRequest ?? Number.NaN) / (least?.figures.cpuPerRequest ?? Number.NaN)
    sections.push({
      figures: { [kind]: rows },
      ratios: known([{ name: `CPU of a request with ${most?.size} / ${least?.size} ${kind}`, value: flat, target: 1.15 }]),
      charts: [{
        name: `growth-${kind}`,
        title: `CPU per request with many ${kind}`,
        x: kind,
        y: "CPU µs per request",
        series: [{ name: path, points: rows.map(({ figures, size }) => [size, figures.cpuPerRequest] as const) }]
      }]
    })
  }
  return {
    figures: Object.assign({}, ...sections.map(({ figures }) => figures)),
    ratios: sections.flatMap(({ ratios }) => ratios),
    charts: sections.flatMap(({ charts }) => charts)
  }
}

/** Milliseconds from the start of the process to the first `/health/ready` that says yes: first starts on a new database, and later ones. */
export const startUp = async (bench: Bench): Promise<Section> => {
  const programs = [
    { name: "source", program: "src/main.ts" },
    { name: "bundle", program: undefined }
  ]
  const rows = []
  for (const { name, program } of programs) {
    for (const cached of [false, true]) {
      const env = cached ? { NODE_COMPILE_CACHE: join(bench.ground.folder, "compiled") } : {}
      const first: Array<number> = []
      const again: Array<number> = []
      let rss = Number.NaN
      for (let round = 0; round <= bench.rounds; round++) {
        const folder = join(bench.ground.folder, `start-${name.slice(0, 6)}-${cached}-${round}`)
        for (const times of [first, again]) {
          const { child, readyMs } = await launch(folder, program === undefined ? { env } : { program, env })
          rss = rssMb(child.pid ?? 0)
          await stop(child)
          // The first round fills the cache.
          if (round > 0) times.push(readyMs)
        }
      }
      rows.push({ program: name, "compile cache": cached, "first start ms": Math.round(median(first)), "later ms": Math.round(median(again)), "RSS MB": rounded(rss, 0) })
    }
  }
  console.log("\nStart-up, until /health/ready says yes: from the sources, and from the bundle that npm start makes")
  console.table(rows)
  return { figures: { startUp: rows }, ratios: [], charts: [] }
}

/** Minutes of small requests; the figures are what memory does from the second minute on. */
export const soak = async (bench: Bench, subjects: Subjects, minutes: number): Promise<Section> => {
  const rows = []
  for (const { name, value } of subjects.filter(({ name }) => name === "openai" || name === "chat")) {
    const seen: Array<number> = []
    let figures: Figures | undefined
    for (let minute = 0; minute < minutes; minute++) {
      figures = await measure(bench, value, { connections: 16, seconds: 60 })
      seen.push(rssMb(value.pid))
    }
    const [early = Number.NaN, late = Number.NaN] = [seen[Math.min(1, seen.length - 1)], seen.at(-1)]
    rows.push({ subject: name, minutes, "requests/s": Math.round(figures?.perSecond ?? 0), "RSS MB by minute": seen.map((mb) => Math.round(mb)).join(" "), growth: rounded(late / early, 2) })
  }
  console.log("\nMemory over time")
  console.table(rows)
  return {
    figures: { soak: rows },
    ratios: known(rows.map(({ growth, subject }) => ({ name: `${subject}: RSS after ${minutes} minutes / after 2`, value: growth, target: 1.1 }))),
    charts: []
  }
}
