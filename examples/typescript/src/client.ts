// Sends typed operations with plain fetch, in Node and in browsers, and tells apart which failures pass by themselves.
//
// What a mutation refuses is no error here: it is data, in the payload's `userErrors`.

import type { TypedDocumentString } from "./folio.js";

const TIMEOUT_MS = 10_000;
const ATTEMPTS_MAX = 5;
const TRANSIENT = new Set([
  "NETWORK",
  "HTTP_502",
  "HTTP_503",
  "HTTP_504",
  "DATABASE_BUSY",
  "DATABASE_TIMEOUT",
  "DATABASE_UNAVAILABLE",
]);

/** A request without a usable answer. `code` is the server's `extensions.code`, `HTTP_<status>` or `NETWORK`. */
export class FolioError extends Error {
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(`${code}: ${message}`, { cause });
    this.name = "FolioError";
    this.code = code;
  }
}

interface Answer<Result> {
  data?: Result | null;
  errors?: { message: string; extensions?: { code?: string } }[];
}

export class FolioClient {
  accessToken: string | null = null;
  readonly #url: string;
  readonly #fetch: typeof fetch;

  constructor(url: string, fetch: typeof globalThis.fetch = globalThis.fetch) {
    this.#url = url;
    this.#fetch = fetch;
  }

  /** Returns the operation's data, or throws a FolioError. */
  async request<Result, Variables>(
    operation: TypedDocumentString<Result, Variables>,
    variables: Variables,
  ): Promise<Result> {
    const { status, answer } = await this.#send<Result>(
      JSON.stringify({ query: operation.toString(), variables }),
    );
    const error = answer?.errors?.[0];
    if (error) {
      throw new FolioError(error.extensions?.code ?? `HTTP_${status}`, error.message);
    }
    if (answer?.data == null) {
      throw new FolioError(`HTTP_${status}`, "the answer is not GraphQL's");
    }
    return answer.data;
  }

  async #send<Result>(body: string): Promise<{ status: number; answer: Answer<Result> | null }> {
    const headers: Record<string, string> = {
      "content-type": "application/json",
      accept: "application/graphql-response+json, application/json;q=0.9",
    };
    if (this.accessToken) {
      headers["authorization"] = `Bearer ${this.accessToken}`;
    }
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const response = await this.#fetch(this.#url, { method: "POST", headers, body, signal });
      // A proxy's error page is HTML.
      const isJson = /^application\/(graphql-response\+)?json\b/.test(response.headers.get("content-type") ?? "");
      return { status: response.status, answer: isJson ? ((await response.json()) as Answer<Result>) : null };
    } catch (cause) {
      throw new FolioError("NETWORK", cause instanceof Error ? cause.message : String(cause), cause);
    }
  }
}

/**
 * Calls `send` until there is an answer. After a lost answer nobody knows whether the server did the work, so this is
 * for queries, and for mutations whose variables carry an idempotency key, the same one each time.
 */
export async function untilAnswered<Result>(send: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      const transient = error instanceof FolioError && TRANSIENT.has(error.code);
      if (!transient || attempt === ATTEMPTS_MAX) {
        throw error;
      }
      const pauseMs = Math.random() * 100 * 2 ** attempt;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}
