/**
 * One circuit breaker as a pure state machine. Effect's own (`effect/persistence/CircuitBreaker`) can be read only by an
 * effect and goes by the wall clock; the router reads many circuits at once, and a clock that jumps must open or close
 * nothing. Times are milliseconds of one monotonic clock.
 */
export interface Breaker {
  /** In a row, while closed. */
  readonly failures: number
  /** Openings since the last success. */
  readonly opens: number
  readonly openedAt: number
  /** null while closed. */
  readonly openUntil: number | null
  /** While this is in the future a probe is out. */
  readonly probeUntil: number
}

export interface BreakerLimits {
  /** Failures in a row that open the circuit. */
  readonly failures: number
  /** How long the first opening lasts; the n-th lasts n times as long. */
  readonly openMs: number
}

/** No opening lasts longer. */
const longestOpenMs = 300_000

export const closed: Breaker = { failures: 0, opens: 0, openedAt: 0, openUntil: null, probeUntil: 0 }

export const stateOf = (breaker: Breaker, now: number): "closed" | "open" | "half_open" =>
  breaker.openUntil === null ? "closed" : now < breaker.openUntil ? "open" : "half_open"

/** Whether a call may go out now. */
export const admits = (breaker: Breaker, now: number): boolean =>
  breaker.openUntil === null || (now >= breaker.openUntil && now >= breaker.probeUntil)

/** After a call was admitted: in a half-open circuit it is the probe, for at most `probeMs`. */
export const admitted = (breaker: Breaker, now: number, probeMs: number): Breaker =>
  breaker.openUntil === null ? breaker : { ...breaker, probeUntil: now + probeMs }

const open = (breaker: Breaker, now: number, limits: BreakerLimits): Breaker => {
  const opens = breaker.opens + 1
  const openUntil = now + Math.min(limits.openMs * opens, longestOpenMs)
  return { failures: 0, opens, openedAt: now, openUntil, probeUntil: 0 }
}

/**
 * After a call ended that began at `startedAt`. `ignored` says nothing about the model. What began before the circuit
 * opened changes nothing any more.
 */
export const settled = (
  breaker: Breaker,
  now: number,
  startedAt: number,
  result: "success" | "failure" | "ignored",
  limits: BreakerLimits
): Breaker => {
  if (breaker.openUntil === null) {
    if (result === "success") return breaker.failures === 0 ? breaker : closed
    if (result === "ignored") return breaker
    const failures = breaker.failures + 1
    return failures >= limits.failures ? open(breaker, now, limits) : { ...breaker, failures }
  }
  if (now < breaker.openUntil || startedAt < breaker.openedAt) return breaker
  return result === "success" ? closed : result === "failure" ? open(breaker, now, limits) : { ...breaker, probeUntil: 0 }
}
