// One bot: health, settings, trigger and access, log, conversations, messages.

import { actionButton } from "/console/actions.js";
import { call } from "/console/api.js";
import * as deleted from "/console/deleted.js";
import { html, nothing } from "/console/lit-html.js";
import { qr } from "/console/qr.js";
import { withTakeover } from "/console/takeover.js";
import { language, text } from "/console/texts.js";
import { copyable, duration, empty, fields, heading, impact, lines, loadingLine, mark, paged, pager, readFields, stateMark, time } from "/console/view.js";

const TABS = ["health", "settings", "trigger", "log", "conversations", "messages"];

const idOf = (shell) => shell.app.path[1];
const tabOf = (shell) => (TABS.includes(shell.app.path[2]) ? shell.app.path[2] : "health");
const pathOf = (shell) => `/integrations/${encodeURIComponent(idOf(shell))}`;

export async function load(shell, state, isFirst) {
  const path = pathOf(shell);
  const [bot, status] = await Promise.all([shell.get(path), shell.get(`${path}/status`)]);
  return { bot, status, ...(await LOADERS[tabOf(shell)](shell, state, path, { isFirst, status })) };
}

const LOADERS = {
  /** The bot is examined when the tab is entered, after every action, and when its state changes. */
  health: async (shell, state, path, { isFirst, status: { state: now, reason, lastError } }) => {
    if (!shell.app.mayWrite) return {};
    const diagnosedAs = [language(), now, reason, lastError?.code, lastError?.message].join(" ");
    if (state.diagnosis && state.diagnosedAs === diagnosedAs && !isFirst) return {};
    return { diagnosedAs, diagnosis: await shell.post(`${path}/doctor`) };
  },
  settings: async (shell, state) => {
    const asked = language();
    const agents = await shell.all("/agents");
    return state.language === asked ? { agents } : { agents, language: asked, platforms: (await call("GET", "/api/v1/platforms")).items };
  },
  trigger: async (shell, state) => {
    if (state.triggers && state.dirty) return {};
    const [triggers, agents] = await Promise.all([shell.all("/triggers"), shell.all("/agents")]);
    return { triggers: triggers.filter((one) => one.integrationId === idOf(shell)), agents };
  },
  log: (shell, state, path) => list(shell, state, "log", `${path}/logs`, state.level ? { level: state.level } : {}),
  conversations: async (shell, state, path) => {
    const found = list(shell, state, "conversations", `${path}/conversations`, state.search ? { search: state.search } : {});
    const [conversations, people] = await Promise.all([found, state.people ?? shell.all("/users")]);
    return { ...conversations, people: people.filter((one) => one.integrationId === idOf(shell)) };
  },
  messages: (shell, state) => list(shell, state, "messages", "/messages", { integrationId: idOf(shell) }),
};

/** A page of the list of a tab; each tab keeps its own cursors. */
const list = async (shell, state, name, path, query) => ({ [name]: { ...state[name], ...(await paged(shell, state[name] ?? {}, path, query)) } });

/** Reads a list from its newest page again, because what is searched for has changed. */
function searchAgain(shell, state, name) {
  state[name] = undefined;
  return shell.reload();
}

export function view(shell, state) {
  const { bot, status } = state;
  if (!bot) return html`${heading(text("bot"))}${loadingLine()}`;
  const tab = tabOf(shell);
  return html`
    ${heading(bot.name, ...actions(shell, bot))}
    <p class="kind">${stateMark(status)} ${bot.platform} · ${text(`mode_${bot.connectionMode}`)} · <code>${bot.id}</code></p>
    <div class="tabs" role="tablist">${TABS.map((one) => html`<a role="tab" aria-selected=${one === tab} href="#/bots/${bot.id}/${one}">${text(`tab_${one}`)}</a>`)}</div>
    <section class="card" role="tabpanel" aria-label=${text(`tab_${tab}`)}>${VIEWS[tab](shell, state)}</section>`;
}

function actions(shell, bot) {
  if (!shell.app.mayWrite) return [];
  const verb = (name) => html`<button type="button" class="quiet" data-verb=${name} @click=${() => shell.act(() => shell.post(`${pathOf(shell)}/${name}`))}>${text(name)}</button>`;
  return [...(bot.enabled ? ["stop", "restart"] : ["start"]).map(verb), html`<button type="button" class="danger quiet" id="delete-bot" @click=${() => remove(shell, bot)}>${text("deleteBot")}</button>`];
}

const remove = (shell, bot) =>
  shell.act(async () => {
    const found = await shell.get(`${pathOf(shell)}/impact`);
    if (!(await shell.confirm(text("deleteTitle", bot.name), impact(found), text("deleteBot")))) return;
    await deleted.remove(shell, "integrations", bot, (one) => one.integrationId === bot.id, "bots");
  });

const VIEWS = {
  health: (shell, { status, diagnosis }) => html`
    <dl class="facts">
      <dt>${text("connectedSince")}</dt><dd>${time(status.connectedAt)}</dd>
      <dt>${text("uptime")}</dt><dd>${duration(status.uptimeSeconds)}</dd>
      <dt>${text("lastConnected")}</dt><dd>${time(status.lastConnectedAt)}</dd>
      <dt>${text("lastDisconnected")}</dt><dd>${time(status.lastDisconnectedAt)}</dd>
      ${status.lastHandOver ? html`<dt>${text("lastHandOver")}</dt><dd>${time(status.lastHandOver.at)} · ${text("gap", (status.lastHandOver.gapMillis / 1000).toFixed(1))}</dd>` : nothing}
      <dt>${text("lastEvent")}</dt><dd>${time(status.lastEventAt)}</dd>
      <dt>${text("lastReply")}</dt><dd>${time(status.lastReplyAt)}</dd>
      <dt>${text("lastError")}</dt><dd>${status.lastError ? html`${time(status.lastError.at)} · <code>${status.lastError.code}</code> ${status.lastError.message}` : "–"}</dd>
      ${status.rateLimitedUntil ? html`<dt>${text("rateLimitedUntil")}</dt><dd>${time(status.rateLimitedUntil)}</dd>` : nothing}
    </dl>
    ${!shell.app.mayWrite ? nothing : html`${diagnosis ? doctor(shell, diagnosis) : loadingLine()}
    <button type="button" class="quiet" id="examine" @click=${() => shell.act(() => {})}>${text("examineAgain")}</button>`}`,

  settings: (shell, state) => {
    const platform = state.platforms?.find((one) => one.platform === state.bot.platform);
    const mode = platform?.modes.find((one) => one.connectionMode === state.bot.connectionMode);
    if (!mode) return loadingLine();
    return html`
      ${mode.abilities.login ? login(shell, state) : nothing}
      ${state.bot.callbackUrl && state.bot.connectionMode === "webhook" ? html`<p>${text("callbackUrl")}: ${copyable(state.bot.callbackUrl)}</p>` : nothing}
      <form id="bot-settings" @submit=${(event) => save(shell, state, mode, event)}>
        <div class="field"><label for="name">${text("name")}</label><input id="name" name="name" .value=${state.bot.name} required></div>
        <p class="note">${text("secretKeeps")}</p>
        ${fields(mode.credentials, state.bot.credentials, "credentials.")}
        <details ?open=${Object.keys(state.bot.endpoints).length > 0}><summary>${text("endpoints")}</summary>${fields(mode.endpoints, state.bot.endpoints, "endpoints.")}</details>
        <div class="field"><label for="language-of-bot">${text("languageOfBot")}</label><select id="language-of-bot" name="language">
          ${["zh-CN", "en"].map((one) => html`<option value=${one} ?selected=${one === state.bot.language}>${one === "en" ? "English" : "简体中文"}</option>`)}</select></div>
        <label class="choice"><input type="checkbox" name="streaming" ?checked=${state.bot.streaming}> ${text("streaming")}</label>
        <div class="field"><label for="reasoning">${text("reasoning")}</label><select id="reasoning" name="reasoning">${["hidden", "brief", "full"].map((one) => html`<option value=${one} ?selected=${one === state.bot.reasoning}>${text(`reasoning_${one}`)}</option>`)}</select></div>
        <label class="choice"><input type="checkbox" name="thinkingSign" ?checked=${state.bot.thinkingSign === "on"}> ${text("thinkingSign")}</label>
        ${allowedAgents(shell, state)}
        ${shell.app.mayWrite ? html`<div class="bar"><button type="submit">${text("save")}</button>
          <button type="button" class="quiet" @click=${() => shell.act(async () => (state.tested = await shell.post(`${pathOf(shell)}/test`)))}>${text("test")}</button></div>` : nothing}
      </form>
      ${state.tested ? html`<ul class="checks" id="tested">${state.tested.checks.map((check) => html`<li class=${check.ok ? "good" : "bad"}><strong>${text(`check_${check.name}`)}</strong> ${check.detail} <small>${check.millis} ms</small></li>`)}</ul>` : nothing}`;
  },

  trigger: (shell, state) => {
    if (!state.triggers) return loadingLine();
    const bound = state.triggers.find((one) => one.enabled) ?? state.triggers[0];
    return html`
      <form id="trigger-form" @input=${() => (state.dirty = true)} @submit=${(event) => bind(shell, state, bound, event)}>
        <div class="field"><label for="agent">${text("agent")}</label><select id="agent" name="agentId" required>
          ${bound ? nothing : html`<option value="">${text("none")}</option>`}
          ${state.agents.filter((agent) => agent.id === bound?.agentId || (state.bot.allowedAgents?.includes(agent.id) ?? true)).map((agent) => html`<option value=${agent.id} ?selected=${agent.id === bound?.agentId}>${agent.name}</option>`)}</select></div>
        <label class="choice"><input type="checkbox" name="enabled" ?checked=${bound?.enabled ?? true}> ${text("enabled")}</label>
        <div class="field"><label for="timeout">${text("sessionTimeout")}</label><input id="timeout" name="sessionTimeoutSeconds" type="number" min="1" .value=${String(bound?.sessionTimeoutSeconds ?? 3600)}></div>
        <div class="field"><label for="window">${text("summaryWindow")}</label><input id="window" name="summaryWindowSeconds" type="number" min="0" .value=${String(bound?.summaryWindowSeconds ?? 0)}><small>${text("summaryWindowHelp")}</small></div>
        <div class="field"><label for="scope">${text("sessionScope")}</label><select id="scope" name="sessionScope">${["sender", "chat"].map((one) => html`<option value=${one} ?selected=${one === bound?.sessionScope}>${text(`scope_${one}`)}</option>`)}</select></div>
        <div class="field"><label for="group-messages">${text("groupMessages")}</label><select id="group-messages" name="groupMessages">${["mentioned", "all"].map((one) => html`<option value=${one} ?selected=${one === bound?.groupMessages}>${text(`groupMessages_${one}`)}</option>`)}</select></div>
        <div class="field"><label for="group-context">${text("groupContext")}</label><input id="group-context" name="groupContext" type="number" min="0" max="50" .value=${String(bound?.groupContext ?? 0)}><small>${text("groupContextHelp")}</small></div>
        <div class="field"><label for="busy">${text("busyPolicy")}</label><select id="busy" name="busyPolicy">${["queue", "interrupt"].map((one) => html`<option value=${one} ?selected=${one === bound?.busyPolicy}>${text(`busy_${one}`)}</option>`)}</select></div>
        <div class="field"><label for="welcome">${text("welcome")}</label><input id="welcome" name="welcome" .value=${bound?.welcome ?? ""}></div>
        <label class="choice"><input type="checkbox" name="taskMode" ?checked=${bound?.taskMode ?? false}> ${text("taskMode")}</label>
        <label class="choice"><input type="checkbox" name="pairing" ?checked=${bound?.access.pairing ?? false}> ${text("pairing")}</label>
        <div class="field"><label for="quiet-from">${text("quietHours")}</label><span class="bar"><input id="quiet-from" name="quietFrom" type="time" .value=${bound?.quietHours?.from ?? ""}>–<input name="quietTo" type="time" aria-label=${text("quietTo")} .value=${bound?.quietHours?.to ?? ""}>
          <input name="quietOffset" size="6" pattern="[+\\-][0-9]{2}:[0-9]{2}" aria-label=${text("utcOffset")} .value=${bound?.quietHours?.utcOffset ?? "+08:00"}></span><small>${text("quietHoursHelp")}</small></div>
        <div class="field"><label for="per-person">${text("perPerson")}</label><input id="per-person" name="perPerson" type="number" min="1" max="10000" .value=${String(bound?.maxMessagesPerPersonPerMinute ?? "")} placeholder=${text("unlimited")}></div>
        <div class="field"><label for="incoming">${text("incoming")}</label><select id="incoming" name="incoming">${["off", "warn", "mask"].map((one) => html`<option value=${one} ?selected=${one === bound?.redaction.incoming}>${text(`incoming_${one}`)}</option>`)}</select></div>
        <div class="field"><label for="outgoing">${text("outgoing")}</label><select id="outgoing" name="outgoing">${["off", "mask"].map((one) => html`<option value=${one} ?selected=${one === bound?.redaction.outgoing}>${text(`outgoing_${one}`)}</option>`)}</select></div>
        <div class="field"><label for="patterns">${text("patterns")}</label><textarea id="patterns" name="patterns" rows="2" .value=${(bound?.redaction.patterns ?? []).join("\n")}></textarea></div>
        <div class="field"><label for="routes">${text("routes")}</label><textarea id="routes" name="routes" rows="3" placeholder="HR | word: hr&#10;Sales | chats: oc_1, oc_2 | users: ou_1" .value=${(bound?.routes ?? []).map((route) => routeLine(route, state.agents)).join("\n")}></textarea><small>${text("routesHelp")}</small></div>
        <label class="choice"><input type="checkbox" name="agentChoice" ?checked=${bound?.agentChoice ?? false}> ${text("agentChoice")}</label>
        <div class="field"><label for="users">${text("allowedUsers")}</label><textarea id="users" name="users" rows="3" .value=${(bound?.access.users ?? []).join("\n")}></textarea></div>
        <div class="field"><label for="chats">${text("allowedChats")}</label><textarea id="chats" name="chats" rows="3" .value=${(bound?.access.chats ?? []).join("\n")}></textarea></div>
        ${shell.app.mayWrite ? html`<div class="bar"><button type="submit">${text("save")}</button>
          ${bound ? html`<button type="button" class="danger quiet" id="unbind" @click=${() => unbind(shell, state, bound)}>${text("removeFromAgent")}</button>` : nothing}</div>` : nothing}
      </form>
      ${deleted.deletedList(shell, state, "triggers", { shown: (one) => one.integrationId === idOf(shell), words: (one) => agentName(state, one.agentId) })}`;
  },

  log: (shell, state) => html`
    <label>${text("level")} <select @change=${(event) => ((state.level = event.target.value), searchAgain(shell, state, "log"))}>
      ${["", "info", "warn", "error"].map((one) => html`<option value=${one} ?selected=${one === (state.level ?? "")}>${text(one ? `log_${one}` : "all")}</option>`)}</select></label>
    ${!state.log ? loadingLine() : state.log.items.length === 0 ? empty(text("noLog")) : html`<ul class="log" aria-live="polite">${state.log.items.map((line) => html`<li>${time(line.at)} ${mark({ error: "bad", warn: "wait" }[line.level] ?? "off", text(`log_${line.level}`))} <code>${line.code}</code> ${line.message}</li>`)}</ul>`}
    ${state.log ? pager(shell, state.log) : nothing}`,

  conversations: (shell, state) => html`
    <label>${text("search")} <input type="search" .value=${state.search ?? ""} @change=${(event) => ((state.search = event.target.value), searchAgain(shell, state, "conversations"))}></label>
    ${!state.conversations ? loadingLine() : state.conversations.items.length === 0 ? empty(text("noConversations")) : html`<ul class="rows">${state.conversations.items.map((one) => html`
      <li><div class="head"><span class="name">${text(`chat_${one.chatType}`)} · ${one.chatId}</span></div>
        <p class="kind">${text("sender")}: ${one.senderId ?? "–"} · ${one.task ? html`${text("task")}: ${one.task} · ` : nothing}${text("session")}: ${one.sessionId ?? "–"} · ${time(one.updatedAt)}</p>
        ${shell.app.mayWrite ? html`<button class="quiet" @click=${() => shell.act(() => shell.post(`${pathOf(shell)}/conversations/${encodeURIComponent(one.id)}/reset`))}>${text("resetSession")}</button>` : nothing}</li>`)}</ul>`}
    ${state.conversations ? pager(shell, state.conversations) : nothing}
    ${shell.app.mayWrite && state.people ? proactive(shell, state) : nothing}`,

  messages: (shell, state) => html`
    ${!state.messages ? loadingLine() : state.messages.items.length === 0 ? empty(text("noMessages")) : html`<ul class="rows">${state.messages.items.map((one) => html`
      <li><div class="head">${mark({ answered: "good", commanded: "good", failed: "bad", refused: "wait" }[one.state] ?? "off", text(`message_${one.state}`))}<a class="name" href="#/messages/${one.id}">${one.id}</a></div>
        <p class="kind">${time(one.receivedAt ?? one.createdAt)}</p></li>`)}</ul>`}
    ${state.messages ? pager(shell, state.messages) : nothing}`,
};

const doctor = (shell, { cause, next, checks }) => html`
  <section id="diagnosis">
    <p id="cause" class=${cause ? "bad" : "good"}>${cause ?? text("allIsWell")}</p>
    ${next ? html`<p id="next" class="next">${next}</p>` : nothing}
    <ul id="checks" class="checks">${checks.map((check) => html`<li class=${LEVELS[check.level]} data-check=${check.name} data-level=${check.level}><strong>${text(`check_${check.name}`)}</strong> <span class="visually-hidden">${text(`level_${check.level}`)}</span> ${check.detail} ${actionButton(shell, idOf(shell), check)}</li>`)}</ul>
  </section>`;

const LEVELS = { ok: "good", warning: "wait", failed: "bad", unknown: "off" };

function save(shell, state, mode, event) {
  event.preventDefault();
  const form = event.target;
  return shell.act(async () => {
    await shell.send("PATCH", pathOf(shell), {
      name: form.elements.name.value.trim(),
      credentials: readFields(form, mode.credentials, "credentials.", state.bot.credentials),
      endpoints: readFields(form, mode.endpoints, "endpoints.", state.bot.endpoints),
      language: form.elements.language.value,
      streaming: form.elements.streaming.checked,
      reasoning: form.elements.reasoning.value,
      thinkingSign: form.elements.thinkingSign.checked ? "on" : "off",
      allowedAgents: form.elements.limitsAgents.checked ? [...form.querySelectorAll("[name=allowedAgent]:checked")].map((one) => one.value) : null,
    });
    shell.noteSaved();
    state.tested = await shell.post(`${pathOf(shell)}/test`);
  });
}

/** The agents that may answer: every agent, or those that are ticked. */
function allowedAgents(shell, state) {
  const allowed = state.bot.allowedAgents;
  const limits = state.limitsAgents ?? allowed !== null;
  return html`
    <label class="choice"><input type="checkbox" name="limitsAgents" ?checked=${limits} @change=${(event) => ((state.limitsAgents = event.target.checked), shell.update())}> ${text("limitsAgents")}</label>
    <fieldset id="allowed-agents" ?hidden=${!limits}><legend>${text("page_agents")}</legend>
      ${state.agents?.map((agent) => html`<label class="choice"><input type="checkbox" name="allowedAgent" value=${agent.id} ?checked=${allowed?.includes(agent.id) ?? false}> ${agent.name}</label>`)}</fieldset>`;
}

/** A route as a line: the agent's name and its conditions. */
function routeLine({ agent, chats, users, firstWord }, agents) {
  const conditions = [chats.length ? `chats: ${chats.join(", ")}` : "", users.length ? `users: ${users.join(", ")}` : "", firstWord ? `word: ${firstWord}` : ""];
  return [agents.find((one) => one.id === agent)?.name ?? agent, ...conditions.filter(Boolean)].join(" | ");
}

/** Parses such a line into a route; the API reports what is wrong with it. */
function readRoute(line, agents) {
  const [name, ...conditions] = line.split("|").map((part) => part.trim());
  const route = { agent: agents.find((one) => one.name === name)?.id ?? name };
  for (const condition of conditions) {
    const [field, value] = [condition.slice(0, condition.indexOf(":")).trim(), condition.slice(condition.indexOf(":") + 1).trim()];
    if (field === "word") route.firstWord = value;
    else route[field] = value.split(",").map((id) => id.trim()).filter(Boolean);
  }
  return route;
}

/** Quiet hours; none if both ends are empty. The API reports the error if only one is set. */
function quietHours({ quietFrom, quietTo, quietOffset }) {
  if (quietFrom.value === "" && quietTo.value === "") return null;
  return { from: quietFrom.value, to: quietTo.value, utcOffset: quietOffset.value.trim() };
}

function bind(shell, state, bound, event) {
  event.preventDefault();
  const form = event.target.elements;
  const body = {
    agentId: form.agentId.value,
    enabled: form.enabled.checked,
    sessionTimeoutSeconds: Number(form.sessionTimeoutSeconds.value),
    summaryWindowSeconds: Number(form.summaryWindowSeconds.value),
    sessionScope: form.sessionScope.value,
    groupMessages: form.groupMessages.value,
    groupContext: Number(form.groupContext.value),
    busyPolicy: form.busyPolicy.value,
    welcome: form.welcome.value.trim() || null,
    taskMode: form.taskMode.checked,
    quietHours: quietHours(form),
    routes: lines(form.routes.value).map((line) => readRoute(line, state.agents)),
    agentChoice: form.agentChoice.checked,
    redaction: { incoming: form.incoming.value, outgoing: form.outgoing.value, patterns: lines(form.patterns.value) },
    maxMessagesPerPersonPerMinute: form.perPerson.value === "" ? null : Number(form.perPerson.value),
    access: { users: lines(form.users.value), chats: lines(form.chats.value), pairing: form.pairing.checked },
  };
  const write = (takeover) =>
    bound ? shell.send("PATCH", `/triggers/${bound.id}${takeover}`, body) : shell.post(`/triggers${takeover}`, { integrationId: idOf(shell), ...body });
  return shell.act(async () => {
    if (!(await withTakeover(shell, write))) return;
    state.dirty = false;
    shell.noteSaved();
    if (!bound?.enabled || bound.agentId === body.agentId) return;
    const back = () => shell.send("PATCH", `/triggers/${bound.id}`, { agentId: bound.agentId });
    shell.offerUndo(text("tookOver", agentName(state, bound.agentId)), back);
  });
}

const unbind = (shell, state, bound) =>
  shell.act(async () => {
    const found = await shell.get(`${pathOf(shell)}/impact`);
    if (!(await shell.confirm(text("unbindTitle"), impact(found), text("removeFromAgent")))) return;
    state.dirty = false;
    await deleted.unbind(shell, bound, text("bindingOf", state.bot.name));
  });

const agentName = (state, id) => state.agents.find((one) => one.id === id)?.name ?? id;

const proactive = (shell, state) => html`
  <form id="proactive" @submit=${(event) => {
    event.preventDefault();
    const { person, chat, words } = event.target.elements;
    const to = person.value ? { userId: person.value } : { chatId: chat.value.trim() };
    shell.act(async () => {
      await shell.post(`${pathOf(shell)}/messages`, { ...to, text: words.value });
      event.target.reset();
      Object.assign(state, { sent: true, toPerson: false });
    });
  }}>
    <h3>${text("sendMessage")}</h3>
    <div class="field"><label for="person">${text("person")}</label><select id="person" name="person" @change=${(event) => ((state.toPerson = event.target.value !== ""), shell.update())}>
      <option value="">${text("intoChat")}</option>${state.people.map((one) => html`<option value=${one.externalId}>${one.linked ?? one.name} (${one.externalId})</option>`)}</select></div>
    <div class="field" ?hidden=${state.toPerson}><label for="chat">${text("chatId")}</label><input id="chat" name="chat" ?required=${!state.toPerson}></div>
    <div class="field"><label for="words">${text("message")}</label><textarea id="words" name="words" rows="2" required></textarea></div>
    <button type="submit">${text("send")}</button> ${state.sent ? html`<span role="status">${text("sent")}</span>` : nothing}
  </form>`;

const login = (shell, state) => html`
  <section id="scan-login" class="note">
    <p>${text("scanLoginHelp")}</p>
    ${state.login ? html`<p role="status">${text(`login_${state.login.state}`)}</p>
      ${state.login.qrUrl ? html`${qr(state.login.qrUrl, text("qrCode"))}<p>${copyable(state.login.qrUrl)}</p>` : nothing}
      ${state.login.state === "verify_code" || state.login.state === "verify_code_needed" ? html`<form @submit=${(event) => {
        event.preventDefault();
        startLogin(shell, state, { verifyCode: event.target.elements.code.value.trim() });
      }}><label>${text("verifyCode")} <input name="code" required autocomplete="one-time-code"></label><button>${text("send")}</button></form>` : nothing}` : nothing}
    <button type="button" @click=${() => startLogin(shell, state, {})}>${text("scanLogin")}</button>
  </section>`;

function startLogin(shell, state, body) {
  return shell.act(async () => {
    state.login = await shell.post(`${pathOf(shell)}/login`, body);
    clearInterval(state.polling);
    state.polling = setInterval(async () => {
      if (shell.app.page !== state) return clearInterval(state.polling);
      state.login = { ...state.login, ...(await shell.get(`${pathOf(shell)}/login`).catch(() => ({}))) };
      if (["confirmed", "expired", "refused"].includes(state.login.state)) clearInterval(state.polling);
      shell.update();
    }, 2000);
  });
}
