/**
 * The long proofs: `npm run torture [-- name … --scale 0.1 --minutes 2 --seed 1]`. Each torment is bounded in time, runs against a TokenHub
 * process of its own and the fake provider on loopback, and prints its figures. The exit code is 1 if a promise was broken.
 */
import { Effect, Exit } from "effect"
import { parseArgs } from "node:util"
import { aborts, connections, dawdlers, guesses, overload, saturated } from "./crowd.ts"
import { canary, generated } from "./faults.ts"
import { budget, full, kill, locked, twice, vault } from "./ledger.ts"
import { huge, soak } from "./memory.ts"
import type { Torment } from "./Torment.ts"

const all: ReadonlyArray<Torment> = [budget, twice, locked, full, guesses, aborts, huge, canary, generated, connections, dawdlers, overload, saturated, kill, vault, soak]

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { scale: { type: "string", default: "1" }, minutes: { type: "string" }, seed: { type: "string" }, help: { type: "boolean", default: false } }
})

const unknown = positionals.find((name) => all.every((torment) => torment.name !== name))
if (values.help || unknown !== undefined) {
  if (unknown !== undefined) console.error(`There is no torment '${unknown}'.`)
  console.log("usage: npm run torture [-- name … --scale 0.1 --minutes 2 --seed 1]\n")
  for (const { about, boundMinutes, name } of all) console.log(`${name.padEnd(12)} ${about}; at most ${boundMinutes} minutes`)
  process.exit(unknown === undefined ? 0 : 2)
}

const scale = Number(values.scale)
const numberOr = (text: string | undefined) => (text === undefined ? undefined : Number(text))
const minutes = numberOr(values.minutes)
const seed = numberOr(values.seed)
let broken = 0

for (const torment of all.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
  console.log(`\n${torment.name}: ${torment.about}`)
  const began = performance.now()
  const bound = (torment.boundMinutes + (minutes ?? 0)) * 60_000
  const exit = await Effect.runPromiseExit(
    torment.run({ scale, minutes, seed, say: (line) => console.log(`  ${line}`) }).pipe(Effect.timeout(bound), Effect.scoped)
  )
  if (Exit.isFailure(exit)) {
    broken++
    console.log(`  FAILED: ${String(exit.cause)}`)
  } else {
    for (const { good, promised, value, what } of exit.value) {
      if (good === false) broken++
      console.log(`  ${good === undefined ? "      " : good ? "ok    " : "BROKEN"} ${what}: ${value}${promised === undefined ? "" : ` (promised: ${promised})`}`)
    }
  }
  console.log(`  ${((performance.now() - began) / 1000).toFixed(0)} s`)
}
console.log(broken === 0 ? "\nEvery promise was kept" : `\n${broken} promises were broken`)
process.exit(broken === 0 ? 0 : 1)
