// The console: session, navigation and the page that the address names.

import { ApiError, all, call, endSession, mayHaveSession, noteSession, openSession, session, tokenFromFragment } from "/console/api.js";
import { html, nothing, render } from "/console/lit-html.js";
import { language, setLanguage, text } from "/console/texts.js";
import { dialog, failure } from "/console/view.js";
import * as addBot from "/console/pages/add_bot.js";
import * as agents from "/console/pages/agents.js";
import * as bot from "/console/pages/bot.js";
import * as bots from "/console/pages/bots.js";
import * as messages from "/console/pages/messages.js";
import * as overview from "/console/pages/overview.js";
import * as people from "/console/pages/people.js";
import * as playground from "/console/pages/playground.js";
import * as settings from "/console/pages/settings.js";

const REFRESH_MS = 5000;
const RETRY_MS = 5000;
const UNDO_MS = 60000;
const SAVED_MS = 4000;

/** Pages by the first part of the address, in the order of the navigation. */
const PAGES = { overview, bots, agents, messages, people, playground, settings };

/** The state of the visit. Pages keep their own state in `page`. */
const app = {
  phase: "starting",
  offered: null,
  organizations: [],
  organization: null,
  isRoot: false,
  mayWrite: true,
  offline: false,
  error: null,
  page: {},
  path: [],
  dialog: null,
  undo: null,
  saved: null,
  theme: localStorage.getItem("tieline.theme") ?? "",
};

let loading = 0;

/** Notifies the other tabs of this browser, which share the session, that it has started or ended. */
const tabs = new BroadcastChannel("tieline.session");
tabs.onmessage = ({ data }) => {
  if (data === "ended" && app.phase === "signedIn") signedOut();
  if (data === "opened" && app.phase === "signedOut") signIn();
};

/** Buttons and forms whose action runs. */
const acting = new Set();

/** Context of a page: the organization's base path, and the actions that all pages share. */
const shell = {
  app,
  update: draw,
  base: () => `/api/v1/orgs/${encodeURIComponent(app.organization)}`,
  get: (path) => call("GET", `${shell.base()}${path}`),
  /** All items of a list. */
  all: (path, query = "") => all(`${shell.base()}${path}?limit=200${query}`),
  post: (path, body) => shell.send("POST", path, body),
  send: (method, path, body) => call(method, `${shell.base()}${path}`, body),
  explain: failure,
  go: (path) => {
    app.isLeaving = true;
    location.hash = `#/${path}`;
  },
  reload: () => load(false),
  /** Runs the action of a button; shows a failure on the page. */
  act: async (action) => {
    // A double tap must not do it twice.
    const control = window.event?.target;
    if (acting.has(control)) return;
    if (control) acting.add(control);
    try {
      app.error = null;
      await action();
      // The action may have mended what was found.
      app.page.diagnosis = undefined;
      // The resource that this page shows may have just been deleted.
      if (!app.isLeaving) await load(false);
    } catch (error) {
      onError(error);
      document.getElementById("error")?.focus();
    } finally {
      acting.delete(control);
    }
  },
  /** Saves a form, and says so. */
  save: (write) =>
    shell.act(async () => {
      await write();
      noteSaved();
    }),
  noteSaved,
  /** Offers to undo what was just done: for a minute, on every page. */
  offerUndo: (words, run) => {
    const undo = { words, run };
    app.undo = undo;
    setTimeout(() => app.undo === undo && ((app.undo = null), draw()), UNDO_MS);
  },
  /** Asks for confirmation before an action that can't be undone; resolves to whether it was confirmed. */
  confirm: (title, body, verb) =>
    new Promise((resolve) => {
      app.dialog = { title, body, verb, close: (answer) => ((app.dialog = null), draw(), resolve(answer)) };
      draw();
    }),
};

function noteSaved() {
  const saved = {};
  app.saved = saved;
  draw();
  setTimeout(() => app.saved === saved && ((app.saved = null), draw()), SAVED_MS);
}

function onError(error, isOfLoad = false) {
  if (error instanceof ApiError && error.status === 401) return signedOut(text("sessionOver"));
  // A proxy answers for a server that is gone.
  app.offline = error instanceof ApiError && (error.status === 0 || (error.status >= 502 && error.code === ""));
  app.error = app.offline ? null : failure(error);
  app.isLoadError = isOfLoad;
  draw();
}

async function signOut() {
  try {
    await endSession();
  } catch (error) {
    // The session had ended already, which is the wanted result.
    if (!(error instanceof ApiError && error.status === 401)) return onError(error);
  }
  tabs.postMessage("ended");
  signedOut();
}

function signedOut(message = null) {
  noteSession(false);
  app.phase = "signedOut";
  app.offline = false;
  app.organizations = [];
  app.organization = null;
  app.page = {};
  app.error = message;
  app.dialog = null;
  app.undo = null;
  playground.leave();
  draw();
  document.getElementById("token")?.focus();
}

/** Signs in with a token, or with the existing session of this browser. */
async function signIn(token = null) {
  app.phase = "signingIn";
  app.error = null;
  draw();
  try {
    if (token !== null) await openSession(token);
    const [items, mine] = await Promise.all([all("/api/v1/orgs?limit=200"), session()]);
    if (token !== null) tabs.postMessage("opened");
    noteSession(true);
    app.organizations = items;
    app.mayWrite = mine.role !== "viewer";
    app.isRoot = mine.role === "root";
    const kept = sessionStorage.getItem("tieline.organization");
    const known = items.find((one) => one.id === kept) ?? items.find((one) => one.id === "default") ?? items[0];
    app.organization = known?.id ?? null;
    app.phase = "signedIn";
    app.offline = false;
    await route();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return signedOut(token === null ? null : text("badToken"));
    if (error instanceof ApiError && error.status === 429) return signedOut(failure(error));
    app.phase = "signedOut";
    app.offline = true;
    draw();
    // Token or session may still be valid: retry.
    setTimeout(() => app.phase === "signedOut" && app.offline && signIn(token), RETRY_MS);
  }
}

/** A link with a token never replaces a session silently: the operator decides. */
async function offer(token) {
  if (!mayHaveSession()) return signIn(token);
  const rights = (given) => session(given).catch((error) => (error instanceof ApiError && error.status === 0 ? null : {}));
  app.page = {};
  app.phase = "signingIn";
  draw();
  const [mine, offered] = [await rights(null), await rights(token)];
  if (mine === null || offered === null) {
    app.phase = "signedOut";
    app.offline = true;
    draw();
    return setTimeout(() => app.phase === "signedOut" && app.offline && offer(token), RETRY_MS);
  }
  if (!mine.role) return signIn(token);
  if (offered.role === mine.role && offered.tokenId === mine.tokenId) return signIn();
  app.offered = { token, ...offered };
  app.phase = "offered";
  draw();
}

function current() {
  const [name, second] = app.path;
  if (name === "bots" && second === "add") return addBot;
  if (name === "bots" && second) return bot;
  return PAGES[name] ?? overview;
}

async function route() {
  const token = location.hash.startsWith("#token=") ? tokenFromFragment() : null;
  if (token !== null) return offer(token);
  const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  const path = parts.length ? parts : ["overview"];
  const isSame = path[0] === app.path[0] && path[1] === app.path[1];
  app.path = path;
  app.isLeaving = false;
  if (!isSame) app.page = {};
  app.error = null;
  if (app.phase !== "signedIn") return draw();
  const focused = document.activeElement;
  draw();
  await load(true);
  // Unless the operator has moved the focus while the page was loading.
  const isUnmoved = [focused, document.body, null].includes(document.activeElement);
  if (!isSame && isUnmoved) document.querySelector("main h2")?.focus();
}

/**
 * Loads what the current page shows; for a refresh by the clock only what changes by itself, where a page distinguishes that (`refresh`).
 * A slow response doesn't replace a page that was opened since.
 */
async function load(isFirst, isRefresh = false) {
  if (app.phase !== "signedIn" || app.organization === null) return;
  const [page, state, organization, turn] = [current(), app.page, app.organization, (loading += 1)];
  try {
    const read = (isRefresh && page.refresh) || page.load;
    const found = await read?.(shell, state, isFirst);
    if (organization !== app.organization || state !== app.page || turn < (state.turn ?? 0)) return;
    state.turn = turn;
    Object.assign(state, found);
    app.offline = false;
    if (app.isLoadError) app.error = null;
    draw();
  } catch (error) {
    if (organization === app.organization && state === app.page) onError(error, true);
  }
}

function choose(organization) {
  app.organization = organization;
  sessionStorage.setItem("tieline.organization", organization);
  app.page = {};
  app.undo = null;
  // A resource of the other organization is not in this one.
  if (app.path[1]) return shell.go(app.path[0]);
  draw();
  return load(true);
}

function undo() {
  const { run } = app.undo;
  app.undo = null;
  return shell.act(run);
}

function setTheme(theme) {
  app.theme = theme;
  localStorage.setItem("tieline.theme", theme);
  draw();
}

const link = (name) => html`<a href="#/${name}" aria-current=${current() === PAGES[name] || app.path[0] === name ? "page" : nothing}>${text(`page_${name}`)}</a>`;

const signedOutView = () => html`
  <main id="signed-out">
    <form id="sign-in-form" class="card" @submit=${(event) => {
      event.preventDefault();
      signIn(new FormData(event.target).get("token"));
    }}>
      <h2>${text("signIn")}</h2>
      <p>${text("signInHelp")}</p>
      <label for="token">${text("token")}</label>
      <input id="token" name="token" type="password" autocomplete="off" autocapitalize="off" spellcheck="false" required>
      <button id="sign-in" type="submit" ?disabled=${app.phase === "signingIn"}>${text("signIn")}</button>
    </form>
  </main>`;

const offeredView = () => html`
  <main id="offered" class="narrow">
    <section class="card">
      <h2>${text("offeredTitle")}</h2>
      <p>${text("offeredHelp")}</p>
      <p id="offered-rights">${app.offered.role ? text("offeredRights", text(`role_${app.offered.role}`), app.offered.organization ?? text("allOrganizations")) : text("badToken")}</p>
      <div class="bar">
        <button id="take-token" @click=${() => {
          const { token } = app.offered;
          app.offered = null;
          signIn(token);
        }}>${text("offeredTake")}</button>
        <button class="quiet" id="keep-session" @click=${() => {
          app.offered = null;
          signIn();
        }}>${text("offeredKeep")}</button>
      </div>
    </section>
  </main>`;

const switches = () => html`
  <label><span class="hidden">${text("language")}</span>
    <select id="language" @change=${(event) => (setLanguage(event.target.value), draw(), load(false))}>
      <option value="en" ?selected=${language() === "en"}>English</option>
      <option value="zh-CN" ?selected=${language() === "zh-CN"}>简体中文</option>
    </select></label>
  <label><span class="hidden">${text("theme")}</span>
    <select id="theme" @change=${(event) => setTheme(event.target.value)}>
      ${["", "light", "dark"].map((theme) => html`<option value=${theme} ?selected=${app.theme === theme}>${text(`theme_${theme || "system"}`)}</option>`)}
    </select></label>`;

const organizationSwitch = () => html`
  <label class="org" ?hidden=${app.organizations.length < 2}><span>${text("organization")}</span>
    <select id="organization" @change=${(event) => choose(event.target.value)}>
      ${app.organizations.map((one) => html`<option value=${one.id} ?selected=${one.id === app.organization}>${one.name || one.id}</option>`)}
    </select></label>`;

const signedInView = () => html`
  <div id="signed-in" class=${app.offline ? "stale" : ""}>
    <nav aria-label=${text("navigation")}>${Object.keys(PAGES).map(link)}</nav>
    <main id="main">
      ${app.error ? html`<p id="error" role="alert" tabindex="-1">${app.error}</p>` : nothing}
      <p id="saved" role="status" class=${app.saved ? "" : "hidden"}>${app.saved ? text("saved") : nothing}</p>
      ${app.undo ? html`<p id="undo" class="note" role="status">${app.undo.words}
        <button type="button" class="quiet" @click=${undo}>${text("undo")}</button></p>` : nothing}
      ${current().view(shell, app.page)}
    </main>
  </div>`;

function draw() {
  document.documentElement.lang = language();
  document.documentElement.dataset.theme = app.theme;
  const body = { signedIn: signedInView, offered: offeredView }[app.phase] ?? signedOutView;
  const page = html`
    <a class="skip" href="#main" @click=${(event) => {
      event.preventDefault();
      document.querySelector("main h2, main input")?.focus();
    }}>${text("skip")}</a>
    <header>
      <img src="/console/icon.svg" alt="" width="28" height="28">
      <h1>Tieline</h1>
      <span class="grow"></span>
      ${app.phase === "signedIn" ? organizationSwitch() : nothing}
      ${switches()}
      ${app.phase === "signedIn" ? html`<button id="sign-out" type="button" class="quiet" @click=${() => signOut()}>${text("signOut")}</button>` : nothing}
    </header>
    ${app.offline ? html`<p id="offline" role="alert">${text("unreachable")}</p>` : nothing}
    ${app.phase !== "signedIn" && app.error ? html`<p id="error" role="alert">${app.error}</p>` : nothing}
    ${body()}
    ${app.dialog ? dialog(app.dialog) : nothing}`;
  render(page, document.getElementById("app"));
  const opened = document.querySelector("dialog:not([open])");
  opened?.showModal();
}

window.addEventListener("hashchange", route);
setInterval(() => {
  if (!document.hidden && app.phase === "signedIn") load(false, true);
}, REFRESH_MS);

const token = location.hash.startsWith("#token=") ? tokenFromFragment() : null;
if (token !== null) offer(token);
else if (mayHaveSession()) signIn();
else signedOut();
