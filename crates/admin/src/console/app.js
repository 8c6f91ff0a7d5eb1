// The page: sign in, pick an integration, talk to it, see how all of them are.

import { ApiError, all, call, forgetToken, hasToken, keepToken, takeTokenFromFragment } from "/console/api.js";
import { ask } from "/console/talk.js";
import { text, translate } from "/console/texts.js";

const at = (id) => document.getElementById(id);
const REFRESH_MS = 10000;
const RETRY_MS = 5000;
const MARKS = { connected: "good", connecting: "wait", retrying: "wait", disconnected: "bad", needs_login: "bad", disabled: "off" };

let organization = null;
/** The integrations whose answers are being written, the latest last. */
let answering = [];
let talks = new AbortController();
/** Tries the sign-in again after a failure that may pass. */
let retry = 0;

function showState(key) {
  at("state").textContent = text(key);
}

function showError(message) {
  at("error").hidden = !message;
  at("error").textContent = message;
}

function explain(error) {
  if (!(error instanceof ApiError)) return text("failed", error.message);
  if (error.status === 0) return text("unreachable");
  return text("failed", error.message);
}

/** A token that stopped working ends the visit; anything else is only shown. */
function onError(error) {
  if (error instanceof ApiError && error.status === 401) return signOut(text("badToken"));
  showError(explain(error));
}

function signOut(message = "") {
  forgetToken();
  talks.abort();
  talks = new AbortController();
  organization = null;
  answering = [];
  clearTimeout(retry);
  at("answers").replaceChildren();
  at("diagnosis").hidden = true;
  at("signed-in").hidden = true;
  at("sign-out").hidden = true;
  document.querySelector(".org").hidden = true;
  at("signed-out").hidden = false;
  showState("signedOut");
  showError(message);
  at("token").focus();
}

async function signIn() {
  clearTimeout(retry);
  showState("signingIn");
  showError("");
  try {
    const organizations = await all("/api/v1/orgs");
    fill(at("organization"), organizations);
    at("token").value = "";
    at("signed-out").hidden = true;
    at("signed-in").hidden = false;
    at("sign-out").hidden = false;
    document.querySelector(".org").hidden = organizations.length < 2;
    await choose(organizations.find((one) => one.id === "default")?.id ?? organizations[0]?.id);
    showState("ready");
    at("message").focus();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return signOut(text("badToken"));
    showError(explain(error));
    if (organization !== null) return showState("ready");
    // The token may be as good as ever: it is kept, and asked about again.
    at("signed-out").hidden = false;
    retry = setTimeout(signIn, RETRY_MS);
  }
}

function fill(select, items) {
  const before = select.value;
  select.replaceChildren(...items.map((item) => new Option(item.name || item.id, item.id)));
  if (items.some((item) => item.id === before)) select.value = before;
}

async function choose(id) {
  organization = id;
  at("organization").value = id;
  await refresh();
}

async function refresh() {
  const asked = organization;
  const base = `/api/v1/orgs/${encodeURIComponent(asked)}/integrations`;
  const items = await all(base);
  const statuses = await Promise.all(
    items.map((item) => call("GET", `${base}/${encodeURIComponent(item.id)}/status`).catch(() => null)),
  );
  // A slow answer must not cover what was chosen meanwhile.
  if (organization !== asked) return;
  showIntegrations(items, statuses);
  const web = items.filter((item) => item.platform === "web");
  fill(at("integration"), web);
  const none = web.length === 0;
  at("send").disabled = none;
  at("new-session").disabled = none;
  showError(none ? text("noWeb") : "");
}

function showIntegrations(items, statuses) {
  const rows = items.map((item, index) => integrationRow(item, statuses[index]));
  if (rows.length === 0) rows.push(element("li", "", text("noIntegrations")));
  at("integrations").replaceChildren(...rows);
}

function integrationRow(item, status) {
  const state = status?.state ?? "unknown";
  const row = element("li", "");
  row.dataset.id = item.id;
  row.dataset.state = state;
  row.append(
    element("span", `mark ${MARKS[state] ?? "off"}`, text(`state_${state}`)),
    element("span", "name", item.name),
    element("p", "kind", `${item.platform} · ${item.connectionMode}`),
  );
  // An error stays known after it has passed.
  const error = state === "connected" ? null : status?.lastError?.message;
  for (const hint of [error, status?.next]) if (hint) row.append(element("p", "next", hint));
  const doctor = element("button", "quiet", text("doctor"));
  doctor.type = "button";
  doctor.addEventListener("click", () => examine(item, doctor).catch(onError));
  row.append(doctor);
  return row;
}

/** Asks why an integration doesn't answer, and shows what was found. */
async function examine(item, doctor) {
  doctor.disabled = true;
  try {
    const path = `/api/v1/orgs/${encodeURIComponent(organization)}/integrations/${encodeURIComponent(item.id)}/doctor`;
    showDiagnosis(item, await call("POST", path));
  } finally {
    doctor.disabled = false;
  }
}

function showDiagnosis(item, { cause, next, checks }) {
  at("diagnosis-title").textContent = item.name;
  at("cause").textContent = cause ?? text("allIsWell");
  at("next").textContent = next ?? "";
  const rows = checks.map(({ name, ok, detail }) => {
    const row = element("li", "");
    row.append(element("span", `mark ${ok ? "good" : "bad"}`, name), element("span", "", detail));
    return row;
  });
  at("checks").replaceChildren(...rows);
  at("diagnosis").hidden = false;
  at("diagnosis").focus();
}

function element(tag, className, content = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

function bubble(className, label, content = "") {
  const made = element("div", `bubble ${className}`, content);
  made.setAttribute("aria-label", label);
  at("answers").append(made);
  made.scrollIntoView({ block: "nearest" });
  return made;
}

async function talk(words, integration = at("integration").value) {
  const signal = talks.signal;
  bubble("mine", text("you"), words);
  const answer = bubble("theirs", text("answer"));
  answer.setAttribute("aria-busy", "true");
  answering.push(integration);
  showAnswering();
  try {
    await ask(integration, words, (state) => grow(answer, state), signal);
  } catch (error) {
    if (signal.aborted) return;
    answer.classList.add("failed");
    // The webhook answers every unproved request alike, so a 401 here need not be the token.
    const known = error instanceof ApiError ? { 401: "mayNotWrite", 404: "gone" }[error.status] : undefined;
    answer.textContent = known ? text(known) : explain(error);
  } finally {
    answer.setAttribute("aria-busy", "false");
    if (!signal.aborted) {
      answering.splice(answering.lastIndexOf(integration), 1);
      showAnswering();
    }
  }
}

function grow(answer, state) {
  const log = at("answers");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  answer.textContent = state.text;
  answer.dataset.done = String(state.done);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showAnswering() {
  at("stop").disabled = answering.length === 0;
  showState(answering.length === 0 ? "ready" : "answering");
}

/** Stops the answers where they are written: somebody else may be chosen by now. */
function stop() {
  for (const integration of new Set(answering)) talk("/stop", integration);
}

function onSubmit(form, action) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

function send() {
  const words = at("message").value.trim();
  if (!words || at("send").disabled) return;
  at("message").value = "";
  talk(words);
}

function listen() {
  onSubmit(at("sign-in-form"), () => {
    keepToken(at("token").value);
    signIn();
  });
  onSubmit(at("message-form"), send);
  at("message").addEventListener("keydown", (event) => {
    // This Enter picks a word in an input method and doesn't send. Safari tells it by the code only (229).
    const picks = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || picks) return;
    event.preventDefault();
    send();
  });
  at("sign-out").addEventListener("click", () => signOut());
  at("stop").addEventListener("click", stop);
  at("new-session").addEventListener("click", () => talk("/new"));
  at("close-diagnosis").addEventListener("click", () => {
    at("diagnosis").hidden = true;
  });
  at("refresh").addEventListener("click", () => refresh().catch(onError));
  at("organization").addEventListener("change", (event) => choose(event.target.value).catch(onError));
  window.addEventListener("hashchange", () => {
    if (!location.hash.startsWith("#token=")) return;
    takeTokenFromFragment();
    signIn();
  });
  setInterval(() => {
    if (organization !== null && !document.hidden) refresh().catch(onError);
  }, REFRESH_MS);
}

translate(document);
listen();
takeTokenFromFragment();
if (hasToken()) signIn();
else signOut();
