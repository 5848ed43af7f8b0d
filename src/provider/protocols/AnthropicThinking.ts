/** Thinking as each of Anthropic's models is asked for it. */
import type { ProviderCall } from "../ProviderAdapter.ts"
import { budgetOf, effortOf } from "./Abilities.ts"
import type { ClaudeModel } from "./ClaudeModel.ts"
import type { Json } from "./Json.ts"

/** The least that Anthropic takes as a thinking budget, in tokens. */
const leastBudget = 1024

type Reasoning = ProviderCall["request"]["reasoning"]

/** Whether thoughts are in the answer: who asks in another protocol's words expects them. */
const displayOf = (reasoning: Reasoning, { quiet }: ClaudeModel): Json => {
  const shown = reasoning?.shown ?? (quiet && reasoning?.thinking === undefined ? true : undefined)
  return shown === undefined ? {} : { display: shown ? "summarized" : "omitted" }
}

/** What of the output limit an effort may spend on thinking: a quarter is left for the answer. */
const shareOf = (maxTokens: number): number => Math.min(Math.max(leastBudget, Math.floor(maxTokens * 0.75)), maxTokens - 1)

/** An effort is cut to its share of the output limit; a budget goes out as it was asked for. */
const budgetedOut = (reasoning: Reasoning, maxTokens: number, model: ClaudeModel): unknown => {
  const asked = budgetOf(reasoning)
  if (asked === undefined) return undefined
  const budget = reasoning?.budgetTokens ?? Math.min(asked, shareOf(maxTokens))
  return budget < leastBudget && reasoning?.budgetTokens === undefined
    ? undefined
    : { type: "enabled", budget_tokens: budget, ...displayOf(reasoning, model) }
}

/** `none`, where the model thinks by itself. */
const offOut = ({ off }: ClaudeModel): unknown => (off === "disabled" || off === "between_tools" ? { type: off } : undefined)

export const thinkingOut = (reasoning: Reasoning, maxTokens: number, model: ClaudeModel): unknown => {
  switch (reasoning?.thinking) {
    case "unset":
      return undefined
    case "disabled":
      return { type: "disabled" }
    case "adaptive":
      return model.thinking === "budget" && model.known
        ? budgetedOut({ effort: "medium", ...reasoning }, maxTokens, model)
        : { type: "adaptive", ...displayOf(reasoning, model) }
    default:
      if (reasoning?.effort === "none") return offOut(model)
      if (model.thinking === "budget") return budgetedOut(reasoning, maxTokens, model)
      // Without an effort the model thinks as it does by itself.
      return effortOf(reasoning) === undefined && (reasoning?.shown !== true || model.off === "absent")
        ? undefined
        : { type: "adaptive", ...displayOf(reasoning, model) }
  }
}

/** An effort in Anthropic's words; one that the model does not know is the next lower. */
const effortName = (effort: string, { efforts }: ClaudeModel): string =>
  effort === "minimal" || effort === "none" ? "low" : (effort === "xhigh" || effort === "max") && !efforts.has(effort) ? "high" : effort

/** The effort as it was asked for apart from thinking; else as the measure of a model that has no budgets. */
export const effortOut = (reasoning: Reasoning, model: ClaudeModel): string | undefined => {
  if (reasoning?.thinking !== undefined) return model.thinking === "budget" && reasoning.thinking === "adaptive" && model.known ? undefined : reasoning.effort
  if (model.thinking === "budget") return reasoning?.budgetTokens === undefined ? undefined : reasoning.effort
  const effort = effortOf(reasoning)
  return effort === undefined || (effort === "none" && model.off !== "never") ? undefined : effortName(effort, model)
}
