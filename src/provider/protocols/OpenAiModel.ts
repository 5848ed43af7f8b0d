/** In what OpenAI's models differ, by their names; vendors that resell them write their own name and a slash before it. */
import type { ChatRequest } from "../../domain/Chat.ts"
import type { Feature } from "./Abilities.ts"
import { effortOf } from "./Abilities.ts"

const thinking = /(?:^|\/)(?:o\d|codex|gpt-(?!5-chat)[5-9])/
const plain = /(?:^|\/)(?:gpt-[34]|chatgpt|gpt-5-chat)/

/** From 5.1 on, sampling may be set where the model is told not to think, as it is by itself. */
const mayRest = /(?:^|\/)gpt-5\.\d/

/** Whether the model thinks; the others refuse to be asked for it. */
export const thinks = (model: string): boolean => thinking.test(model)

/** What a model refuses beside what the protocol lacks. */
export const lacksAt = (model: string, { reasoning }: ChatRequest): ReadonlyArray<Feature> => {
  if (plain.test(model)) return ["reasoning"]
  if (!thinks(model)) return []
  const effort = effortOf(reasoning)
  return mayRest.test(model) && (effort === undefined || effort === "none")
    ? ["stop"]
    : ["temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "stop"]
}
