/** Streams: how much later the first token comes, what a piece costs, and many at once with every piece counted. */
import type { Bench } from "./measure.ts"
import { interleaved, warmUp } from "./measure.ts"
import type { Section, Subjects } from "./section.ts"
import { known, milliseconds, ratioOf, rounded } from "./section.ts"

const pieces = 64

/** `many`: how many streams at once in the last part. */
export const streams = async (bench: Bench, subjects: Subjects, many: number): Promise<Section> => {
  const gateways = subjects.filter(({ name }) => name !== "upstream")
  await warmUp(bench, gateways, { pieces })
  const first = await interleaved(bench, subjects, { connections: 1, pieces: 8 }, "first token")
  const piece = await interleaved(
    { ...bench, seconds: Math.max(4, bench.seconds) },
    gateways,
    { connections: 100, pieces, answer: { everyMs: 20 } },
    "CPU per piece"
  )
  const crowd = await interleaved(
    { ...bench, rounds: 1, seconds: 120 },
    gateways,
    { connections: many, requests: many, pieces, answer: { everyMs: 20 } },
    `${many} streams`
  )
  console.log(`\nStreams of ${pieces} pieces, 20 ms apart; 1 connection for the first token, 100 for the CPU`)
  console.table(gateways.map(({ name }) => {
    const [own, direct, steady, full] = [first.get(name), first.get("upstream"), piece.get(name), crowd.get(name)]
    return {
      subject: name,
      "first token + ms, p50": own === undefined || direct === undefined ? "-" : milliseconds(own.firstP50 - direct.firstP50),
      "p99": own === undefined || direct === undefined ? "-" : milliseconds(own.firstP99 - direct.firstP99),
      "CPU µs/piece": steady === undefined ? "-" : rounded(steady.cpuPerPiece),
      "× bare pipe": rounded(ratioOf(piece, "cpuPerPiece", name), 2),
      [`${many} at once: pieces`]: full === undefined ? "-" : `${full.pieces} of ${many * pieces}`,
      "seconds": full === undefined ? "-" : rounded(full.seconds),
      "µs/piece": full === undefined ? "-" : rounded(full.cpuPerPiece),
      "RSS MB": full === undefined ? "-" : rounded(full.rssMost, 0)
    }
  }))
  return {
    figures: { streams: { first: Object.fromEntries(first), piece: Object.fromEntries(piece), many, crowd: Object.fromEntries(crowd) } },
    ratios: known(["openai", "chat"].flatMap((door) => {
      const full = crowd.get(door)
      return [
        { name: `${door}: CPU of a streamed piece / bare pipe`, value: ratioOf(piece, "cpuPerPiece", door), target: 1.5 },
        { name: `${door}: CPU of a piece among ${many} streams / bare pipe`, value: ratioOf(crowd, "cpuPerPiece", door) },
        ...(many < 1000 ? [] : [{ name: `${door}: RSS with ${many} streams / 400 MB`, value: (full?.rssMost ?? Number.NaN) / 400, target: 1 }])
      ]
    })),
    charts: []
  }
}
