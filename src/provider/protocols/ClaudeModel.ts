/** In what Anthropic's models differ, by their names: thinking, sampling and system turns changed over the generations. */

export interface ClaudeModel {
  /** The name tells the version. */
  readonly known: boolean
  /** How thinking is asked for: by a budget of tokens, or left to the model at an effort. */
  readonly thinking: "budget" | "adaptive"
  /** How thinking is switched off; `absent`: it is off unless asked for; `never`: the model always thinks. */
  readonly off: "absent" | "disabled" | "between_tools" | "never"
  /** What it thinks is left out of the answer unless the request asks for it. */
  readonly quiet: boolean
  /** Which of temperature, top_p and top_k may be set: all, one of the first two at a time, or none. */
  readonly sampling: "all" | "one" | "none"
  /** Efforts that it knows above `high`. */
  readonly efforts: ReadonlySet<string>
  /** Takes system messages in the middle of a conversation. */
  readonly systemTurns: boolean
  /** A tool can be forced on it. */
  readonly forcedTools: boolean
}

const generation = /claude-(opus|sonnet|haiku|fable|mythos)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)/
const before = /claude-(\d)(?:[-.](\d))?-(?:opus|sonnet|haiku)/

/** The version of a name: 4.5, 5; undefined: it tells none. */
const versionOf = (name: string): number | undefined => {
  const [, , major, minor] = generation.exec(name) ?? []
  if (major !== undefined) return Number(major) + Number(minor ?? 0) / 10
  const [, old, point] = before.exec(name) ?? []
  return old === undefined ? undefined : Number(old) + Number(point ?? 0) / 10
}

const beyondHigh = (version: number): ReadonlySet<string> => new Set(version >= 4.7 ? ["xhigh", "max"] : version >= 4.6 ? ["max"] : [])

/** A name without a version counts as one of the models that take all and think by a budget. */
export const claudeModel = (name: string): ClaudeModel => {
  const version = /mythos-preview/.test(name) ? 4.7 : versionOf(name) ?? 0
  const line = generation.exec(name)?.[1] ?? ""
  const latest = version >= 5.5 || (version >= 5 && (line === "fable" || line === "mythos"))
  return {
    known: version > 0,
    thinking: version >= 4.6 ? "adaptive" : "budget",
    off: version < 5 ? "absent" : line === "sonnet" && latest ? "between_tools" : latest && line !== "haiku" ? "never" : "disabled",
    quiet: version >= 4.7,
    sampling: version >= 4.7 ? "none" : version >= 4.1 ? "one" : "all",
    efforts: beyondHigh(version),
    systemTurns: version >= 4.8 && !(line === "sonnet" && !latest),
    forcedTools: !latest || line === "haiku"
  }
}
