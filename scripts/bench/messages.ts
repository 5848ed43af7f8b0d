/** What the bench's processes tell each other. */

/** How the fake upstream answers from now on. */
export interface AnswerPlan {
  /** Milliseconds before the answer, or a stream's first piece, leaves. */
  readonly delayMs: number
  /** Bytes of an answer in one piece. */
  readonly bytes: number
  /** Pieces of a stream, and milliseconds between two of them; 0: each in a turn of the event loop of its own. */
  readonly pieces: number
  readonly everyMs: number
}

/** Load for one address: every connection sends its next request when its answer is whole. */
export interface Job {
  readonly url: string
  readonly path: string
  /** Taken in turn. */
  readonly headers: ReadonlyArray<Readonly<Record<string, string>>>
  readonly body: string
  readonly connections: number
  /** Whichever comes first ends the job; requests that have left are waited for. */
  readonly seconds: number
  readonly requests: number
  /** How many pieces each streamed answer must have, in order; undefined: answers in one piece. */
  readonly pieces?: number
}

/** What became of a job; times are microseconds. */
export interface Report {
  readonly seconds: number
  /** Answers with status 200 that were whole. */
  readonly requests: number
  readonly failed: number
  /** What went wrong first. */
  readonly failure?: string
  readonly p50: number
  readonly p99: number
  /** Until the first bytes of the answer's body. */
  readonly firstP50: number
  readonly firstP99: number
  /** Pieces that came in their place. */
  readonly pieces: number
}
