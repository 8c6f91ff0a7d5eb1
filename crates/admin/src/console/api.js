// Calls of the management API. An HttpOnly cookie authenticates the calls; a token is sent once, to open the session.

/** A failed call: an error response, or no response at all (`status` 0). */
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

/** Whether this browser has opened a session. Scripts can't read the cookie itself, and a request without one logs an error in the browser console. */
const HINT = "tieline.session";
export const mayHaveSession = () => localStorage.getItem(HINT) !== null;
export const noteSession = (isOpen) => (isOpen ? localStorage.setItem(HINT, "open") : localStorage.removeItem(HINT));

/** The rights of this browser's session, or of a token. */
export const session = (token = null) => call("GET", "/api/v1/session", undefined, { token });
/** Turns a token into this browser's session, which all tabs share. The token itself is not kept. */
export const openSession = (token) => call("POST", "/api/v1/session", { token: token.trim() });
/** Ends this browser's session. */
export const endSession = () => call("DELETE", "/api/v1/session");

const LIMIT_MS = 15_000;
/** These answer when another server has, or when there is news. */
const PATIENT = /\/(test|doctor|login|map|apply|messages|redrive)$|^\/api\/web\//;
const PATIENT_LIMIT_MS = 60_000;

/** One call; returns the JSON body. Without a `token` the session's cookie authenticates. */
export async function call(method, path, body, { signal, token = null, headers = {} } = {}) {
  // Only these characters are allowed in a header, and a token has no others.
  if (token !== null && !/^[\x21-\x7e]+$/.test(token)) throw new ApiError(401, "unauthorized", "");
  const limit = AbortSignal.timeout(PATIENT.test(path) ? PATIENT_LIMIT_MS : LIMIT_MS);
  const options = {
    method,
    // CSRF guard: a form of another site can't send this header, so the server refuses changes without it.
    headers: { "X-Tieline-Request": "1", "Accept-Language": document.documentElement.lang, ...headers },
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
    cache: "no-store",
    credentials: token === null ? "same-origin" : "omit",
    redirect: "error",
  };
  if (token !== null) options.headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  let words;
  try {
    response = await fetch(path, options);
    words = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "");
  }
  const answer = parsed(words);
  if (response.ok) return answer;
  throw new ApiError(response.status, answer.code ?? "", answer.detail ?? answer.title ?? `HTTP ${response.status}`, answer);
}

/** The JSON of a body; a proxy's page has none. */
function parsed(words) {
  try {
    return JSON.parse(words);
  } catch {
    return {};
  }
}

/** Downloads a file from the API. */
export async function download(path, name) {
  const response = await fetch(path, { headers: { "X-Tieline-Request": "1" }, cache: "no-store", credentials: "same-origin", redirect: "error" });
  if (!response.ok) throw new ApiError(response.status, "", `HTTP ${response.status}`);
  const address = URL.createObjectURL(await response.blob());
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  URL.revokeObjectURL(address);
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

/** Retries a call when the connection broke or the server was busy. Only for idempotent calls. */
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
