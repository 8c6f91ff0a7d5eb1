// Add a bot: platform, mode, credentials beside the platform's own steps, agent (which the address may name), callback address, first
// event.

import { call } from "/console/api.js";
import { html, nothing } from "/console/lit-html.js";
import { withAccount } from "/console/takeover.js";
import { language, text } from "/console/texts.js";
import { copyable, fields, heading, keepTyped, loadingLine, readFields, stateMark } from "/console/view.js";

/** The form is not redrawn by the periodic refresh until the bot exists; then its state is. */
export async function load(shell, state) {
  if (state.made) return { status: await shell.get(`/integrations/${state.made.id}/status`) };
  if (state.platforms && state.language === language()) return {};
  const asked = language();
  const [{ items }, agents] = await Promise.all([call("GET", "/api/v1/platforms"), shell.all("/agents")]);
  const platform = items.find((one) => one.platform === state.platform?.platform) ?? null;
  const mode = platform?.modes.find((one) => one.connectionMode === state.mode.connectionMode);
  return { language: asked, platforms: items, agents, platform, mode };
}

export function view(shell, state) {
  const title = heading(text("addBot"));
  if (!state.platforms) return html`${title}${loadingLine()}`;
  if (state.made) return html`${title}${done(shell, state)}`;
  if (!state.platform) return html`${title}${platforms(shell, state)}`;
  return html`${title}${form(shell, state)}`;
}

const platforms = (shell, state) => html`
  <p>${text("choosePlatform")}</p>
  <ul class="tiles" id="platforms">${state.platforms.map(
    (platform) => html`<li><button type="button" class="tile" data-platform=${platform.platform} @click=${() => pick(shell, state, platform)}>
      <strong>${platform.name}</strong><span>${platform.modes.map((mode) => text(`mode_${mode.connectionMode}`)).join(" · ")}</span></button></li>`,
  )}</ul>`;

function pick(shell, state, platform) {
  state.platform = platform;
  state.mode = platform.modes.find((mode) => mode.recommended) ?? platform.modes[0];
  shell.update();
  document.querySelector("main h3")?.focus();
}

const form = (shell, state) => html`
  <form id="new-bot" class="columns" @submit=${(event) => create(shell, state, event)}>
    <section class="card">
      <h3 tabindex="-1">${state.platform.name}</h3>
      <fieldset>
        <legend>${text("mode")}</legend>
        ${state.platform.modes.map((mode) => html`<label class="choice"><input type="radio" name="mode" value=${mode.connectionMode}
          ?checked=${mode === state.mode} @change=${(event) => ((state.mode = mode), keepTyped(event.target.form, shell.update))}>
          ${text(`mode_${mode.connectionMode}`)} ${mode.recommended ? html`<em>${text("recommended")}</em>` : nothing}
          ${mode.connectionMode === "webhook" && state.platform.platform !== "web" ? html`<small>${text("needsPublicUrl")}</small>` : nothing}</label>`)}
      </fieldset>
      <div class="field"><label for="name">${text("name")} <span aria-hidden="true">*</span></label><input id="name" name="name" required maxlength="100" autocomplete="off"></div>
      <p class="note">${text("credentialCare")}</p>
      ${fields(state.mode.credentials, {}, "credentials.")}
      <details><summary>${text("endpoints")}</summary>${fields(state.mode.endpoints, {}, "endpoints.")}</details>
      <div class="field"><label for="language-of-bot">${text("languageOfBot")}</label>
        <select id="language-of-bot" name="language"><option value="zh-CN">简体中文</option><option value="en" ?selected=${document.documentElement.lang === "en"}>English</option></select></div>
      <div class="field"><label for="agent">${text("agent")}</label>
        <select id="agent" name="agent"><option value="">${text("later")}</option>${state.agents.map((agent) => html`<option value=${agent.id} ?selected=${agent.id === shell.app.path[2]}>${agent.name}</option>`)}</select>
        ${state.agents.length === 0 ? html`<small><a href="#/agents/add">${text("addAgent")}</a></small>` : nothing}</div>
      ${state.failed ? html`<p class="error" role="alert">${state.failed}</p>` : nothing}
      ${state.holder ? html`<p><a id="holder" href="#/bots/${state.holder}">${text("accountHolder")}</a></p>` : nothing}
      <div class="bar"><button type="submit" id="create-bot" ?disabled=${state.busy}>${text("create")}</button>
        <button type="button" class="quiet" @click=${() => ((state.platform = null), shell.update())}>${text("back")}</button></div>
    </section>
    <section class="card" aria-labelledby="steps">
      <h3 id="steps">${text("stepsOnPlatform")}</h3>
      <ol>${state.mode.setup.map((step) => html`<li>${step}</li>`)}</ol>
      ${state.mode.permissions.length ? html`<p>${text("permissions")}</p><ul>${state.mode.permissions.map((one) => html`<li><code>${one}</code></li>`)}</ul>` : nothing}
      <p><a href=${state.platform.docs} target="_blank" rel="noreferrer noopener">${text("vendorDocs")}</a></p>
    </section>
  </form>`;

async function create(shell, state, event) {
  event.preventDefault();
  const form = event.target;
  state.busy = true;
  state.failed = null;
  state.holder = null;
  shell.update();
  try {
    const account = {
      platform: state.platform.platform,
      connectionMode: state.mode.connectionMode,
      credentials: readFields(form, state.mode.credentials, "credentials."),
    };
    const bot = {
      ...account,
      name: form.elements.name.value.trim(),
      endpoints: readFields(form, state.mode.endpoints, "endpoints."),
      language: form.elements.language.value,
    };
    state.made = await withAccount(shell, () => shell.post("/integrations", bot), account);
    if (!state.made) return;
    const agentId = form.elements.agent.value;
    if (agentId) await shell.post("/triggers", { integrationId: state.made.id, agentId, enabled: true });
    state.hasAgent = Boolean(agentId);
    state.tested = await shell.post(`/integrations/${state.made.id}/test`).catch(() => null);
    await shell.reload();
  } catch (error) {
    state.failed = shell.explain(error);
    state.holder = error.body?.boundTo?.integrationId;
    if (state.made) shell.go(`bots/${state.made.id}`);
  } finally {
    state.busy = false;
    shell.update();
  }
}

const done = (shell, state) => html`
  <section class="card" id="made">
    <h3>${state.made.name}</h3>
    <p>${stateMark(state.status)} ${state.status?.next ?? ""}</p>
    ${state.made.callbackUrl && state.mode.connectionMode === "webhook" ? html`<p>${text("callbackUrl")}: ${copyable(state.made.callbackUrl)}</p>` : nothing}
    ${state.tested ? html`<ul class="checks">${state.tested.checks.map((check) => html`<li class=${check.ok ? "good" : "bad"}><strong>${text(`check_${check.name}`)}</strong> ${check.detail}</li>`)}</ul>` : nothing}
    ${state.hasAgent ? nothing : html`<p class="note">${text("noAgentYet")}</p>`}
    <p role="status">${state.status?.lastEventAt ? text("firstEventCame") : text("waitingForEvent")}</p>
    <div class="bar">
      ${state.platform.modes.some((mode) => mode.abilities.login) ? html`<a class="button" href="#/bots/${state.made.id}/settings">${text("scanLogin")}</a>` : nothing}
      <a class="button quiet" href="#/bots/${state.made.id}">${text("open")}</a>
    </div>
  </section>`;
