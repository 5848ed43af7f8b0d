/**
 * What the matrix asks of a client library, in no protocol's words, and what a user of the library sees of the answer. A driver
 * is one file of `clients/`: it says the first in its library's own terms and reads the second from what the library gives.
 */

/** A JSON Schema of an object. */
export interface ObjectSchema {
  readonly type: "object"
  readonly properties: Readonly<Record<string, { readonly type: "string" | "integer" }>>
  readonly required: Array<string>
  readonly additionalProperties: false
}

export interface ToolSpec {
  readonly name: string
  readonly description: string
  readonly schema: ObjectSchema
}

export interface ToolCall {
  readonly id: string
  readonly name: string
  readonly arguments: unknown
}

/** One request: a user's text, and what else a scenario wants. */
export interface Ask {
  readonly model: string
  readonly text: string
  /** A PNG in base64. */
  readonly image?: string
  /** A PDF in base64, named `paper.pdf`. */
  readonly file?: string
  readonly tools?: ReadonlyArray<ToolSpec>
  /** Not more than one call in an answer. */
  readonly oneCall?: true
  /** The assistant's calls after that text, each with its tool's result. */
  readonly called?: ReadonlyArray<{ readonly call: ToolCall; readonly result: string }>
  /** The form of the answer, named `city`. */
  readonly schema?: ObjectSchema
  /** Thinking is asked for, by the library's own option. */
  readonly reasoning?: true
  readonly signal?: AbortSignal
}

export interface Usage {
  readonly prompt: number
  readonly completion: number
  /** Of the prompt's. */
  readonly cached: number
}

/** An answer as the library gives it. */
export interface Seen {
  readonly text: string
  readonly reasoning: string
  readonly toolCalls: ReadonlyArray<ToolCall>
  /** `stop`, `length`, `tool_calls`, `content_filter`, or the library's own word for anything else. */
  readonly finish: string
  readonly usage: Usage
}

/** A failure as the library throws it. */
export interface Thrown {
  /** The HTTP status; undefined: there was none, as in a stream's middle. */
  readonly status: number | undefined
  /** The exception's class. */
  readonly type: string
  /** The field that the error names. */
  readonly param: string | undefined
  readonly message: string
}

export interface Connection {
  readonly url: string
  readonly key: string
  readonly headers?: Record<string, string>
  /** How often the library may repeat a request by itself. */
  readonly retries: number
}

export interface Client {
  readonly complete: (ask: Ask) => Promise<Seen>
  /** Streams; `onPiece` is called for each piece of text. Fails where the library tells its user of a failure. */
  readonly stream: (ask: Ask, onPiece: () => void) => Promise<Seen>
}

export interface Driver {
  readonly connect: (connection: Connection) => Client
  /** What the library threw; undefined: it is no error of its. */
  readonly thrown: (error: unknown) => Thrown | undefined
  /** The class of exception that the library has for a status. */
  readonly exceptionFor: (status: number) => string
  /** The library asks for an answer by schema as the input of a tool of this name. */
  readonly schemaTool?: string
}

/** Most completion tokens of an answer, for libraries that want a limit; more than the thinking that is asked for. */
export const maxTokens = 4096

/** The classes of OpenAI's SDK, which Anthropic's took over. */
export const classFor = (status: number): string =>
  ({
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError"
  })[status] ?? (status >= 500 ? "InternalServerError" : "APIError")
