// Bots: the list of integrations with state, agent and failures; one request per refresh, however many bots there are.

import { deletedList } from "/console/deleted.js";
import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { empty, heading, loadingLine, pager, stateMark, time } from "/console/view.js";

const PAGE = 200;

export async function load(shell, state) {
  const query = new URLSearchParams({ include: "status,agent,counts", limit: PAGE });
  if (state.search) query.set("search", state.search);
  if (state.filter) query.set("state", state.filter);
  const cursors = state.cursors ?? [];
  if (cursors.length) query.set("cursor", cursors.at(-1));
  const { items, nextCursor } = await shell.get(`/integrations?${query}`);
  return { items, nextCursor };
}

export function view(shell, state) {
  return html`
    ${heading(
      text("page_bots"),
      html`<a class="button" id="add-bot" href="#/bots/add">${text("addBot")}</a>`,
      html`<button id="refresh" type="button" class="quiet" @click=${() => shell.reload()}>${text("refresh")}</button>`,
    )}
    <form class="bar" role="search" @submit=${(event) => event.preventDefault()}>
      <label>${text("search")} <input id="search" type="search" .value=${state.search ?? ""} @change=${(event) => find(shell, state, { search: event.target.value })}></label>
      <label>${text("state")} <select id="filter" @change=${(event) => find(shell, state, { filter: event.target.value })}>
        ${["", "connected", "degraded", "connecting", "retrying", "disconnected", "needs_login", "disabled"].map((one) => html`<option value=${one} ?selected=${one === (state.filter ?? "")}>${text(one ? `state_${one}` : "all")}</option>`)}
      </select></label>
    </form>
    ${list(shell, state)}
    ${pager(shell, state)}
    ${deletedList(shell, state, "integrations", { restored: (bot) => shell.go(`bots/${bot.id}/trigger`) })}`;
}

function find(shell, state, change) {
  Object.assign(state, change, { cursors: [] });
  return shell.reload();
}

function list(shell, { items }) {
  if (!items) return loadingLine();
  if (items.length === 0) return empty(text("noIntegrations"));
  return html`<ul id="integrations" class="rows">${items.map((item) => row(shell, item))}</ul>`;
}

const row = (shell, item) => html`
  <li data-id=${item.id} data-state=${item.status?.state ?? "unknown"}>
    <div class="head">${stateMark(item.status)}<a class="name" href="#/bots/${item.id}">${item.name}</a></div>
    <p class="kind">${item.platform} · ${text(`mode_${item.connectionMode}`)} ${item.account ? html`· ${item.account}` : nothing}</p>
    <p class="kind">${text("agent")}: ${item.agent ? html`<a href="#/agents/${item.agent.id}">${item.agent.name}</a>` : text("none")}
      · ${text("lastEvent")}: ${time(item.status?.lastEventAt)}
      ${item.counts?.failed ? html`· <strong class="failed">${text("failures", item.counts.failed)}</strong>` : nothing}</p>
    ${item.status?.next ? html`<p class="next">${item.status.next}</p>` : nothing}
    ${shell.app.mayWrite ? html`<div class="bar">${buttons(shell, item)}</div>` : nothing}
  </li>`;

const buttons = (shell, item) =>
  (item.enabled ? ["stop", "restart"] : ["start"]).map(
    (verb) => html`<button type="button" class="quiet" data-verb=${verb} aria-label="${text(verb)}: ${item.name}" @click=${() => shell.act(() => shell.post(`/integrations/${item.id}/${verb}`))}>${text(verb)}</button>`,
  );
