/** Google's Gemini API (v1beta): generateContent and streamGenerateContent. */
import { Effect } from "effect"
import type { Choice, Delta, FinishReason, Message, Part, Source, ToolResultPart } from "../../domain/Chat.ts"
import type { ProviderError } from "../../domain/ProviderError.ts"
import { marked, unmarked } from "../../domain/Signature.ts"
import type { ReportedUsage } from "../../domain/Usage.ts"
import type { ErrorDialect, Pattern } from "../Faults.ts"
import { answered, ofEvent, retryAfterMs } from "../Faults.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import type { StreamReader } from "../ServerEvents.ts"
import type { Feature } from "./Abilities.ts"
import { budgetOf } from "./Abilities.ts"
import { Collector, completionOf, endOf, finishOf, interrupted } from "./Collector.ts"
import type { Json } from "./Json.ts"
import { argumentsObject, codeOf, isJson, listOf, numberOf, objectOf, present, stringOf } from "./Json.ts"
import type { Protocol } from "./Protocol.ts"

// --- wire types

/** The client protocol whose extra fields this one takes. */
const protocol = "gemini"

const lacks: ReadonlyArray<Feature> = ["serial_tool_calls", "names"]

/** From the third generation on, thinking is asked for by level, and function calls want their signatures back. */
const isThirdGeneration = (model: string): boolean => /gemini-([3-9]|\d\d)/.test(model)

/** What Google documents for calls whose signature is lost, as when another vendor made them. */
const noSignature = "skip_thought_signature_validator"

// --- request out

const sourceOut = (source: Source): Json =>
  source.type === "url" ? { fileData: { fileUri: source.url } } : { inlineData: { mimeType: source.mediaType, data: source.data } }

/** A result is an object: JSON text as it is, other text under `result` or `error`. Its images stand beside it. */
const resultOut = (part: ToolResultPart, names: ReadonlyMap<string, string>): ReadonlyArray<Json> => {
  const text = part.content.map((inner) => (inner.type === "text" ? inner.text : "")).join("")
  const parsed = part.isError === true ? undefined : jsonObject(text)
  const response = parsed ?? { [part.isError === true ? "error" : "result"]: text }
  const name = names.get(part.toolCallId) ?? part.toolCallId
  return [
    { functionResponse: { id: part.toolCallId, name, response } },
    ...part.content.flatMap((inner) => (inner.type === "image" ? [sourceOut(inner.source)] : []))
  ]
}

const jsonObject = (text: string): Json | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return isJson(value) ? value : undefined
  } catch {
    return undefined
  }
}

const ownSignature = (part: Part): string | undefined => (part.type === "reasoning" ? unmarked("gemini", part.signature) : undefined)

/**
 * The parts of one message. A thought's signature belongs on what follows it, and the last before the first call on that: other
 * protocols keep all thoughts in front of all words. The thought itself is not asked for again.
 */
const partsOut = (message: Message, names: ReadonlyMap<string, string>, signed: boolean): ReadonlyArray<Json> => {
  const { content } = message
  const out: Array<Json> = []
  const firstCall = content.findIndex(({ type }) => type === "tool_call")
  const ofCall = content.slice(0, Math.max(0, firstCall)).findLast((part) => ownSignature(part) !== undefined)
  let signature: string | undefined
  let calls = 0
  for (const [at, part] of content.entries()) {
    const given = at === firstCall && ofCall !== undefined ? ownSignature(ofCall) : signature
    const own = given === undefined ? {} : { thoughtSignature: given }
    if (part.type === "reasoning") {
      if (part !== ofCall) signature = ownSignature(part) ?? signature
      continue
    }
    signature = undefined
    switch (part.type) {
      case "text":
      case "refusal":
        if (part.text !== "") out.push({ text: part.text, ...own })
        break
      case "image":
      case "file":
        out.push({ ...sourceOut(part.source), ...own })
        break
      case "audio":
        out.push({ inlineData: { mimeType: part.format.includes("/") ? part.format : `audio/${part.format}`, data: part.data } })
        break
      case "tool_call": {
        const lost = signed && calls++ === 0 ? { thoughtSignature: noSignature } : {}
        out.push({ functionCall: { id: part.id, name: part.name, args: argumentsObject(part.arguments) }, ...lost, ...own })
        break
      }
      case "tool_result":
        out.push(...resultOut(part, names))
    }
  }
  return signature === undefined ? out : [...out, { text: "", thoughtSignature: signature }]
}

const isSystem = ({ role }: Message): boolean => role === "system" || role === "developer"

/** Neighbours of one role are one content; empty ones, which Gemini refuses, are none. */
const contentsOut = (call: ProviderCall): ReadonlyArray<Json> => {
  const { messages } = call.request
  const made = messages.flatMap(({ content }) => content.filter((part) => part.type === "tool_call"))
  const names = new Map(made.map(({ id, name }) => [id, name]))
  const signed = isThirdGeneration(call.upstreamModel)
  const turns: Array<{ readonly role: string; readonly parts: Array<Json> }> = []
  for (const message of messages) {
    if (isSystem(message)) continue
    const role = message.role === "assistant" ? "model" : "user"
    const parts = partsOut(message, names, signed)
    if (parts.length === 0) continue
    const last = turns.at(-1)
    if (last?.role === role) last.parts.push(...parts)
    else turns.push({ role, parts: [...parts] })
  }
  return turns
}

/** What is said, and the instructions; where nothing else is said, they are a question here too. */
const promptOut = (call: ProviderCall): Json => {
  const parts = call.request.messages.filter(isSystem).flatMap((message) => partsOut(message, new Map(), false))
  const contents = contentsOut(call)
  if (parts.length === 0) return { contents }
  return contents.length === 0 ? { contents: [{ role: "user", parts }] } : { systemInstruction: { parts }, contents }
}

/** As little thinking as the model can do. */
const leastThinking = (model: string): Json =>
  isThirdGeneration(model) ? { thinkingLevel: /flash/.test(model) ? "minimal" : "low" } : { thinkingBudget: /2\.5-pro/.test(model) ? 128 : 0 }

/** The largest budget that every model of the second generation takes. */
const mostBudget = 24_576

/** Levels by the efforts that have another name. */
const levels: { readonly [effort: string]: string } = { xhigh: "high", max: "high" }

const thinkingOut = ({ request: { reasoning }, upstreamModel }: ProviderCall): unknown => {
  if (reasoning === undefined) return undefined
  const { budgetTokens, effort, shown, thinking } = reasoning
  if (effort === "none") return leastThinking(upstreamModel)
  const asked = budgetOf(reasoning)
  // Where the model decides, thoughts can be shown all the same.
  if (asked === undefined && effort === undefined) return thinking === "adaptive" || shown === true ? { includeThoughts: shown ?? true } : undefined
  return present({
    includeThoughts: shown ?? true,
    ...(isThirdGeneration(upstreamModel) && budgetTokens === undefined && effort !== undefined
      ? { thinkingLevel: levels[effort] ?? effort }
      : { thinkingBudget: budgetTokens ?? (asked === undefined ? undefined : Math.min(asked, mostBudget)) })
  })
}

const toolConfigOut = ({ toolChoice }: ProviderCall["request"]): unknown => {
  if (toolChoice === undefined) return undefined
  const functionCallingConfig = typeof toolChoice === "object"
    ? { mode: "ANY", allowedFunctionNames: [toolChoice.name] }
    : { mode: { auto: "AUTO", none: "NONE", required: "ANY" }[toolChoice] }
  return { functionCallingConfig }
}

const bodyOut = (call: ProviderCall): Json => {
  const { request } = call
  const format = request.responseFormat
  const extra = request.extra?.protocol === protocol ? request.extra.fields : {}
  const hasTools = request.tools !== undefined && request.tools.length > 0
  return present({
    ...extra,
    ...promptOut(call),
    tools: hasTools
      ? [{
        functionDeclarations: request.tools?.map(({ description, name, parameters }) =>
          present({ name, description, parametersJsonSchema: parameters })
        )
      }]
      : extra["tools"],
    toolConfig: hasTools ? toolConfigOut(request) : extra["toolConfig"],
    generationConfig: present({
      ...objectOf(extra["generationConfig"]),
      maxOutputTokens: request.maxTokens,
      temperature: request.temperature,
      topP: request.topP,
      topK: request.topK,
      stopSequences: request.stop,
      seed: request.seed,
      frequencyPenalty: request.frequencyPenalty,
      presencePenalty: request.presencePenalty,
      candidateCount: request.n,
      responseLogprobs: request.logprobs,
      logprobs: request.topLogprobs,
      responseMimeType: format === undefined || format.type === "text" ? undefined : "application/json",
      responseJsonSchema: format?.type === "json_schema" ? format.schema : undefined,
      thinkingConfig: thinkingOut(call)
    })
  })
}

/** A model's name as a resource: `models/…` unless it is tuned. */
export const resourceOf = (model: string): string => (model.includes("/") ? model : `models/${model}`)

export const pathOf = (model: string, method: string): string =>
  `/v1beta/${resourceOf(model).split("/").map(encodeURIComponent).join("/")}:${method}`

// --- answer in

const finishReasons: { readonly [reason: string]: FinishReason } = {
  STOP: "stop",
  MAX_TOKENS: "length",
  SAFETY: "content_filter",
  RECITATION: "content_filter",
  LANGUAGE: "content_filter",
  BLOCKLIST: "content_filter",
  PROHIBITED_CONTENT: "content_filter",
  SPII: "content_filter",
  IMAGE_SAFETY: "content_filter",
  IMAGE_PROHIBITED_CONTENT: "content_filter",
  IMAGE_RECITATION: "content_filter"
}

/** A candidate's parts as deltas. `calls` counts the candidate's function calls so far; ids are made where Gemini gives none. */
const deltasIn = (candidate: Json, answerId: string, calls: { count: number }): ReadonlyArray<Delta> =>
  listOf(objectOf(candidate["content"])["parts"]).flatMap((part): ReadonlyArray<Delta> => {
    const given = stringOf(part["thoughtSignature"])
    const signature = given === undefined ? {} : { signature: marked("gemini", given) }
    const own: ReadonlyArray<Delta> = given === undefined ? [] : [{ type: "reasoning", text: "", ...signature }]
    const made = part["functionCall"]
    if (isJson(made)) {
      const index = calls.count++
      return [...own, {
        type: "tool_call",
        index,
        id: stringOf(made["id"]) ?? `call_${answerId}_${index}`,
        name: stringOf(made["name"]) ?? "",
        arguments: JSON.stringify(objectOf(made["args"]))
      }]
    }
    const text = stringOf(part["text"])
    if (part["thought"] === true) {
      return text === undefined && given === undefined ? [] : [{ type: "reasoning", text: text ?? "", ...signature }]
    }
    return text === undefined ? own : [...own, { type: "text", text }]
  })

/** Pictures that the model made. They come whole, also in a stream. */
const imagesIn = (candidate: Json): ReadonlyArray<Part> =>
  listOf(objectOf(candidate["content"])["parts"]).flatMap((part): ReadonlyArray<Part> => {
    const inline = objectOf(part["inlineData"])
    const data = stringOf(inline["data"])
    const mediaType = stringOf(inline["mimeType"]) ?? "image/png"
    return data === undefined ? [] : [{ type: "image", source: { type: "data", mediaType, data } }]
  })

const usageIn = (value: unknown): ReportedUsage | undefined => {
  if (!isJson(value)) return undefined
  const prompt = numberOf(value["promptTokenCount"])
  const answer = numberOf(value["candidatesTokenCount"])
  const thoughts = numberOf(value["thoughtsTokenCount"])
  return {
    promptTokens: prompt === undefined ? undefined : prompt + (numberOf(value["toolUsePromptTokenCount"]) ?? 0),
    cachedTokens: value["cachedContentTokenCount"],
    completionTokens: answer === undefined && thoughts === undefined ? undefined : (answer ?? 0) + (thoughts ?? 0),
    reasoningTokens: thoughts
  }
}

/** Gemini's log probabilities in OpenAI's shape. */
const logprobsIn = (candidate: Json): unknown => {
  const result = objectOf(candidate["logprobsResult"])
  const chosen = listOf(result["chosenCandidates"])
  if (chosen.length === 0) return undefined
  const top = listOf(result["topCandidates"])
  const one = (item: Json) => ({ token: item["token"], logprob: item["logProbability"], bytes: null })
  return {
    content: chosen.map((item, at) => ({ ...one(item), top_logprobs: listOf(objectOf(top[at])["candidates"]).map(one) })),
    refusal: null
  }
}

/** The model broke its own call, or thought away its answer: there is none (FAULTS.md row 18). */
const broken: ReadonlySet<string> = new Set([
  "MALFORMED_FUNCTION_CALL",
  "MALFORMED_RESPONSE",
  "UNEXPECTED_TOOL_CALL",
  "TOO_MANY_TOOL_CALLS",
  "MISSING_THOUGHT_SIGNATURE"
])

const isBroken = (reason: string | undefined, content: ReadonlyArray<Part>): boolean =>
  reason !== undefined && broken.has(reason) && content.every(({ type }) => type === "reasoning")

const brokenAnswer = (reason: string): ProviderError => answered("malformed_response", `Gemini's answer broke off: ${reason}`)

/** Why the prompt itself was blocked; passed on as a finish reason (FAULTS.md row 39). */
const isBlocked = (answer: Json): boolean => stringOf(objectOf(answer["promptFeedback"])["blockReason"]) !== undefined

const blocked: Choice = { content: [], finishReason: "content_filter" }

const choiceOf = (parts: ReadonlyArray<Part>, images: ReadonlyArray<Part>, reason: string): Choice => {
  const content = [...parts, ...images]
  return { content, finishReason: finishOf(finishReasons[reason] ?? "other", content) }
}

const answerIn = (call: ProviderCall, body: unknown) => {
  const answer = objectOf(body)
  const candidates = listOf(answer["candidates"])
  if (isJson(answer["error"])) return ofEvent(errors, body)
  if (!("candidates" in answer) && !("promptFeedback" in answer) && !("usageMetadata" in answer)) {
    return answered("malformed_response", "The provider's answer has no candidates")
  }
  const id = stringOf(answer["responseId"])
  const choices = candidates.map((candidate) => {
    const parts = new Collector()
    for (const delta of deltasIn(candidate, id ?? crypto.randomUUID(), { count: 0 })) parts.push(delta)
    return choiceOf(parts.parts(), imagesIn(candidate), stringOf(candidate["finishReason"]) ?? "STOP")
  })
  const reason = stringOf(candidates[0]?.["finishReason"])
  if (reason !== undefined && isBroken(reason, choices[0]?.content ?? [])) return brokenAnswer(reason)
  return completionOf(call, {
    upstreamModel: stringOf(answer["modelVersion"]),
    upstreamId: id,
    choices: choices.length === 0 && isBlocked(answer) ? [blocked] : choices,
    usage: usageIn(answer["usageMetadata"]),
    logprobs: candidates[0] && logprobsIn(candidates[0])
  })
}

// --- stream in

interface OpenCandidate {
  readonly parts: Collector
  readonly images: Array<Part>
  readonly calls: { count: number }
  finish: string | undefined
  logprobs: unknown
}

const reader = (call: ProviderCall) => (): StreamReader => {
  const candidates = new Map<number, OpenCandidate>()
  const fallbackId = crypto.randomUUID()
  let usage: Json | undefined
  let id: string | undefined
  let model: string | undefined
  let promptBlocked = false

  const openCandidate = (index: number): OpenCandidate => {
    const fresh = { parts: new Collector(), images: [], calls: { count: 0 }, finish: undefined, logprobs: undefined }
    const open = candidates.get(index) ?? fresh
    candidates.set(index, open)
    return open
  }
  const candidateDeltas = (candidate: Json): ReadonlyArray<Delta> => {
    const index = numberOf(candidate["index"]) ?? 0
    const open = openCandidate(index)
    const deltas = deltasIn(candidate, id ?? fallbackId, open.calls)
    for (const delta of deltas) open.parts.push(delta)
    open.images.push(...imagesIn(candidate))
    open.finish = stringOf(candidate["finishReason"]) ?? open.finish
    open.logprobs = logprobsIn(candidate) ?? open.logprobs
    return index === 0 ? deltas : []
  }

  return {
    event: ({ data }) => {
      const chunk = objectOf(data)
      if (isJson(chunk["error"])) return ofEvent(errors, data)
      id ??= stringOf(chunk["responseId"])
      model ??= stringOf(chunk["modelVersion"])
      promptBlocked ||= isBlocked(chunk)
      if (isJson(chunk["usageMetadata"])) usage = { ...usage, ...chunk["usageMetadata"] }
      return listOf(chunk["candidates"]).flatMap(candidateDeltas)
    },
    end: () => {
      const first = candidates.get(0)
      if (first === undefined ? !promptBlocked && usage === undefined : first.finish === undefined) return interrupted()
      if (first?.finish !== undefined && isBroken(first.finish, first.parts.parts())) return brokenAnswer(first.finish)
      const sorted = [...candidates].toSorted(([a], [b]) => a - b)
      const choices = sorted.map(([, { finish, images, parts }]) => choiceOf(parts.parts(), images, finish ?? "STOP"))
      return endOf(call, {
        upstreamModel: model,
        upstreamId: id,
        choices: choices.length === 0 && promptBlocked ? [blocked] : choices,
        usage: usageIn(usage),
        logprobs: first?.logprobs
      })
    }
  }
}

// --- errors in

const patterns: ReadonlyArray<Pattern> = [
  {
    fault: "context_overflow",
    message: /input token count.*exceeds? the maximum number of tokens|exceeds the maximum (number of )?(input )?tokens/i
  },
  { fault: "authentication", code: /^API_KEY_INVALID$/ },
  { fault: "authentication", message: /API key (not valid|expired|not found|was reported as leaked)|without established identity/i },
  { fault: "quota_exhausted", code: /^QuotaPerDay$/ },
  { fault: "quota_exhausted", message: /enable billing|billing account|prepayment credits/i },
  { fault: "permission", message: /user location is not supported/i },
  { fault: "content_filter", message: /blocked by our safety policy|prohibited (use|content) policy/i },
  { fault: "model_not_found", status: [400], message: /models?\/\S+ is not found|unexpected model name format/i },
  { fault: "overloaded", message: /overloaded|high demand/i },
  { fault: "rate_limited", code: /^RESOURCE_EXHAUSTED$/ }
]

const firstText = (list: ReadonlyArray<Json>, field: string): string | undefined =>
  list.map((item) => stringOf(item[field])).find((text) => text !== undefined)

/** The field that a message names. */
const namedIn = (message: string): string | undefined =>
  /GenerateContentRequest\.([\w.[\]]+):/.exec(message)?.[1] ?? (/response mime ?type/i.test(message) ? "generationConfig.responseMimeType" : undefined)

/** Fields of generateContent by their names in chat completions, in either spelling; contents are not the client's messages. */
const fieldOf = (param: string): string => {
  const path = param.replace(/^\*? ?GenerateContentRequest\./, "").replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
  const [, tool] = /functionDeclarations\[(\d+)\]/.exec(path) ?? []
  if (tool !== undefined) return `tools[${tool}]`
  if (/^(contents|systemInstruction)/.test(path)) return "messages"
  const [head = "", second = ""] = path.split(/[.[\]]+/)
  return head === "generationConfig" ? configFields[second] ?? second : head === "toolConfig" ? "tool_choice" : head
}

const configFields: { readonly [field: string]: string } = {
  maxOutputTokens: "max_tokens",
  topP: "top_p",
  topK: "top_k",
  stopSequences: "stop",
  frequencyPenalty: "frequency_penalty",
  presencePenalty: "presence_penalty",
  candidateCount: "n",
  responseLogprobs: "logprobs",
  logprobs: "top_logprobs",
  responseMimeType: "response_format",
  responseSchema: "response_format",
  responseJsonSchema: "response_format",
  thinkingConfig: "reasoning_effort"
}

/** google.rpc.Status: the details tell the reason, a daily quota from one per minute, and how long to wait. */
const readError: ErrorDialect["read"] = (body) => {
  const error = objectOf(Array.isArray(body) ? body[0] : body)["error"]
  if (!isJson(error)) return undefined
  const details = listOf(error["details"])
  const quotas = details.flatMap((detail) => listOf(detail["violations"])).map((violation) => stringOf(violation["quotaId"]) ?? "")
  const violations = details.flatMap((detail) => listOf(detail["fieldViolations"]))
  const status = stringOf(error["status"]) ?? codeOf(error["code"])
  return {
    message: stringOf(error["message"]),
    code: quotas.some((quota) => /PerDay/i.test(quota)) ? "QuotaPerDay" : firstText(details, "reason") ?? status,
    type: status,
    param: firstText(violations, "field") ?? namedIn(stringOf(error["message"]) ?? ""),
    retryAfterMs: retryAfterMs(firstText(details, "retryDelay"), 0)
  }
}

export const errors: ErrorDialect = { read: readError, patterns }

// --- the protocol

/** Pages of models that are read at most. */
const mostPages = 20

const models: Protocol["models"] = (endpoint, apiKey) =>
  Effect.gen(function*(): Effect.fn.Return<ReadonlyArray<string>, ProviderError> {
    const names: Array<string> = []
    let after = ""
    for (let page = 0; page < mostPages; page++) {
      const answer = objectOf(yield* endpoint.json({ path: `/v1beta/models?pageSize=1000${after}`, apiKey, errors }))
      names.push(...listOf(answer["models"]).flatMap((model) => stringOf(model["name"])?.replace(/^models\//, "") ?? []))
      const next = stringOf(answer["nextPageToken"])
      if (next === undefined) break
      after = `&pageToken=${encodeURIComponent(next)}`
    }
    return names
  })

export const gemini: Protocol = {
  name: protocol,
  vendor: "Gemini",
  lacks,
  fieldOf,
  request: (call, stream) => ({
    path: pathOf(call.upstreamModel, stream ? "streamGenerateContent?alt=sse" : "generateContent"),
    body: bodyOut(call),
    apiKey: call.apiKey,
    errors
  }),
  answerIn,
  reader,
  models
}
