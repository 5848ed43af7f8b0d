/**
 * Checks a running TokenHub from outside and prints what it asserts: `npm run smoke -- http://127.0.0.1:8080`.
 * TOKENHUB_CLIENT_KEY is sent where the instance wants a client key; with TOKENHUB_ADMIN_PASSWORD the admin routes are
 * checked too. Changes nothing but the counters. Exit code 0 only if everything holds.
 */
import { parseArgs } from "node:util"

const { positionals } = parseArgs({ allowPositionals: true })
const base = positionals[0]?.replace(/\/+$/, "")
if (base === undefined || !URL.canParse(base)) {
  console.error("usage: npm run smoke -- <url of a TokenHub, for example http://127.0.0.1:8080>")
  process.exit(2)
}

const { TOKENHUB_ADMIN_PASSWORD: password, TOKENHUB_CLIENT_KEY: key } = process.env

interface Answer {
  readonly status: number
  readonly text: string
  readonly json: { readonly [field: string]: unknown }
}

const call = async (path: string, body?: unknown): Promise<Answer> => {
  const bearer = path.startsWith("/admin") ? password : path.startsWith("/v1") ? key : undefined
  const response = await fetch(base + path, {
    method: body === undefined ? "GET" : "POST",
    headers: {
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(bearer === undefined ? {} : { authorization: `Bearer ${Buffer.from(bearer, "utf8").toString("latin1")}` })
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    signal: AbortSignal.timeout(120_000)
  })
  const text = await response.text()
  let json: unknown = {}
  try {
    json = JSON.parse(text)
  } catch {
    // Not every answer is JSON; whoever needs it finds the fields missing.
  }
  return { status: response.status, text, json: typeof json === "object" && json !== null ? { ...json } : {} }
}

let passed = 0
let failed = 0

const check = async (claim: string, test: () => Promise<boolean | string>): Promise<void> => {
  const seen = await test().catch((error: unknown) => String(error))
  if (seen === true) passed++
  else failed++
  console.log(`${seen === true ? "ok  " : "FAIL"} ${claim}${typeof seen === "string" ? `: ${seen}` : ""}`)
}

const shown = (answer: Answer): string => `${answer.status} ${answer.text.slice(0, 300)}`
const question = [{ role: "user", content: "In one sentence: what is a circuit breaker?" }]
const errorOf = (answer: Answer) => answer.json.error as { readonly type?: string; readonly code?: string } | undefined

await check("GET /health says healthy", async () => {
  const answer = await call("/health")
  return (answer.status === 200 && answer.json.status === "healthy") || shown(answer)
})
await check("GET /health/ready is 200", async () => {
  const answer = await call("/health/ready")
  return answer.status === 200 || shown(answer)
})
await check("POST /v1/chat answers, with tokens and cost", async () => {
  const answer = await call("/v1/chat", { messages: question })
  const { cost_usd, response, tokens_used } = answer.json
  return (answer.status === 200 && typeof response === "string" && Number(tokens_used) > 0 && typeof cost_usd === "string") || shown(answer)
})
await check("POST /v1/chat in adversarial mode drafts, criticises and refines", async () => {
  const answer = await call("/v1/chat", { messages: question, orchestration_mode: "adversarial", enable_refinement: true })
  const run = answer.json.adversarial as { readonly initial_plan?: unknown; readonly critique?: unknown } | undefined
  return (answer.status === 200 && typeof run?.initial_plan === "string" && typeof run.critique === "string") || shown(answer)
})
await check("POST /v1/chat with stream ends in exactly one run.completed", async () => {
  const answer = await call("/v1/chat", { messages: question, stream: true })
  return answer.text.match(/^event: run\.completed$/gm)?.length === 1 || shown(answer)
})
await check("an unknown model is a 404 in the error envelope", async () => {
  const answer = await call("/v1/chat", { messages: question, model: "no-such-model" })
  return (answer.status === 404 && errorOf(answer)?.code === "model_not_found") || shown(answer)
})
await check("malformed JSON is a 400 in the error envelope", async () => {
  const answer = await call("/v1/chat", "{\"messages\": [")
  return (answer.status === 400 && errorOf(answer)?.type === "invalid_request_error") || shown(answer)
})
await check("the admin routes are closed without the password", async () => {
  const response = await fetch(`${base}/admin/providers`, { signal: AbortSignal.timeout(30_000) })
  return response.status === 401 || `${response.status}`
})
await check("GET /metrics counts the requests above", async () => {
  const answer = await call("/metrics")
  return answer.status === 401 || /^tokenhub_requests_total\{.*endpoint="\/v1\/chat".*\} \d+/m.test(answer.text) || shown(answer)
})

if (password !== undefined) {
  for (const path of ["/admin/providers", "/admin/models", "/admin/vault", "/admin/requests", "/admin/usage"]) {
    await check(`GET ${path} answers the admin`, async () => {
      const answer = await call(path)
      return answer.status === 200 || shown(answer)
    })
  }
}

console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
