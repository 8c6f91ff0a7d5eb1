// Playground: talks to an agent through a chat page of its own; the conversation survives a reload.

import { ApiError } from "/console/api.js";
import { ask } from "/console/chat.js";
import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { empty, heading, loadingLine } from "/console/view.js";

/** The conversations by agent, for as long as the tab is open. */
const KEY = "tieline.playground";
const MOST = 200;
let aborting = new AbortController();

/** Stops waiting for every answer in progress: the session has ended. */
export function leave() {
  aborting.abort();
  aborting = new AbortController();
  sessionStorage.removeItem(KEY);
}

export async function load(shell) {
  const [agents, triggers, bots] = await Promise.all([shell.all("/agents"), shell.all("/triggers"), shell.all("/integrations")]);
  const pages = new Map(bots.filter((bot) => bot.platform === "web" && bot.enabled).map((bot) => [bot.id, bot]));
  const chatPage = (agent) => triggers.find((one) => one.enabled && one.agentId === agent.id && pages.has(one.integrationId))?.integrationId ?? null;
  return { agents: agents.map((agent) => ({ ...agent, chatPage: chatPage(agent) })) };
}

const said = (shell) => {
  shell.app.said ??= JSON.parse(sessionStorage.getItem(KEY) ?? "[]").map((one) => ({ ...one, busy: false }));
  return shell.app.said;
};

export function view(shell, state) {
  if (!state.agents) return html`${heading(text("page_playground"))}${loadingLine()}`;
  if (state.agents.length === 0) return html`${heading(text("page_playground"))}${empty(html`${text("noAgents")} <a href="#/agents/add">${text("addAgent")}</a>`)}`;
  const chosen = agent(state);
  const busy = said(shell).some((one) => one.busy);
  return html`
    ${heading(
      text("page_playground"),
      html`<label>${text("talkTo")} <select id="talk-to" @change=${(event) => ((state.chosen = event.target.value), shell.update())}>
        ${state.agents.map((one) => html`<option value=${one.id} ?selected=${one.id === chosen.id}>${one.name}</option>`)}</select></label>`,
      html`<button id="new-session" type="button" class="quiet" @click=${() => talk(shell, state, "/new")}>${text("newSession")}</button>`,
      html`<button id="stop" type="button" class="quiet" ?disabled=${!busy} @click=${() => stop(shell, state)}>${text("stop")}</button>`,
    )}
    <section class="card talk">
      <div id="answers" role="log" aria-live="polite" tabindex="0" aria-label=${text("conversation")}>${said(shell).map(bubble)}</div>
      <form id="message-form" @submit=${(event) => {
        event.preventDefault();
        send(shell, state);
      }}>
        <label for="message" class="hidden">${text("message")}</label>
        <textarea id="message" rows="2" placeholder=${text("messageHint")} required @keydown=${(event) => {
          // IME composition: this Enter picks a word and must not send. Safari only reports it as key code 229.
          const picks = event.isComposing || event.keyCode === 229;
          if (event.key !== "Enter" || event.shiftKey || picks) return;
          event.preventDefault();
          send(shell, state);
        }}></textarea>
        <button id="send" type="submit">${text("send")}</button>
      </form>
    </section>`;
}

const agent = (state) => state.agents.find((one) => one.id === state.chosen) ?? state.agents.find((one) => one.chatPage) ?? state.agents[0];

const bubble = (one) => html`
  <div class="bubble ${one.mine ? "mine" : "theirs"} ${one.failed ? "failed" : ""}" aria-label=${text(one.mine ? "you" : "answer")}
    aria-busy=${one.busy ? "true" : "false"} data-done=${one.mine ? nothing : String(!one.busy)}>${one.text}</div>
  ${one.failed && one.messageId ? html`<a class="kind" href="#/messages/${one.messageId}">${text("whyFailed")}</a>` : nothing}`;

function send(shell, state) {
  const box = document.getElementById("message");
  const words = box.value.trim();
  if (!words) return;
  box.value = "";
  return talk(shell, state, words);
}

/** Stops every answer in progress, each at its own agent. */
function stop(shell, state) {
  const pages = new Set(said(shell).filter((one) => one.busy).map((one) => one.page));
  for (const page of pages) talk(shell, state, "/stop", page);
}

async function talk(shell, state, words, page = null) {
  const log = said(shell);
  const answer = { mine: false, text: "", busy: true, page };
  log.push({ mine: true, text: words }, answer);
  log.splice(0, Math.max(0, log.length - MOST));
  const signal = aborting.signal;
  show(shell);
  try {
    answer.page ??= await chatPage(shell, agent(state));
    await ask(answer.page, words, (reply) => {
      Object.assign(answer, { text: reply.text, busy: !reply.done, messageId: reply.messageId });
      show(shell);
    }, signal);
  } catch (error) {
    if (signal.aborted) return;
    // The webhook gives every unauthenticated request the same answer, so a 401 here need not mean a wrong token.
    const known = error instanceof ApiError ? { 401: "mayNotWrite", 404: "gone" }[error.status] : undefined;
    Object.assign(answer, { failed: true, text: known ? text(known) : shell.explain(error) });
  } finally {
    answer.busy = false;
    if (!signal.aborted) show(shell);
  }
}

/** The agent's chat page; created at the first message if there is none. */
async function chatPage(shell, agent) {
  if (agent.chatPage) return agent.chatPage;
  const made = await shell.post("/integrations", { name: text("chatPageOf", agent.name), platform: "web", connectionMode: "webhook", credentials: {}, language: document.documentElement.lang });
  await shell.post("/triggers", { integrationId: made.id, agentId: agent.id, enabled: true });
  agent.chatPage = made.id;
  return made.id;
}

function show(shell) {
  sessionStorage.setItem(KEY, JSON.stringify(said(shell)));
  const log = document.getElementById("answers");
  const atEnd = log && log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  shell.update();
  if (atEnd) log.scrollTop = log.scrollHeight;
}
