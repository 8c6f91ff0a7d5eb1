// Calls of the management API. The token goes in a header, never in an address.

const KEY = "tieline.token";

/** An answer that is not a success, or no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** Takes the token out of the address's fragment, if it came that way, and forgets the fragment. */
export function takeTokenFromFragment() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", location.pathname);
  keepToken(token);
}

export const keepToken = (token) => sessionStorage.setItem(KEY, token.trim());
export const forgetToken = () => sessionStorage.removeItem(KEY);
export const hasToken = () => Boolean(sessionStorage.getItem(KEY));

/** One call; gives the JSON body. */
export async function call(method, path, body, signal) {
  const token = sessionStorage.getItem(KEY) ?? "";
  // A header takes nothing else, and a token has nothing else.
  if (!/^[\x21-\x7e]*$/.test(token)) throw new ApiError(401, "unauthorized", "");
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer.code ?? "", answer.detail ?? answer.title ?? `HTTP ${response.status}`);
  return answer;
}

/** All items of a list, page after page. */
export async function all(path) {
  const items = [];
  let cursor = null;
  do {
    const page = await call("GET", cursor === null ? path : `${path}?cursor=${encodeURIComponent(cursor)}`);
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null && items.length < 1000);
  return items;
}

/** The same call again when the line broke or the server was busy. Only for calls that may be repeated. */
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
