import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/**
 * Providers, models, client keys and settings. Lists and records inside a row are JSON texts; times are Unix
 * milliseconds.
 */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE providers (
      name TEXT PRIMARY KEY,
      provider_type TEXT NOT NULL,
      base_url TEXT,
      api_key_env TEXT,
      timeouts TEXT NOT NULL,
      max_concurrency INTEGER,
      allow_private INTEGER NOT NULL,
      enabled INTEGER NOT NULL,
      source TEXT NOT NULL
    ) STRICT`
  // Without a foreign key to providers: a model may use one that the environment makes at each start.
  yield* sql`
    CREATE TABLE models (
      name TEXT PRIMARY KEY,
      provider TEXT NOT NULL,
      upstream_name TEXT NOT NULL,
      context_size INTEGER NOT NULL,
      max_output_tokens INTEGER,
      weight INTEGER NOT NULL,
      price TEXT,
      capabilities TEXT NOT NULL,
      aliases TEXT NOT NULL,
      enabled INTEGER NOT NULL,
      source TEXT NOT NULL
    ) STRICT`
  yield* sql`CREATE INDEX models_provider ON models (provider)`
  yield* sql`
    CREATE TABLE client_keys (
      id TEXT PRIMARY KEY,
      name TEXT NOT NULL,
      hash TEXT NOT NULL UNIQUE,
      prefix TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      revoked_at INTEGER,
      expires_at INTEGER,
      scopes TEXT,
      models TEXT,
      budget_nanos INTEGER,
      budget_period TEXT,
      rpm INTEGER,
      tpm INTEGER
    ) STRICT`
  yield* sql`CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT`
})
