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

const decodeFrame = Schema.decodeUnknownResult(ChatRequest)

/** The run that a parsed body and its headers ask for, or the first thing that is wrong. `modes`: those that are registered. */
export const decode = (value: unknown, headers: HeaderView, modes: ReadonlyArray<string>): Result.Result<ChatCall, InvalidRequest> =>
  Result.gen(function*() {
    const wire = yield* Result.mapError(decodeFrame(value), invalidRequest)
    const body = isRecord(value) ? value : {}
    const unknown = RunOptions.unknownField(body["policy"], "policy", Policy.fields)
    if (unknown !== undefined) return yield* Result.fail(unknown)
    const { dropUnsupported, events: _, ...asked } = yield* RunOptions.read({
      headers,
      modes,
      model: wire.model,
      tokenhub: body["tokenhub"],
      own: {
        names: { mode: "orchestration_mode", planner: "planner_model", critic: "critic_model" },
        ...defined("mode", wire.orchestration_mode),
        ...defined("planner", wire.planner_model),
        ...defined("critic", wire.critic_model),
        ...(wire.enable_refinement === true ? { refinements: wire.max_refinement_iterations ?? 1 } : {}),
        ...defined("policy", wire.policy)
      },
      refinements: 0
    })
    const chat = yield* raise(wire, body, ownFields)
    return {
      ...asked,
      endpoint: chatPath,
      chat: dropUnsupported ? { ...chat, dropUnsupported } : chat,
      stream: wire.stream === true,
      media: hasMedia(chat)
    }
  })
