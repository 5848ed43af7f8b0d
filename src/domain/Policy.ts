/** What a client may ask of the router, and of one run. */
import type { Rate } from "./Money.ts"

export interface RoutingPolicy {
  /** Models that cost more are left out; 0 means free models only, null no limit. */
  readonly maxRate: Rate | null
  /** Models with a smaller context window are left out. */
  readonly minContextSize: number
  /** True: the highest weight first; false: the lowest cost first. */
  readonly preferHigherWeight: boolean
  /** Whether a failed or too small model may be followed by another. */
  readonly allowEscalation: boolean
}

export const defaultPolicy: RoutingPolicy = {
  maxRate: null,
  minContextSize: 0,
  preferHigherWeight: true,
  allowEscalation: true
}
