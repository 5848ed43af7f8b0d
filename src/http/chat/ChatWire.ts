/** `POST /v1/chat` on the wire: from its JSON to a run. What goes back is `ChatAnswer.ts`. */
import { Result, Schema } from "effect"
import type { InvalidRequest } from "../../domain/RequestError.ts"
import type { RunRequest } from "../../orchestrate/Run.ts"
import { ChatRequest, chatPath } from "./ChatApi.ts"
import type { HeaderView } from "../Credentials.ts"
import { defined, isRecord } from "../Json.ts"
import { hasMedia, raise } from "../openai/OpenAiChatRequest.ts"
import { invalidRequest } from "../Route.ts"
import * as RunOptions from "../RunOptions.ts"
import { Policy } from "../RunOptionsApi.ts"

/** A run as a client asked for it, and how it wants the answer. */
export interface ChatCall extends Omit<RunRequest, "id" | "clientKey">, Pick<RunOptions.RunOptions, "params"> {
  readonly stream: boolean
  /** Whether a message has an image, a file or a recording: only then may a body be very large. */
  readonly media: boolean
}

/** Fields that TokenHub reads itself; every other one is handed on. */
const ownFields: ReadonlySet<string> = new Set(Object.keys(ChatRequest.fields))

/** Options that have fields of their own here. */
const names = { mode: "orchestration_mode", planner: "planner_model", critic: "critic_model" }

const decodeFrame = Schema.decodeUnknownResult(ChatRequest)

/** The run that a parsed body and its headers ask for, or the first thing that is wrong. `modes`: those that are registered. */
export const decode = (value: unknown, headers: HeaderView, modes: ReadonlyArray<string>): Result.Result<ChatCall, InvalidRequest> =>
  Result.flatMap(Result.mapError(decodeFrame(value), invalidRequest), (wire): Result.Result<ChatCall, InvalidRequest> => {
    const body = isRecord(value) ? value : {}
    const unknown = RunOptions.unknownField(body["policy"], "policy", Policy.fields)
    if (unknown !== undefined) return Result.fail(unknown)
    const options = RunOptions.read({
      headers,
      modes,
      model: wire.model,
      tokenhub: body["tokenhub"],
      names,
      own: {
        ...defined("mode", wire.orchestration_mode),
        ...defined("planner", wire.planner_model),
        ...defined("critic", wire.critic_model),
        ...(wire.enable_refinement === true ? { refinements: wire.max_refinement_iterations ?? 1 } : {}),
        ...defined("policy", wire.policy)
      },
      refinements: 0
    })
    return Result.flatMap(options, ({ dropUnsupported, events: _, ...asked }) =>
      Result.map(raise(wire, body, ownFields), (chat) => ({
        ...asked,
        endpoint: chatPath,
        chat: dropUnsupported ? { ...chat, dropUnsupported } : chat,
        stream: wire.stream === true,
        media: hasMedia(chat)
      })))
  })
