/** `/v1/models` on the wire, in OpenAI's and in Anthropic's shape. Pure functions. */
import type { ModelCard } from "../../domain/Catalog.ts"
import type { AnthropicList, AnthropicModel, OpenAiModel, Page } from "./ModelListApi.ts"
import { virtualModels } from "../RunOptions.ts"

/** A name that requests may give. */
export interface NamedModel {
  readonly id: string
  readonly provider: string
  /** The model's sizes; a virtual one has none of its own. */
  readonly sizes?: Pick<ModelCard, "contextSize" | "maxOutputTokens">
}

/** Models with their aliases, then the virtual ones. */
export const namedModels = (models: ReadonlyArray<ModelCard>, modes: ReadonlyArray<string>): ReadonlyArray<NamedModel> => [
  ...models.flatMap((card) => [card.name, ...card.aliases].map((id) => ({ id, provider: card.provider, sizes: card }))),
  ...virtualModels(modes).map((id) => ({ id, provider: "tokenhub" }))
]

// Nobody tells when a model was made. Anthropic documents the epoch for a date that is unknown.

export const toOpenAi = ({ id, provider }: NamedModel): OpenAiModel => ({ id, object: "model", created: 0, owned_by: provider })

export const toAnthropic = ({ id, sizes }: NamedModel): AnthropicModel => ({
  type: "model",
  id,
  display_name: id,
  created_at: "1970-01-01T00:00:00Z",
  max_input_tokens: sizes?.contextSize ?? null,
  max_tokens: sizes?.maxOutputTokens ?? null,
  lifecycle: "active",
  capabilities: null,
  line: null,
  deprecated_at: null,
  retires_at: null
})

/** Anthropic's own default. */
const defaultLimit = 20

/** The page behind `after_id`, or that before `before_id`; an id that is not there is as if it were not given. */
export const anthropicPage = (all: ReadonlyArray<NamedModel>, { after_id, before_id, limit = defaultLimit }: Page): AnthropicList => {
  const end = all.findIndex(({ id }) => id === before_id)
  const backwards = end >= 0
  const start = backwards ? Math.max(0, end - limit) : all.findIndex(({ id }) => id === after_id) + 1
  const page = all.slice(start, backwards ? end : start + limit)
  return {
    data: page.map(toAnthropic),
    has_more: backwards ? start > 0 : start + limit < all.length,
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null
  }
}
