/**
 * A token bucket that holds one minute's worth and fills evenly: a full burst passes, and then the even rate. It changes in place:
 * a new one for every request of every key would be what the garbage collector has most to do with.
 */

export interface Bucket {
  /** What it holds, at most `perMinute`; negative after calls that took more than they had reserved. */
  level: number
  /** Monotonic milliseconds. */
  at: number
}

const minute = 60_000

export const full = (perMinute: number, now: number): Bucket => ({ level: perMinute, at: now })

/** Fills it up to now; where the limit was lowered it holds no more than that. */
export const fill = (bucket: Bucket, perMinute: number, now: number): Bucket => {
  bucket.level = Math.min(perMinute, bucket.level + Math.max(0, now - bucket.at) * perMinute / minute)
  bucket.at = now
  return bucket
}

/** Milliseconds until so much is in it; 0: it is. What no bucket can hold waits for a full one. */
export const waitFor = ({ level }: Bucket, amount: number, perMinute: number): number => {
  const missing = Math.min(amount, perMinute) - level
  // A float's rounding must not make anybody wait for a billionth of a token.
  return missing <= 1e-9 * perMinute ? 0 : Math.max(1, Math.ceil(missing * minute / perMinute - 1e-6))
}
