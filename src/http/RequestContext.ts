/** What TokenHub knows of the HTTP request being served, from its arrival on. */
import { Context } from "effect"
import type { RequestId } from "../domain/Ids.ts"
import type { ErrorBodyOf } from "./Failure.ts"

/** Whose credential was good: `clientKey` is the key's id, null for callers without one and for admins. */
export interface Authenticated {
  readonly scope: "client" | "admin"
  readonly clientKey: string | null
}

export interface RequestFacts {
  readonly id: RequestId
  /** Unix milliseconds. */
  readonly startedAt: number
  /** The peer's address; empty where the socket has none any more. */
  readonly remoteAddress: string
  /** The matched route's pattern; undefined: none matched. */
  endpoint: string | undefined
  /** How errors look in the protocol of the route that matched, or whose prefix the path has. */
  errorBody: ErrorBodyOf
  /** Set once authentication passed. */
  caller: Authenticated | undefined
  /** The code of the error that was answered. */
  errorCode: string | null
  /** True where the orchestrator writes this request's row on the ledger. */
  taken: boolean
  /** What the answer's headers say besides its own: they are set once, when it leaves. */
  readonly headers: { [name: string]: string }
  /** True where they stand in the answer already. */
  told: boolean
}

/** Provided for every request by the outermost middleware (`Front`); the default is for code that runs outside of any. */
export const RequestContext: Context.Reference<RequestFacts> = Context.Reference("tokenhub/RequestContext", {
  defaultValue: (): RequestFacts => {
    throw new Error("RequestContext is only there while a request is served")
  }
})
