// Messages: "where is my answer?" A filtered ledger, the timeline of one message, dead letters.

import { ApiError } from "/console/api.js";
import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { empty, heading, loadingLine, mark, paged, pager, time } from "/console/view.js";

const STATES = ["queued", "running", "answered", "commanded", "stopped", "dropped", "refused", "failed"];
const COLOURS = { answered: "good", commanded: "good", failed: "bad", refused: "wait", queued: "wait", running: "wait" };

const idOf = (shell) => shell.app.path[1];

export async function load(shell, state) {
  if (idOf(shell)) return loadOne(shell);
  const filter = Object.fromEntries(Object.entries(state.filter ?? {}).filter(([, value]) => value));
  const [messages, letters, bots] = await Promise.all([paged(shell, state, "/messages", filter), paged(shell, state.letters ?? {}, "/deadletters"), shell.get("/integrations?limit=200")]);
  return { ...messages, letters: { ...state.letters, ...letters }, names: new Map(bots.items.map((bot) => [bot.id, bot.name])) };
}

/** A message, and the bot and chat that it belongs to unless they were deleted since. */
async function loadOne(shell) {
  const message = await shell.get(`/messages/${encodeURIComponent(idOf(shell))}`);
  const path = `/integrations/${encodeURIComponent(message.integrationId)}`;
  const found = (call) =>
    call.catch((error) => {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    });
  const search = message.conversationId && `${path}/conversations?limit=1&search=${encodeURIComponent(message.conversationId)}`;
  const [bot, conversations] = await Promise.all([found(shell.get(path)), search ? found(shell.get(search)) : null]);
  return { message, bot, chat: conversations?.items[0] ?? null };
}

export function view(shell, state) {
  if (idOf(shell)) return one(shell, state);
  return html`
    ${heading(text("page_messages"))}
    <form class="bar" role="search" id="message-search" @submit=${(event) => find(shell, state, event)}>
      <label>${text("sender")} <input name="userId"></label>
      <label>${text("chat")} <input name="chatId"></label>
      <label>${text("from")} <input name="since" type="datetime-local"></label>
      <label>${text("until")} <input name="until" type="datetime-local"></label>
      <label>${text("state")} <select name="state"><option value="">${text("all")}</option>${STATES.map((one) => html`<option value=${one}>${text(`message_${one}`)}</option>`)}</select></label>
      <label>${text("idOrReference")} <input name="search"></label>
      <button type="submit">${text("search")}</button>
    </form>
    <section class="card">${!state.items ? loadingLine() : state.items.length === 0 ? empty(text("noMessages")) : html`<ul class="rows" id="messages">${state.items.map((item) => row(state, item))}</ul>`}
      ${pager(shell, state)}</section>
    <section class="card" aria-labelledby="letters"><h3 id="letters">${text("deadLetters")}</h3>
      ${state.redriven ? html`<p class="note" id="redriven" role="status">${text("redriven", state.redriven.redriven, state.redriven.skipped.length)}${state.redriven.hasMore ? ` ${text("redriveMore")}` : ""}</p>` : nothing}
      ${state.letters?.items.length && shell.app.mayWrite ? html`<form class="bar" id="redrive-since" @submit=${(event) => redriveSince(shell, state, event)}>
        <label>${text("failedSince")} <select name="hours">${[1, 24, 168].map((hours) => html`<option value=${hours}>${text(`hours_${hours}`)}</option>`)}</select></label>
        <button type="submit">${text("redriveAll")}</button>
      </form>` : nothing}
      ${!state.letters ? loadingLine() : state.letters.items.length === 0 ? empty(text("noDeadLetters")) : html`<ul class="rows" id="dead-letters">${state.letters.items.map((letter) => html`
        <li><div class="head"><a class="name" href="#/messages/${letter.messageId ?? letter.id}">${letter.messageId ?? letter.id}</a></div>
          <p class="kind">${botLink(state.names, letter.integrationId)} · ${letter.reason ?? ""} · ${time(letter.failedAt)}</p>
          ${shell.app.mayWrite ? html`<button class="quiet" data-verb="redrive" @click=${() => shell.act(() => shell.post(`/deadletters/${encodeURIComponent(letter.id)}/redrive`))}>${text("redrive")}</button>` : nothing}</li>`)}</ul>`}
      ${state.letters ? pager(shell, state.letters) : nothing}
    </section>`;
}

function find(shell, state, event) {
  event.preventDefault();
  const filter = Object.fromEntries(new FormData(event.target));
  for (const name of ["since", "until"]) if (filter[name]) filter[name] = new Date(filter[name]).toISOString();
  Object.assign(state, { filter, cursors: [] });
  return shell.reload();
}

/** Redrives the messages that failed since a time. Agents are called again, so it must be confirmed first. */
async function redriveSince(shell, state, event) {
  event.preventDefault();
  const hours = Number(event.target.elements.hours.value);
  if (!(await shell.confirm(text("redriveAll"), text("redriveAllBody", text(`hours_${hours}`)), text("redriveAll")))) return;
  const since = new Date(Date.now() - hours * 3_600_000).toISOString();
  await shell.act(() => redriveAll(shell, state, since));
}

/** One request redrives some of them; the next one continues behind these, whether they could be redriven or not. */
async function redriveAll(shell, state, since) {
  const { organization } = shell.app;
  let [cursor, redriven, skipped] = [null, 0, []];
  do {
    const part = await shell.post("/deadletters/redrive", { since, cursor });
    redriven += part.redriven;
    skipped = [...skipped, ...part.skipped];
    state.redriven = { redriven, skipped, hasMore: part.hasMore };
    cursor = part.nextCursor;
  } while (cursor && shell.app.organization === organization);
}

const row = (state, item) => html`<li data-id=${item.id}><div class="head">${mark(COLOURS[item.state] ?? "off", text(`message_${item.state}`))}<a class="name" href="#/messages/${item.id}">${item.id}</a></div>
  <p class="kind">${botLink(state.names, item.integrationId)} · ${item.senderId ?? "–"} · ${time(item.receivedAt)}${item.conversationId ? html` · ${text("conversation")}: <code>${item.conversationId}</code>` : nothing}</p></li>`;

/** The bot by its name; by its id if it was deleted, or is beyond the names that were read. */
const botLink = (names, id) => (id ? html`<a class="bot" href="#/bots/${id}">${names?.get(id) ?? id}</a>` : "–");

function one(shell, { message, bot, chat }) {
  if (!message) return html`${heading(text("message"))}${loadingLine()}`;
  const steps = message.steps ?? [];
  const began = steps.length ? Date.parse(steps[0].at) : 0;
  return html`
    ${heading(text("message"))}
    <section class="card">
      <p>${mark(COLOURS[message.state] ?? "off", text(`message_${message.state}`))} <code>${message.id}</code></p>
      <dl class="facts">
        <dt>${text("bot")}</dt><dd><a href="#/bots/${message.integrationId}">${bot?.name ?? message.integrationId}</a></dd>
        <dt>${text("chat")}</dt><dd>${chat ? html`${text(`chat_${chat.chatType}`)} · <code>${chat.chatId}</code>` : "–"}</dd>
        <dt>${text("sender")}</dt><dd>${message.senderId ?? "–"}</dd>
        <dt>${text("reference")}</dt><dd>${message.reference}</dd>
        <dt>${text("conversation")}</dt><dd><code>${message.conversationId ?? "–"}</code></dd>
      </dl>
      <div class="scroll" tabindex="0" role="region" aria-label=${text("timeline")}><table><thead><tr><th>${text("time")}</th><th>${text("after")}</th><th>${text("step")}</th><th>${text("attempt")}</th><th>${text("code")}</th></tr></thead>
        <tbody>${steps.map((step) => html`<tr><td>${time(step.at)}</td><td>${((Date.parse(step.at) - began) / 1000).toFixed(2)} s</td><td>${step.step}</td><td>${step.attempt ?? ""}</td><td><code>${step.code ?? ""}</code> ${step.detail ?? ""}</td></tr>`)}</tbody></table></div>
      ${message.state === "failed" && shell.app.mayWrite ? html`<button id="redrive" @click=${() => shell.act(() => shell.post(`/deadletters/${encodeURIComponent(message.id)}/redrive`))}>${text("redrive")}</button>` : nothing}
    </section>`;
}
