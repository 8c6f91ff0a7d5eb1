// Calls of the management API. The token goes in a header, never in an address.

const KEY = "tieline.token";

/** An answer that is not a success, or no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(status, code, detail, body = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

/** The token in the address's fragment, if there is one. The fragment is removed from the address and the history. */
export function tokenFromFragment() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname);
  return token;
}

export const keepToken = (token) => sessionStorage.setItem(KEY, token.trim());
export const forgetToken = () => sessionStorage.removeItem(KEY);
export const keptToken = () => sessionStorage.getItem(KEY);

/** One call; returns the JSON body. */
export async function call(method, path, body, { signal, token = keptToken() ?? "", headers = {} } = {}) {
  // A header holds nothing else, and a token consists of nothing else.
  if (!/^[\x21-\x7e]*$/.test(token)) throw new ApiError(401, "unauthorized", "");
  const options = {
    method,
    headers: { Authorization: `Bearer ${token}`, "Accept-Language": document.documentElement.lang, ...headers },
    signal,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
  };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new ApiError(response.status, answer.code ?? "", answer.detail ?? answer.title ?? `HTTP ${response.status}`, answer);
}

/** All items of a list, page after page, at most 10 000. */
export async function all(path) {
  const items = [];
  let cursor = null;
  do {
    const separator = path.includes("?") ? "&" : "?";
    const page = await call("GET", cursor === null ? path : `${path}${separator}cursor=${encodeURIComponent(cursor)}`);
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null && items.length < 10000);
  return items;
}

/** The same call again when the connection broke or the server was busy. Only for calls that may be repeated. */
export async function persistently(attempt, signal, tries = 6) {
  for (let n = 1; ; n += 1) {
    try {
      return await attempt();
    } catch (error) {
      const passing = error instanceof ApiError && (error.status === 0 || error.status === 429 || error.status >= 500);
      if (!passing || n >= tries || signal?.aborted) throw error;
      await new Promise((done) => setTimeout(done, Math.min(250 * 2 ** n, 5000)));
    }
  }
}
