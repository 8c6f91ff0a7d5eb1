// Agents: the list, and one agent with its settings, its test and the bots that use it.

import { call } from "/console/api.js";
import * as deleted from "/console/deleted.js";
import { html, nothing } from "/console/lit-html.js";
import { withTakeover } from "/console/takeover.js";
import { language, text } from "/console/texts.js";
import { empty, fields, heading, keepTyped, loadingLine, readFields } from "/console/view.js";

const idOf = (shell) => shell.app.path[1];

/** Whether a trigger uses an agent, for all messages or for those of a route. */
const usesOf = (id) => (trigger) => trigger.agentId === id || trigger.routes.some((route) => route.agent === id);

export async function load(shell, state) {
  const id = idOf(shell);
  if (!id) return { items: await shell.all("/agents") };
  const asked = language();
  const catalogue = state.language === asked ? {} : { language: asked, protocols: (await call("GET", "/api/v1/platforms")).agentProtocols };
  if (id === "add") return catalogue;
  const [agent, triggers, bots] = await Promise.all([shell.get(`/agents/${encodeURIComponent(id)}`), shell.all("/triggers"), shell.all("/integrations", "&include=agent")]);
  const own = triggers.filter((one) => one.agentId === id);
  const botsOf = (chosen) => new Set(chosen.filter((one) => one.enabled).map((one) => one.integrationId));
  const [bound, used] = [botsOf(own), botsOf(triggers.filter(usesOf(id)))];
  return { ...catalogue, agent, own, bots: bots.filter((bot) => used.has(bot.id)), others: bots.filter((bot) => !bound.has(bot.id) && (bot.allowedAgents?.includes(id) ?? true)) };
}

export function view(shell, state) {
  if (idOf(shell)) return one(shell, state);
  return html`
    ${heading(text("page_agents"), html`<a class="button" id="add-agent" href="#/agents/add">${text("addAgent")}</a>`)}
    ${!state.items ? loadingLine() : state.items.length === 0 ? empty(text("noAgents")) : html`<ul class="rows" id="agents">${state.items.map((agent) => html`
      <li data-id=${agent.id}><div class="head"><a class="name" href="#/agents/${agent.id}">${agent.name}</a></div>
        <p class="kind">${agent.protocol} ${agent.config.baseUrl ?? agent.config.url ?? ""}</p></li>`)}</ul>`}
    ${deleted.deletedList(shell, state, "agents")}`;
}

function one(shell, state) {
  const isNew = idOf(shell) === "add";
  const title = isNew ? text("addAgent") : (state.agent?.name ?? text("agent"));
  if (!state.protocols || (!isNew && !state.agent)) return html`${heading(title)}${loadingLine()}`;
  const name = state.protocol ?? state.agent?.protocol ?? state.protocols[0]?.protocol;
  const protocol = state.protocols.find((one) => one.protocol === name);
  const values = name === state.agent?.protocol ? state.agent.config : {};
  return html`
    ${heading(title)}
    <form id="agent-form" class="card" @submit=${(event) => save(shell, state, protocol, event)}>
      <div class="field"><label for="name">${text("name")} <span aria-hidden="true">*</span></label><input id="name" name="name" required .value=${state.agent?.name ?? ""}></div>
      <div class="field"><label for="protocol">${text("protocol")}</label><select id="protocol" name="protocol" @change=${(event) => ((state.protocol = event.target.value), keepTyped(event.target.form, shell.update))}>
        ${state.protocols.map((one) => html`<option value=${one.protocol} ?selected=${one.protocol === name}>${one.protocol}</option>`)}</select>
        ${protocol?.description ? html`<small>${protocol.description}</small>` : nothing}</div>
      ${isNew ? nothing : html`<p class="note">${text("secretKeeps")}</p>`}
      ${fields(schemaOf(protocol), values, "config.")}
      ${state.failed ? html`<p class="error" role="alert">${state.failed}</p>` : nothing}
      ${shell.app.mayWrite ? html`<div class="bar"><button type="submit" id="save-agent">${text(isNew ? "create" : "save")}</button>
        ${isNew ? nothing : html`<button type="button" class="quiet" id="test-agent" @click=${() => test(shell, state)}>${text("test")}</button>
        <button type="button" class="danger quiet" id="delete-agent" @click=${() => remove(shell, state)}>${text("deleteAgent")}</button>`}</div>` : nothing}
      ${state.tested ? html`<p id="tested" class=${state.tested.ok ? "good" : "bad"} role="status">${state.tested.detail} <small>${state.tested.millis} ms</small></p>` : nothing}
    </form>
    ${isNew ? nothing : html`<section class="card"><h3>${text("usedBy")}</h3>
      ${state.bots.length === 0 ? empty(text("noIntegrations")) : html`<ul>${state.bots.map((bot) => html`<li><a href="#/bots/${bot.id}">${bot.name}</a> <span class="kind">${bot.platform}</span></li>`)}</ul>`}
      <a class="button quiet" id="add-bot" href="#/bots/add/${idOf(shell)}">${text("addBot")}</a>
      ${shell.app.mayWrite && state.others.length > 0 ? existing(shell, state) : nothing}</section>`}`;
}

/** Binds an existing bot to this agent, and takes it over from its current one. */
const existing = (shell, state) => html`
  <form id="bind-bot" class="bar" @submit=${(event) => {
    event.preventDefault();
    const integrationId = event.target.elements.bot.value;
    const before = state.own.find((one) => one.integrationId === integrationId);
    const write = (query) =>
      before
        ? shell.send("PATCH", `/triggers/${encodeURIComponent(before.id)}${query}`, { enabled: true })
        : shell.post(`/triggers${query}`, { integrationId, agentId: idOf(shell), enabled: true });
    shell.act(() => withTakeover(shell, write));
  }}>
    <label>${text("existingBot")} <select name="bot">${state.others.map((bot) => html`<option value=${bot.id}>${bot.name} (${bot.agent?.name ?? text("none")})</option>`)}</select></label>
    <button type="submit" class="quiet">${text("bindBot")}</button>
  </form>`;

const schemaOf = (protocol) => protocol?.config ?? protocol?.schema ?? {};

async function save(shell, state, protocol, event) {
  event.preventDefault();
  if (state.busy) return;
  const form = event.target;
  Object.assign(state, { busy: true, failed: null });
  try {
    const body = { name: form.elements.name.value.trim(), protocol: protocol.protocol, config: readFields(form, schemaOf(protocol), "config.", state.agent?.protocol === protocol.protocol ? state.agent.config : {}) };
    const isNew = idOf(shell) === "add";
    const saved = isNew ? await shell.post("/agents", body) : await shell.send("PATCH", `/agents/${idOf(shell)}`, body);
    if (isNew) return shell.go(`agents/${saved.id}`);
    shell.noteSaved();
    await test(shell, state);
  } catch (error) {
    state.failed = shell.explain(error);
  } finally {
    state.busy = false;
  }
  shell.update();
}

const test = (shell, state) =>
  shell.act(async () => {
    state.tested = await shell.post(`/agents/${idOf(shell)}/test`);
  });

async function remove(shell, state) {
  const used = state.bots.map((bot) => html`<li>${bot.name}</li>`);
  const body = html`<p>${text("impactIntro")}</p><ul>${used.length ? used : "–"}</ul>`;
  if (!(await shell.confirm(text("deleteTitle", state.agent.name), body, text("deleteAgent")))) return;
  await shell.act(async () => {
    await deleted.remove(shell, "agents", state.agent, usesOf(state.agent.id), "agents");
  });
}
