/**
 * Measures TokenHub on this machine, next to a bare proxy and to other gateways in the same run: `npm run bench`. Everything
 * listens on loopback, on ports that are free. `--help` says what can be chosen.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { availableParallelism, cpus, homedir } from "node:os"
import { basename, join } from "node:path"
import { parseArgs } from "node:util"
import type { Ratio } from "./baseline.ts"
import { losses, save } from "./baseline.ts"
import { growth, soak, startUp } from "./growth.ts"
import { measureLedger } from "./ledger.ts"
import type { Bench } from "./measure.ts"
import { open } from "./measure.ts"
import { svg } from "./plot.ts"
import { helper, hasProc, stop } from "./processes.ts"
import type { CpuProfile } from "./profile.ts"
import { ownersOfLines, sharesOf } from "./profile.ts"
import { bodies, latency, small } from "./requests.ts"
import { rivals } from "./rivals.ts"
import { measureRouting, measureText } from "./routing.ts"
import type { Section, Subjects } from "./section.ts"
import { rounded } from "./section.ts"
import { streams } from "./streams.ts"
import type { Subject } from "./subjects.ts"
import { Absent, json } from "./subjects.ts"
import { product, tokenhub } from "./tokenhub.ts"

const bare: Subject = {
  name: "bare",
  title: "bare proxy: node:http, JSON, undici",
  start: async ({ upstream }) => {
    const { child, hello } = await helper("bare.ts", [upstream])
    return { url: `http://127.0.0.1:${String(hello)}`, path: "/v1/chat/completions", headers: [json], pid: child.pid ?? 0, stop: () => stop(child) }
  }
}

const all: ReadonlyArray<Subject> = [bare, ...tokenhub, ...rivals]
const parts = ["small", "latency", "bodies", "streams", "growth", "start", "ledger", "routing"]

const help = `usage: npm run bench -- [option ...]
  --subjects a,b   of: ${all.map(({ name }) => name).join(", ")} (default: all; with --quick those without a download)
  --only a,b       of: ${parts.join(", ")}
  --rounds N       measurements of each figure, of which the median counts (3; with --quick 1)
  --seconds S      of one measurement (2; with --quick 0.5)
  --quick          less of everything, under a minute
  --soak MINUTES   watches memory under load as well
  --json FILE      writes all figures
  --plot FOLDER    draws how cost grows, as SVG
  --check          fails if a ratio is more than 25 % worse than scripts/bench/baseline.json
  --save           makes this run's ratios the baseline
  --profile FOLDER TokenHub writes CPU profiles there when it ends; says who used the processor
  --cache FOLDER   where fetched gateways are kept (~/.cache/tokenhub-bench)`

const { values: options } = parseArgs({
  options: {
    subjects: { type: "string" },
    only: { type: "string" },
    rounds: { type: "string" },
    seconds: { type: "string" },
    quick: { type: "boolean", default: false },
    soak: { type: "string" },
    json: { type: "string" },
    plot: { type: "string" },
    check: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
    profile: { type: "string" },
    cache: { type: "string", default: join(homedir(), ".cache", "tokenhub-bench") },
    help: { type: "boolean", default: false }
  }
})

if (options.help) {
  console.log(help)
  process.exit(0)
}

const chosen = (given: string | undefined, known: ReadonlyArray<string>, usual: ReadonlyArray<string>): ReadonlySet<string> => {
  const names = given === undefined ? usual : given.split(",")
  const wrong = names.find((name) => !known.includes(name))
  if (wrong === undefined) return new Set(names)
  console.error(`'${wrong}' is none of ${known.join(", ")}`)
  process.exit(2)
}

const positive = (given: string | undefined, usual: number): number => {
  const value = given === undefined ? usual : Number(given)
  if (value > 0 && Number.isFinite(value)) return value
  console.error(`'${given}' is no positive number`)
  process.exit(2)
}

const { quick } = options
const wanted = chosen(options.subjects, all.map(({ name }) => name), (quick ? [bare, ...tokenhub] : all).map(({ name }) => name))
const only = chosen(options.only, parts, parts)
const minutes = options.soak === undefined ? 0 : positive(options.soak, 10)

/** Longer than any run should take; then everything is ended. */
const bound = setTimeout(() => {
  console.error("The bench took too long and was ended")
  process.exit(1)
}, (60 + minutes * 3) * 60_000)

/** Starts what is wanted; what can't be started is absent. */
const startAll = async (bench: Bench): Promise<{ readonly subjects: Subjects; readonly absent: Readonly<Record<string, string>> }> => {
  const absent: Record<string, string> = {}
  const subjects = []
  for (const subject of all.filter(({ name }) => wanted.has(name))) {
    try {
      const value = await subject.start(bench.ground)
      subjects.push({ name: subject.name, value })
      console.log(`${subject.name.padEnd(8)} ${subject.title}${value.note === undefined ? "" : ` (${value.note})`}`)
    } catch (error) {
      if (!(error instanceof Absent)) throw error
      absent[subject.name] = error.message
      console.log(`${subject.name.padEnd(8)} ${subject.title}: ABSENT, ${error.message}`)
    }
  }
  return { subjects, absent }
}

/** The parts that need no process of their own. */
const inProcess = async (): Promise<ReadonlyArray<Section>> => {
  const sections: Array<Section> = []
  if (only.has("ledger")) {
    const ledger = await measureLedger(quick ? 4000 : 20_000)
    console.log("\nLedger: requests of three rows each, 64 at a time, waiting for their commits")
    console.table([{ "rows/s": Math.round(ledger.rowsPerSecond), "CPU µs/request": rounded(ledger.cpuPerRequest) }])
    sections.push({ figures: { ledger }, ratios: [], charts: [] })
  }
  if (only.has("routing")) {
    const routing = measureRouting([10, 100, 1000, 10_000])
    console.log("\nRouting: time to choose a model, and to build the index after a change of the models")
    console.table(routing.map(({ indexMs, medianUs, models, p99Us, wish }) => ({
      models,
      wish,
      "median µs": rounded(medianUs),
      "p99 µs": rounded(p99Us),
      "index ms": rounded(indexMs)
    })))
    const text = measureText()
    console.table(text.map(({ medianMs, what }) => ({ what, "median ms": rounded(medianMs) })))
    sections.push({
      figures: { routing, text },
      ratios: [],
      charts: [{
        name: "routing",
        title: "Time to choose among many models",
        x: "models",
        y: "µs",
        series: [...new Set(routing.map(({ wish }) => wish))].map((wish) => ({
          name: wish,
          points: routing.filter((row) => row.wish === wish).map(({ medianUs, models }) => [models, medianUs] as const)
        }))
      }]
    })
  }
  return sections
}

const perform = async (bench: Bench, subjects: Subjects): Promise<ReadonlyArray<Section>> => {
  const direct = { name: "upstream", value: { url: bench.ground.upstream, path: "/v1/chat/completions", headers: [json], pid: bench.upstream.pid ?? 0, stop: async () => {} } }
  const withDirect = [direct, ...subjects]
  const sections: Array<Section> = []
  if (only.has("small") && subjects.length > 0) sections.push(await small(bench, subjects))
  if (only.has("latency") && !quick && subjects.length > 0) sections.push(await latency(bench, withDirect))
  if (only.has("bodies") && !quick && subjects.length > 0) sections.push(await bodies(bench, subjects))
  if (only.has("streams") && subjects.length > 0) sections.push(await streams(bench, withDirect, quick ? 200 : 1000))
  if (minutes > 0) sections.push(await soak(bench, subjects, minutes))
  await Promise.all(subjects.map(({ value }) => value.stop()))
  const path = subjects.find(({ name }) => name === "openai" || name === "chat")?.value.path
  if (only.has("growth") && path !== undefined) sections.push(await growth(bench, path, quick))
  if (only.has("start") && !quick) sections.push(await startUp(bench))
  return [...sections, ...await inProcess()]
}

const showRatios = (ratios: ReadonlyArray<Ratio>): void => {
  if (ratios.length === 0) return
  console.log("\nRatios of this run")
  console.table(ratios.map(({ name, target, value }) => ({
    ratio: name,
    value: rounded(value, 2),
    "at most": target ?? "-",
    met: target === undefined ? "-" : value <= target ? "yes" : "NO"
  })))
}

/** Who used the processor, by the profiles that were not there before. */
const showProfiles = (folder: string, before: ReadonlyArray<string>): void => {
  const lines = ownersOfLines(readFileSync(product(), "utf8"))
  for (const name of readdirSync(folder).filter((name) => name.endsWith(".cpuprofile") && !before.includes(name))) {
    const profile: CpuProfile = JSON.parse(readFileSync(join(folder, name), "utf8"))
    // A process that counts tokens has a bundle of its own.
    if (!profile.nodes.some(({ callFrame }) => callFrame.url.endsWith(`/${basename(product())}`))) continue
    console.log(`\nWho used the processor: ${join(folder, name)}`)
    console.table(sharesOf(profile, lines).filter(({ share }) => share >= 0.002).map(({ owner, share }) => ({ owner, "%": rounded(share * 100) })))
  }
}

const machine = `${cpus()[0]?.model ?? "?"}, ${availableParallelism()} processors, Node ${process.versions.node}`
console.log(`${machine}${hasProc ? "" : "; without /proc there are no figures of CPU and memory"}\n`)

const bench = await open({
  rounds: positive(options.rounds, quick ? 1 : 3),
  seconds: positive(options.seconds, quick ? 0.5 : 2),
  cache: options.cache,
  profiles: options.profile
})
try {
  if (options.profile !== undefined) mkdirSync(options.profile, { recursive: true })
  const profiles = options.profile === undefined ? [] : readdirSync(options.profile)
  const { absent, subjects } = await startAll(bench)
  const sections = await perform(bench, subjects)
  const ratios = sections.flatMap((section) => section.ratios)
  showRatios(ratios)
  if (options.json !== undefined) {
    const figures = Object.assign({}, ...sections.map((section) => section.figures))
    writeFileSync(options.json, `${JSON.stringify({ machine, rounds: bench.rounds, seconds: bench.seconds, absent, ratios, ...figures }, null, 2)}\n`)
  }
  if (options.plot !== undefined) {
    mkdirSync(options.plot, { recursive: true })
    for (const { name, series, title, x, y } of sections.flatMap((section) => section.charts)) {
      writeFileSync(join(options.plot, `${name}.svg`), svg(title, x, y, series))
    }
  }
  if (options.save) save(ratios)
  if (options.profile !== undefined) showProfiles(options.profile, profiles)
  if (options.check) {
    const worse = losses(ratios)
    for (const line of worse) console.error(`WORSE ${line}`)
    if (worse.length > 0) process.exitCode = 1
    else console.log("No ratio is more than 25 % worse than the baseline")
  }
} finally {
  await bench.close()
  clearTimeout(bound)
}
