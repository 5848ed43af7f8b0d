/** FAULTS.md's rows, and the tests that hold them true: `npm run faults` prints them with their results. */

export interface Claim {
  /** Below `test/`. */
  readonly file: string
  /** The test's name, or the part of it that stands in the file as a text of its own. */
  readonly test: string
}

export interface Row {
  /** As in FAULTS.md: `47a` too. */
  readonly row: string
  readonly fault: string
  readonly claims: ReadonlyArray<Claim>
}

const row = (row: number | string, fault: string, claims: Readonly<Record<string, string | ReadonlyArray<string>>>): Row => ({
  row: String(row),
  fault,
  claims: Object.entries(claims).flatMap(([file, tests]) => [tests].flat().map((test) => ({ file, test })))
})

const matrix = "faults/Matrix.test.ts"
const store = "faults/Store.test.ts"
const load = "faults/Load.test.ts"
const vendors = "provider/FaultTable.test.ts"

export const rows: ReadonlyArray<Row> = [
  row(1, "upstream 400", { [matrix]: "1: invalid request", [vendors]: "1: invalid request" }),
  row(2, "context length exceeded", { [matrix]: "2: context length exceeded", [vendors]: "2: context length" }),
  row(3, "401", { [matrix]: ["3: bad key", "3: a key that was refused is left alone, with every model of its provider, until an admin changes it"], [vendors]: ["3: bad key", "3: bad key, in Gemini's way"] }),
  row(4, "403", { [matrix]: "4: no permission", [vendors]: "4: no permission" }),
  row(5, "404 model", { [matrix]: ["5: no such model", "5: one that its provider does not have is not asked for again for a minute"] }),
  row(6, "408", { [matrix]: "6: request time-out" }),
  row(7, "409", { [matrix]: "7: conflict" }),
  row(8, "413", { [matrix]: "8: payload too large" }),
  row(9, "422", { [matrix]: "9: unprocessable" }),
  row(10, "429 with Retry-After", {
    [matrix]: ["10: rate limit with a time beyond the deadline", "10: rate limit with a time that can be waited for"],
    "orchestrate/Attempts.test.ts": "says when to come back if everyone was rate-limited"
  }),
  row(11, "429 without", { [matrix]: "11: rate limit without a time" }),
  row(12, "Retry-After garbage", { [matrix]: ["12: Retry-After of years", "12: Retry-After that is garbage"], [vendors]: "12: Retry-After negative" }),
  row(13, "quota exhausted", { [matrix]: ["13: quota exhausted", "13: one whose quota is used up is told of as limited for five minutes"], [vendors]: ["13: quota", "13: billing"] }),
  row(14, "500", { [matrix]: "14: server error" }),
  row(15, "502, 503, 504", { [matrix]: ["15: bad gateway", "15: unavailable", "15: gateway time-out", "15: unavailable, and when it will be back"], [vendors]: "15: HTML from a proxy" }),
  row(16, "529", { [matrix]: "16: overloaded" }),
  row(17, "3xx", { [matrix]: "17: redirect" }),
  row(18, "malformed JSON", { [matrix]: "18: malformed JSON" }),
  row(19, "truncated JSON", { [matrix]: ["19: truncated JSON", "19: a malformed event in mid-stream is an error event"] }),
  row(20, "200 with HTML", { [matrix]: "20: 200 with HTML", [vendors]: "20: a page's text is never echoed, and the provider's request id is kept" }),
  row(21, "reset before headers", { [matrix]: "21: reset before headers" }),
  row(22, "reset mid-stream", { [matrix]: "22: ${fault} ends with an error event, and what came is booked" }),
  row(23, "no [DONE] after finish_reason", { [matrix]: "23: an end without [DONE] gets one" }),
  row(24, "stream ends with neither", { [matrix]: "24: an end with neither is an error event" }),
  row(25, "error event inside a 200", {
    [matrix]: ["25: error before content in a 200", "25: an error event after content is handed on, and the stream ends"]
  }),
  row(26, "no first token", { [matrix]: "26: no first token", [vendors]: ["26: no headers", "26: slow headers"] }),
  row(27, "stream stalls", { [matrix]: "27: a stall ends with an error event", "http/chat/Streaming.test.ts": "shows that it lives while the upstream is silent" }),
  row(28, "endless or dripping stream", { [matrix]: ["28: endless answer", "28: dripping answer", "28: a stream without an end is cut"] }),
  row(29, "broken compression", { [matrix]: "29: broken compression" }),
  row(30, "decompression bomb, stacked encodings", { [matrix]: ["30: decompression bomb", "30: stacked encodings"] }),
  row(31, "1 GB answer", { [matrix]: "31: answer of a gigabyte" }),
  row(32, "100 MB SSE line", { [matrix]: "32: line of 100 MB" }),
  row(33, "duplicated chunks, cumulative usage", { [matrix]: "33: doubled events and cumulative usage are counted once (${mode})", [vendors]: "33: ${vendor}'s usage is counted once, however often it comes" }),
  row(34, "bytes split anywhere, CRLF, BOM", { [matrix]: "34: ${fault} gives the same output" }),
  row(35, "name does not resolve", { [matrix]: "35: name that does not resolve", [vendors]: "35: a name that does not resolve is told within two seconds, and was not sent" }),
  row(36, "connection refused", { [matrix]: "36: connection refused" }),
  row(37, "connection blackholed", { [matrix]: "37: connection blackholed" }),
  row(38, "TLS error", { [matrix]: "38: TLS error", "provider/Upstream.test.ts": "38: TLS is verified whatever the environment says" }),
  row(39, "content filter", { [matrix]: "39: a content filter is a finish reason (${mode})" }),
  row(40, "empty choices", { [matrix]: "40: empty choices" }),
  row(41, "usage missing, zero, negative, NaN, huge", {
    [matrix]: "41: usage ${lie} is an estimate, and never negative",
    [vendors]: "41: ${vendor}'s usage that is ${lie} is replaced by an estimate and marked"
  }),
  row(42, "upstream echoes our key", { [matrix]: "42: echoed key", [vendors]: "42: a key that ${vendor} echoes is scrubbed (${mode})" }),
  row(43, "client leaves before the first byte", { "http/chat/Streaming.test.ts": "before the first byte: the upstream is cancelled within a second, the row says 499" }),
  row(44, "client leaves after", { "http/chat/Streaming.test.ts": "in mid-stream: the upstream is cancelled within a second, and what was used is booked" }),
  row(45, "slow reader", { "http/chat/Streaming.test.ts": "pauses the upstream, and is cut when it takes nothing" }),
  row(46, "SIGTERM with streams open", {
    "http/Drain.test.ts": ["is not ready, takes no new work, and lets the stream end", "cuts a stream that is still there when the time is up, with an error event"]
  }),
  row(47, "second SIGTERM", { "http/Drain.test.ts": "settles and ends within two seconds of a second signal" }),
  row("47a", "second signal within a second", { "http/Drain.test.ts": "takes a second signal within a second of the first for the first" }),
  row(48, "kill -9", {
    [store]: "48: the next start settles open calls at their reserved maximum, as unknown",
    "http/Limits.test.ts": "is still spent after a restart, and what ran when the process was killed at its maximum"
  }),
  row(49, "database locked", { [store]: "49: locked by another program, reads go on, the loop is free, calls are told 503, and all is written afterwards" }),
  row(50, "database read-only", { [store]: "50: read-only" }),
  row(51, "disk full", { [store]: "51: full" }),
  row(52, "one vault record corrupt", { [store]: "52: its provider answers 503, the others serve, and the row is kept" }),
  row(53, "database file corrupt", {
    "store/Database.test.ts": ["a file that is no database", "a truncated database", "a smashed first page", "a log of changes whose database is gone"],
    "http/Drain.test.ts": "says why in one line, and its exit code is 1"
  }),
  row(54, "wrong admin password", {
    "http/Authentication.test.ts": "is throttled after five wrong ones, and a missing one is no guess",
    "account/GuessThrottle.test.ts": "are free four times; the fifth locks the address for a second, each further one twice as long, up to five minutes"
  }),
  row(55, "vault locked", { "http/admin/AdminVault.test.ts": "locks and unlocks; vault-keyed providers answer 503 meanwhile, and a wrong password is noticed" }),
  row(56, "two writers change the same row", {
    [store]: [
      "56: of two changes of the password at once one wins, and the other is refused",
      "56: of two changes of one instance, model or key at once one wins, and the other is refused with 409"
    ],
    "route/ModelRegistry.test.ts": "refuses a change that was made for a model as it no longer is",
    "vault/Vault.test.ts": "makes a change a conflict; the next try is on what it left",
    "store/VaultStore.test.ts": "of two writers from one generation lets one win, and the other changes nothing"
  }),
  row(57, "clock jumps by an hour", {
    "faults/Clock.test.ts": "57: no time-out fires, no window counts twice, no lock-out resets (${jump > 0 ? \"forward\" : \"back\"})",
    "route/HealthBoard.test.ts": "closes on time although the wall clock is set back by an hour meanwhile"
  }),
  row(58, "10,000 connections", { [load]: "58: connections beyond the bound are told 503, and health answers" }),
  row(59, "body of the limit + 1 byte", {
    "http/BodyLimit.test.ts": ["a body of the limit is served, one byte more is a 413, with length or chunked", "nothing of a body is read without a credential"]
  }),
  row(60, "JSON nested deeper than 64", { "http/Envelope.test.ts": "JSON nested deeper than 64 is a 400, at once" }),
  row(61, "invalid UTF-8", { "http/Envelope.test.ts": "invalid UTF-8 is a 400" }),
  row(62, "__proto__ as a key", { "http/Envelope.test.ts": "keys that reach for a prototype are refused, except as data in schemas" }),
  row(63, "headers over 16 KiB", { "http/Envelope.test.ts": "headers over 16 KiB are a 431" }),
  row(64, "pipelined requests", { [load]: "64: are answered in order, each authenticated by itself" }),
  row(65, "content-length with transfer-encoding, bare CR", { "http/Envelope.test.ts": "what is no HTTP is a 400, and the connection is closed" }),
  row(66, "a defect in a handler", { "http/Envelope.test.ts": "a defect is a 500 without its text, and the next request is served" }),
  row(67, "heap at 90 %", { [load]: "67: with the heap nearly full new work gets 503 with Retry-After, and ready says why" }),
  row(68, "a cycle of aliases or fallbacks", {
    [load]: ["68: is at most three hops long, and no model is asked twice", "68: an alias never leads to another alias"]
  }),
  row(69, "critic fails for good", { [load]: "69: a critic that fails for good leaves the last good draft, and all calls are on the bill" }),
  row(70, "load above capacity", {
    [load]: ["70: what a provider's queue can't hold is refused while the others are served", "70: with the event loop late new work gets 503 with Retry-After, and afterwards it is welcome"]
  }),
  row(71, "every upstream 503 for minutes", {
    [load]: [
      "71: gets at most 1.2 calls a request and the allowance, and one a request when it is back",
      "71: is asked by one probe at a time when its circuit reopens, however many wait"
    ],
    "orchestrate/RetryBudget.test.ts": "over half a minute and more never gives more than a fifth of the first calls and its rate"
  })
]
