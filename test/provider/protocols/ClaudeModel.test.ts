import { assert, describe, it } from "@effect/vitest"
import { claudeModel } from "../../../src/provider/protocols/ClaudeModel.ts"

describe("a model of Anthropic's", () => {
  const rows: ReadonlyArray<readonly [name: string, facts: string]> = [
    ["claude-3-7-sonnet-20250219", "budget absent all"],
    ["claude-opus-4-20250514", "budget absent all"],
    ["claude-opus-4-1-20250805", "budget absent one"],
    ["claude-haiku-4-5-20251001", "budget absent one"],
    ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "budget absent one"],
    ["claude-opus-4-6", "adaptive absent one max"],
    ["claude-opus-4-7", "adaptive absent none quiet xhigh max"],
    ["claude-opus-4-8-20260528", "adaptive absent none quiet xhigh max turns"],
    ["anthropic/claude-opus-4.8", "adaptive absent none quiet xhigh max turns"],
    ["claude-mythos-preview", "adaptive absent none quiet xhigh max"],
    ["claude-sonnet-5", "adaptive disabled none quiet xhigh max"],
    ["claude-opus-5", "adaptive disabled none quiet xhigh max turns"],
    ["claude-opus-5-5", "adaptive never none quiet xhigh max turns free"],
    ["claude-sonnet-5-5", "adaptive between_tools none quiet xhigh max turns free"],
    ["claude-haiku-5-5", "adaptive disabled none quiet xhigh max turns"],
    ["claude-fable-5-1", "adaptive never none quiet xhigh max turns free"],
    ["someone-else", "budget absent all"]
  ]
  for (const [name, expected] of rows) {
    it(`is known by its name: ${name}`, () => {
      const { efforts, forcedTools, off, quiet, sampling, systemTurns, thinking } = claudeModel(name)
      const facts = [thinking, off, sampling, quiet ? "quiet" : "", ...efforts, systemTurns ? "turns" : "", forcedTools ? "" : "free"]
      assert.strictEqual(facts.filter((fact) => fact !== "").join(" "), expected)
    })
  }
})
