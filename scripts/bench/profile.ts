/** Who used the processor, of the CPU profiles that TokenHub wrote: a package, a folder of its sources, the collector. Pure functions. */
import { dirname } from "node:path/posix"

interface Frame {
  readonly functionName: string
  /** Empty: native code. */
  readonly url: string
  /** From 0. */
  readonly lineNumber: number
}

/** What `node --cpu-prof` writes, as far as it is read here. */
export interface CpuProfile {
  readonly nodes: ReadonlyArray<{ readonly id: number; readonly callFrame: Frame; readonly children?: ReadonlyArray<number> }>
  /** Ids of the nodes that were met, and the microseconds before each. */
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

export interface Share {
  readonly owner: string
  /** Of all that was not idle, 0 to 1. */
  readonly share: number
}

const ofV8: ReadonlyMap<string, string> = new Map([
  ["(garbage collector)", "garbage collection"],
  ["(program)", "V8 and Node, native"],
  ["(root)", "V8 and Node, native"]
])

const packageOwner = (name: string): string => (name === "effect" || name.startsWith("@effect/") ? "Effect" : name)

/** Whose a file is, by its path from the project's root. */
const ownerOf = (path: string): string => {
  const [, name] = /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path) ?? []
  if (name !== undefined) return packageOwner(name)
  if (path.startsWith("src/store/")) return "src/store and SQLite"
  return dirname(path)
}

/** Whose each line of a bundle is: esbuild writes the path of a file above what came of it. */
export const ownersOfLines = (bundle: string): ReadonlyArray<string> => {
  let owner = "?"
  return bundle.split("\n").map((line) => {
    const [, path] = /^\/\/ ((?:src|node_modules)\/\S+)$/.exec(line) ?? []
    if (path !== undefined) owner = ownerOf(path)
    return owner
  })
}

/**
 * The shares of a profile of the bundle whose lines these are, largest first. Native code counts for who called it: SQLite for
 * `src/store`, hashes for who wanted one.
 */
export const sharesOf = ({ nodes, samples, timeDeltas }: CpuProfile, lines: ReadonlyArray<string>): ReadonlyArray<Share> => {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const owners = new Map<number, string>()
  const own = (id: number, caller: string): void => {
    const node = byId.get(id)
    if (node === undefined) return
    const { functionName, lineNumber, url } = node.callFrame
    const owner = url.startsWith("node:") ? "Node's JavaScript" : url === "" ? ofV8.get(functionName) ?? caller : lines[lineNumber] ?? "?"
    owners.set(id, owner)
    for (const child of node.children ?? []) own(child, owner)
  }
  const [root] = nodes
  if (root !== undefined) own(root.id, "?")
  const times = new Map<string, number>()
  let all = 0
  for (const [i, id] of samples.entries()) {
    if (byId.get(id)?.callFrame.functionName === "(idle)") continue
    const time = timeDeltas[i] ?? 0
    const owner = owners.get(id) ?? "?"
    times.set(owner, (times.get(owner) ?? 0) + time)
    all += time
  }
  return [...times].map(([owner, time]) => ({ owner, share: time / all })).toSorted((a, b) => b.share - a.share)
}
