// Settings: tokens, notifications, organizations, limits, version and the API's description.

import { call, download } from "/console/api.js";
import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { copyable, empty, heading, loadingLine, paged, pager, time } from "/console/view.js";

/** Between two readings of the lists, unless an action changes something. */
const LISTS_MS = 60000;

export async function load(shell, state) {
  // The version doesn't change while the page is open.
  const about = state.version ? { info: state } : call("GET", "/api/openapi.json");
  const everywhere = (path) => call("GET", `/api/v1${path}`);
  const entries = paged(shell, state.audit ?? {}, "/audit", { limit: 50 }, shell.app.isRoot ? everywhere : shell.get);
  const [tokens, organization, audit, notify, bots, people] = await Promise.all([shell.all("/tokens"), shell.get(""), entries, shell.get("/notify"), shell.all("/integrations"), shell.get("/mapper")]);
  return { version: (await about).info.version, tokens, organization, audit: { ...state.audit, ...audit }, notify, bots, mapper: people, listedAt: Date.now() };
}

/** Only the delivery of notifications changes from one moment to the next; lists are long and rarely change. */
export async function refresh(shell, state) {
  if (Date.now() - (state.listedAt ?? 0) >= LISTS_MS) return load(shell, state);
  return { notify: await shell.get("/notify") };
}

export function view(shell, state) {
  if (!state.organization) return html`${heading(text("page_settings"))}${loadingLine()}`;
  return html`
    ${heading(text("page_settings"))}
    ${tokens(shell, state)}
    ${notifications(shell, state)}
    ${mapper(shell, state)}
    ${limits(shell, state)}
    ${organizations(shell, state)}
    ${auditLog(shell, state)}
    <section class="card"><h3>${text("about")}</h3>
      <p class="bar"><button class="quiet" id="export" @click=${() => shell.act(() => download(`/api/v1/orgs/${encodeURIComponent(shell.app.organization)}/export`, `${shell.app.organization}.yaml`))}>${text("exportFile")}</button> <span class="kind">${text("exportHelp")}</span></p>
      <p><a href="/api/openapi.json">${text("apiDocs")}</a> · <span id="version">Tieline ${state.version ?? ""}</span></p></section>`;
}

const tokens = (shell, state) => html`
  <section class="card" aria-labelledby="tokens-title"><h3 id="tokens-title">${text("tokens")}</h3>
    ${state.made ? html`<p class="note" id="new-token">${text("tokenOnce")} ${copyable(state.made.token)}</p>` : nothing}
    ${state.tokens.length === 0 ? empty(text("noTokens")) : html`<ul class="rows" id="tokens">${state.tokens.map((token) => html`
      <li><div class="head"><span class="name">${token.name}</span></div><p class="kind">${text(`role_${token.role}`)} · ${time(token.createdAt)} · ${token.lastUsedAt ? html`${text("lastUsed")} ${time(token.lastUsedAt)}` : text("neverUsed")}${token.expiresAt ? html` · ${text("expires")} ${time(token.expiresAt)}` : nothing}</p>
        ${shell.app.mayWrite ? html`<button class="danger quiet" @click=${() => revoke(shell, token)}>${text("revoke")}</button>` : nothing}</li>`)}</ul>`}
    ${!shell.app.mayWrite ? nothing : html`<form class="bar" id="token-form" @submit=${(event) => {
      event.preventDefault();
      const form = event.target;
      shell.act(async () => {
        state.made = await shell.post("/tokens", { name: form.elements.name.value.trim(), role: form.elements.role.value, ...expiry(form.elements.expires.value) });
        form.reset();
      });
    }}>
      <label>${text("name")} <input name="name" required></label>
      <label>${text("role")} <select name="role">${["admin", "viewer"].map((role) => html`<option value=${role}>${text(`role_${role}`)}</option>`)}</select></label>
      <label>${text("expires")} <input name="expires" type="date"></label>
      <button type="submit">${text("create")}</button>
    </form>`}
  </section>`;

/** The end of a day in this browser's time zone, or nothing. */
const expiry = (day) => (day ? { expiresAt: new Date(`${day}T23:59:59`).toISOString() } : {});

const auditLog = (shell, state) => html`
  <section class="card" aria-labelledby="audit-title"><h3 id="audit-title">${text("audit")}</h3>
    ${state.audit.items.length === 0 ? empty(text("noAudit")) : html`<ul class="rows" id="audit">${state.audit.items.map((entry) => html`
      <li><div class="head"><span class="name"><code>${entry.action}</code> ${entry.target?.name ?? entry.target?.id ?? ""}</span></div>
        <p class="kind">${time(entry.at)} · ${entry.actor.tokenName ?? text(`actor_${entry.actor.role}`)}${entry.address ? ` · ${entry.address}` : ""}${shell.app.isRoot && entry.organization ? ` · ${entry.organization}` : ""}</p>
        ${entry.before || entry.after ? html`<details><summary>${text("changes")}</summary><pre>${changes(entry)}</pre></details>` : nothing}</li>`)}</ul>`}
    ${pager(shell, state.audit)}
  </section>`;

/** The changed fields, before and after, one line each. */
const changes = ({ before, after }) => [["-", before], ["+", after]].filter(([, state]) => state).map(([sign, state]) => `${sign} ${JSON.stringify(state)}`).join("\n");

async function revoke(shell, token) {
  if (await shell.confirm(text("revokeTitle", token.name), text("revokeBody"), text("revoke"))) await shell.act(() => shell.send("DELETE", `/tokens/${encodeURIComponent(token.id)}`));
}

/** Notification settings: a webhook, or a chat of one of the bots. */
const notifications = (shell, state) => {
  const { notify, bots } = state;
  const way = state.way ?? (notify.chat ? "chat" : "webhook");
  const isSet = notify.webhook || notify.chat;
  return html`
  <section class="card" aria-labelledby="notify-title"><h3 id="notify-title">${text("notifications")}</h3>
    <p>${text("notifyHelp")}</p>
    ${notify.lastAttempt ? html`<p class="kind">${time(notify.lastAttempt.at)} · ${notify.lastAttempt.error ?? text(notify.lastAttempt.messageId ? "notifyPending" : "notifySent")}${notify.waiting ? ` · ${text("notifyWaiting", notify.waiting)}` : ""}</p>` : nothing}
    ${state.tested ? html`<p class="note" id="notify-tested" role="status">${state.tested.ok ? text("notifySent") : state.tested.detail}</p>` : nothing}
    <form class="bar" id="notify-form" @submit=${(event) => {
      event.preventDefault();
      const { url, secret, bot, chat, language } = event.target.elements;
      const target = way === "chat" ? { chat: { integrationId: bot.value, chatId: chat.value.trim() } } : { webhook: { url: url.value.trim(), ...(secret.value ? { secret: secret.value } : {}) } };
      shell.save(() => shell.send("PATCH", "/notify", { ...target, language: language.value }));
    }}>
      <label>${text("notifyWay")} <select name="way" @change=${(event) => { state.way = event.target.value; shell.update(); }}>
        ${["webhook", "chat"].map((one) => html`<option value=${one} ?selected=${one === way}>${text(`notify_${one}`)}</option>`)}</select></label>
      ${way === "chat" ? html`
      <label>${text("notifyBot")} <select name="bot" required>${bots.map((bot) => html`<option value=${bot.id} ?selected=${bot.id === notify.chat?.integrationId}>${bot.name}</option>`)}</select></label>
      <label>${text("notifyChatId")} <input name="chat" required .value=${notify.chat?.chatId ?? ""}></label>` : html`
      <label>${text("notifyUrl")} <input name="url" type="url" required .value=${notify.webhook?.url ?? ""}></label>
      <label>${text("notifySecret")} <input name="secret" type="password" minlength="16" autocomplete="off" ?required=${!notify.webhook} placeholder=${notify.webhook ? "***" : ""}></label>`}
      <label>${text("language")} <select name="language">${[["en", "English"], ["zh-CN", "中文"]].map(([tag, name]) => html`<option value=${tag} ?selected=${tag === notify.language}>${name}</option>`)}</select></label>
      ${shell.app.mayWrite ? html`<button type="submit">${text("save")}</button>` : nothing}
    </form>
    ${shell.app.mayWrite && isSet ? html`<p class="bar">
      <button class="quiet" @click=${() => shell.act(async () => { state.tested = await shell.post("/notify/test"); })}>${text("notifyTest")}</button>
      <button class="danger quiet" id="notify-end" @click=${() => end(shell, "notify")}>${text("notifyEnd")}</button></p>` : nothing}
  </section>`;
};

/** Ends the notifications or the mapper, after the operator has agreed: the secret is lost. */
async function end(shell, name) {
  const verb = text(`${name}End`);
  if (await shell.confirm(verb, text(`${name}EndBody`), verb)) await shell.act(() => shell.send("DELETE", `/${name}`));
}

/** The mapper: an endpoint that resolves platform accounts to known persons. */
const mapper = (shell, { mapper: set }) => html`
  <section class="card" aria-labelledby="mapper-title"><h3 id="mapper-title">${text("mapper")}</h3>
    <p>${text("mapperHelp")}</p>
    <form class="bar" id="mapper-form" @submit=${(event) => {
      event.preventDefault();
      const { url, secret, unknown } = event.target.elements;
      shell.save(() => shell.send("PATCH", "/mapper", { url: url.value.trim(), unknown: unknown.value, ...(secret.value ? { secret: secret.value } : {}) }));
    }}>
      <label>${text("notifyUrl")} <input name="url" type="url" required .value=${set.url ?? ""}></label>
      <label>${text("notifySecret")} <input name="secret" type="password" minlength="16" autocomplete="off" ?required=${!set.url} placeholder=${set.url ? "***" : ""}></label>
      <label>${text("mapperUnknown")} <select name="unknown">${["allow", "refuse"].map((policy) => html`<option value=${policy} ?selected=${policy === (set.unknown ?? "allow")}>${text(`unknown_${policy}`)}</option>`)}</select></label>
      ${shell.app.mayWrite ? html`<button type="submit">${text("save")}</button>` : nothing}
    </form>
    ${shell.app.mayWrite && set.url ? html`<p class="bar"><button class="danger quiet" id="mapper-end" @click=${() => end(shell, "mapper")}>${text("mapperEnd")}</button></p>` : nothing}
  </section>`;

const limits = (shell, { organization }) => html`
  <section class="card" aria-labelledby="limits-title"><h3 id="limits-title">${text("limits")}</h3>
    <form class="bar" @submit=${(event) => {
      event.preventDefault();
      const { runs, messages } = event.target.elements;
      const limit = ({ value }) => (value === "" ? null : Number(value));
      shell.save(() => shell.send("PATCH", "", { limits: { maxConcurrentRuns: limit(runs), maxMessagesPerMinute: limit(messages) } }));
    }}>
      <label>${text("maxRuns")} <input name="runs" type="number" min="1" .value=${String(organization.limits.maxConcurrentRuns ?? "")} placeholder=${text("unlimited")}></label>
      <label>${text("maxMessages")} <input name="messages" type="number" min="1" max="10000" .value=${String(organization.limits.maxMessagesPerMinute ?? "")} placeholder=${text("unlimited")}></label>
      ${shell.app.isRoot ? html`<button type="submit">${text("save")}</button>` : nothing}
    </form></section>`;

const organizations = (shell) => html`
  <section class="card" aria-labelledby="orgs-title"><h3 id="orgs-title">${text("organizations")}</h3>
    <ul id="organizations">${shell.app.organizations.map((one) => html`<li>${one.name} <code>${one.id}</code></li>`)}</ul>
    ${shell.app.isRoot ? html`<form class="bar" @submit=${(event) => {
      event.preventDefault();
      const { id, name } = event.target.elements;
      shell.act(async () => {
        const made = await call("POST", "/api/v1/orgs", { id: id.value.trim(), ...(name.value.trim() ? { name: name.value.trim() } : {}) });
        shell.app.organizations.push(made);
        event.target.reset();
      });
    }}>
      <label>${text("id")} <input name="id" required pattern="[a-z0-9][a-z0-9_\\-]*"></label><label>${text("name")} <input name="name"></label>
      <button type="submit">${text("create")}</button>
    </form>` : nothing}</section>`;
