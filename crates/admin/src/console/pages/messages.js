// Messages: "where is my answer?" A filtered ledger, the timeline of one message, dead letters.

import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { empty, heading, loadingLine, mark, time } from "/console/view.js";

const STATES = ["queued", "running", "answered", "commanded", "stopped", "dropped", "refused", "failed"];
const COLOURS = { answered: "good", commanded: "good", failed: "bad", refused: "wait", queued: "wait", running: "wait" };

const idOf = (shell) => shell.app.path[1];

export async function load(shell, state) {
  if (idOf(shell)) return { message: await shell.get(`/messages/${encodeURIComponent(idOf(shell))}`) };
  const query = new URLSearchParams({ limit: 100 });
  for (const [name, value] of Object.entries(state.filter ?? {})) if (value) query.set(name, value);
  const [messages, letters] = await Promise.all([shell.get(`/messages?${query}`), shell.get("/deadletters?limit=100")]);
  return { items: messages.items, letters: letters.items };
}

export function view(shell, state) {
  if (idOf(shell)) return one(shell, state);
  return html`
    ${heading(text("page_messages"))}
    <form class="bar" role="search" id="message-search" @submit=${(event) => find(shell, state, event)}>
      <label>${text("sender")} <input name="userId"></label>
      <label>${text("from")} <input name="since" type="datetime-local"></label>
      <label>${text("until")} <input name="until" type="datetime-local"></label>
      <label>${text("state")} <select name="state"><option value="">${text("all")}</option>${STATES.map((one) => html`<option value=${one}>${text(`message_${one}`)}</option>`)}</select></label>
      <label>${text("idOrReference")} <input name="search"></label>
      <button type="submit">${text("search")}</button>
    </form>
    <section class="card">${!state.items ? loadingLine() : state.items.length === 0 ? empty(text("noMessages")) : html`<ul class="rows" id="messages">${state.items.map(row)}</ul>`}</section>
    <section class="card" aria-labelledby="letters"><h3 id="letters">${text("deadLetters")}</h3>
      ${state.redriven ? html`<p class="note" id="redriven" role="status">${text("redriven", state.redriven.redriven, state.redriven.skipped.length)}${state.redriven.hasMore ? ` ${text("redriveMore")}` : ""}</p>` : nothing}
      ${state.letters?.length && shell.app.mayWrite ? html`<form class="bar" id="redrive-since" @submit=${(event) => redriveSince(shell, state, event)}>
        <label>${text("failedSince")} <select name="hours">${[1, 24, 168].map((hours) => html`<option value=${hours}>${text(`hours_${hours}`)}</option>`)}</select></label>
        <button type="submit">${text("redriveAll")}</button>
      </form>` : nothing}
      ${!state.letters ? loadingLine() : state.letters.length === 0 ? empty(text("noDeadLetters")) : html`<ul class="rows" id="dead-letters">${state.letters.map((letter) => html`
        <li><div class="head"><a class="name" href="#/messages/${letter.messageId ?? letter.id}">${letter.messageId ?? letter.id}</a></div>
          <p class="kind">${letter.reason ?? ""} · ${time(letter.failedAt)}</p>
          ${shell.app.mayWrite ? html`<button class="quiet" data-verb="redrive" @click=${() => shell.act(() => shell.post(`/deadletters/${encodeURIComponent(letter.id)}/redrive`))}>${text("redrive")}</button>` : nothing}</li>`)}</ul>`}
    </section>`;
}

function find(shell, state, event) {
  event.preventDefault();
  const filter = Object.fromEntries(new FormData(event.target));
  for (const name of ["since", "until"]) if (filter[name]) filter[name] = new Date(filter[name]).toISOString();
  state.filter = filter;
  return shell.reload();
}

/** Redrives the messages that failed since a time. Agents are called again, so it must be confirmed first. */
async function redriveSince(shell, state, event) {
  event.preventDefault();
  const hours = Number(event.target.elements.hours.value);
  if (!(await shell.confirm(text("redriveAll"), text("redriveAllBody", text(`hours_${hours}`)), text("redriveAll")))) return;
  const since = new Date(Date.now() - hours * 3_600_000).toISOString();
  await shell.act(async () => {
    state.redriven = await shell.post("/deadletters/redrive", { since });
  });
}

const row = (one) => html`<li data-id=${one.id}><div class="head">${mark(COLOURS[one.state] ?? "off", text(`message_${one.state}`))}<a class="name" href="#/messages/${one.id}">${one.id}</a></div>
  <p class="kind">${one.senderId ?? ""} · ${time(one.receivedAt ?? one.createdAt)}</p></li>`;

function one(shell, { message }) {
  if (!message) return html`${heading(text("message"))}${loadingLine()}`;
  const steps = message.steps ?? [];
  const began = steps.length ? Date.parse(steps[0].at) : 0;
  return html`
    ${heading(text("message"))}
    <section class="card">
      <p>${mark(COLOURS[message.state] ?? "off", text(`message_${message.state}`))} <code>${message.id}</code></p>
      <dl class="facts">
        <dt>${text("bot")}</dt><dd><a href="#/bots/${message.integrationId}">${message.integrationId}</a></dd>
        <dt>${text("sender")}</dt><dd>${message.senderId ?? "–"}</dd>
        <dt>${text("reference")}</dt><dd>${message.reference}</dd>
        <dt>${text("conversation")}</dt><dd><code>${message.conversationId ?? "–"}</code></dd>
      </dl>
      <div class="scroll" tabindex="0" role="region" aria-label=${text("timeline")}><table><thead><tr><th>${text("time")}</th><th>${text("after")}</th><th>${text("step")}</th><th>${text("attempt")}</th><th>${text("code")}</th></tr></thead>
        <tbody>${steps.map((step) => html`<tr><td>${time(step.at)}</td><td>${((Date.parse(step.at) - began) / 1000).toFixed(2)} s</td><td>${step.step}</td><td>${step.attempt ?? ""}</td><td><code>${step.code ?? ""}</code></td></tr>`)}</tbody></table></div>
      ${message.state === "failed" && shell.app.mayWrite ? html`<button id="redrive" @click=${() => shell.act(() => shell.post(`/deadletters/${encodeURIComponent(message.id)}/redrive`))}>${text("redrive")}</button>` : nothing}
    </section>`;
}
