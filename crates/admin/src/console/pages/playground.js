// Playground: talks to an agent through a chat page of its own; the conversation survives a reload.

import { ApiError, call } from "/console/api.js";
import { ask, randomId } from "/console/chat.js";
import { html, nothing } from "/console/lit-html.js";
import { markdown } from "/console/markdown.js";
import { text } from "/console/texts.js";
import { empty, heading, loadingLine } from "/console/view.js";

/** The conversations with all agents, for as long as the tab is open. */
const KEY = "tieline.playground";
const MOST = 200;
/** Maximum number of characters of an agent's name used in the name of its chat page. */
const MAX_NAME_CHARS = 60;
/** How often the ledger is asked how a message has ended. */
const TRIES = 10;
let aborting = new AbortController();
let kept = null;
/** Answers that this page waits for. After a reload there are none, though some are still being written. */
const awaited = new Set();

/** Stops waiting for every answer in progress, and forgets the conversations: the session has ended. */
export function leave() {
  aborting.abort();
  aborting = new AbortController();
  kept = null;
  awaited.clear();
  sessionStorage.removeItem(KEY);
}

const log = () => (kept ??= JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));

export async function load(shell, state, isFirst) {
  const [agents, triggers, bots] = await Promise.all([shell.all("/agents"), shell.all("/triggers"), shell.all("/integrations")]);
  const pages = new Map(bots.filter((bot) => bot.platform === "web" && bot.enabled).map((bot) => [bot.id, bot]));
  const chatPage = (agent) => triggers.find((one) => one.enabled && one.agentId === agent.id && pages.has(one.integrationId))?.integrationId ?? null;
  const found = { agents: agents.map((agent) => ({ ...agent, chatPage: chatPage(agent) })) };
  // Begun before the page was reloaded.
  const begun = log().filter((one) => one.busy && one.organization === shell.app.organization && !awaited.has(one));
  for (const one of begun) listen(shell, one, found.agents.find((known) => known.id === one.agent));
  if (isFirst) setTimeout(toEnd);
  return found;
}

const isWith = (shell, agent) => (one) => one.organization === shell.app.organization && one.agent === agent.id;

export function view(shell, state) {
  if (!state.agents) return html`${heading(text("page_playground"))}${loadingLine()}`;
  if (state.agents.length === 0) return html`${heading(text("page_playground"))}${empty(html`${text("noAgents")} <a href="#/agents/add">${text("addAgent")}</a>`)}`;
  const chosen = agent(state);
  const said = log().filter(isWith(shell, chosen));
  const busy = said.some((one) => one.busy);
  return html`
    ${heading(
      text("page_playground"),
      html`<label>${text("talkTo")} <select id="talk-to" @change=${(event) => ((state.chosen = event.target.value), shell.update(), toEnd())}>
        ${state.agents.map((one) => html`<option value=${one.id} ?selected=${one.id === chosen.id}>${one.name}</option>`)}</select></label>`,
      html`<button id="new-session" type="button" class="quiet" @click=${() => talk(shell, state, "/new")}>${text("newSession")}</button>`,
      html`<button id="stop" type="button" class="quiet" ?disabled=${!busy} @click=${() => talk(shell, state, "/stop")}>${text("stop")}</button>`,
    )}
    <section class="card talk">
      <div id="answers" role="log" aria-live="polite" tabindex="0" aria-label=${text("conversation")}>${said.map(bubble)}</div>
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
    aria-busy=${one.busy ? "true" : "false"} data-done=${one.mine ? nothing : String(!one.busy)}>${one.mine || one.failed ? one.text : markdown(one.text)}</div>
  ${one.failed && one.messageId ? html`<a class="kind" href="#/messages/${one.messageId}">${text("whyFailed")}</a>` : nothing}`;

function send(shell, state) {
  const box = document.getElementById("message");
  const words = box.value.trim();
  if (!words) return;
  box.value = "";
  return talk(shell, state, words);
}

function talk(shell, state, words) {
  const chosen = agent(state);
  const place = { organization: shell.app.organization, agent: chosen.id };
  const answer = { ...place, id: randomId(), words, mine: false, text: "", busy: true, page: chosen.chatPage };
  log().push({ ...place, mine: true, text: words }, answer);
  log().splice(0, Math.max(0, log().length - MOST));
  return listen(shell, answer, chosen);
}

/** Asks, unless it was asked already, and shows the answer until it is done. */
async function listen(shell, answer, chosen) {
  const signal = aborting.signal;
  awaited.add(answer);
  show(shell);
  try {
    answer.page ??= await chatPage(shell, chosen);
    await ask(answer.page, answer.words, answer.id, (reply) => {
      Object.assign(answer, { text: reply.text, busy: !reply.done, messageId: reply.messageId });
      show(shell);
    }, signal);
    // A failure is told in the chat as text.
    answer.failed = await hasFailed(answer, signal);
  } catch (error) {
    if (signal.aborted) return;
    // The webhook gives every unauthenticated request the same answer, so a 401 here need not mean a wrong token.
    const known = error instanceof ApiError ? { 401: "mayNotWrite", 404: "gone" }[error.status] : undefined;
    Object.assign(answer, { failed: true, text: [answer.text, known ? text(known) : shell.explain(error)].filter(Boolean).join("\n\n") });
  } finally {
    answer.busy = false;
    awaited.delete(answer);
    if (!signal.aborted) show(shell);
  }
}

/** Whether a message has failed, as the ledger tells soon after its answer is shown. */
async function hasFailed({ organization, messageId }, signal) {
  const path = `/api/v1/orgs/${encodeURIComponent(organization)}/messages/${encodeURIComponent(messageId)}`;
  for (let n = 0; n < TRIES; n += 1) {
    const { state } = await call("GET", path, undefined, { signal }).catch(() => ({}));
    if (!["queued", "running"].includes(state)) return state === "failed";
    await new Promise((done) => setTimeout(done, 500));
  }
  return false;
}

/** The agent's chat page; created at the first message if there is none. */
async function chatPage(shell, agent) {
  if (!agent) throw new ApiError(404, "not_found", "");
  if (agent.chatPage) return agent.chatPage;
  // Another page may have this name: one that was stopped or unbound since. Names have at most 100 characters.
  const short = [...agent.name].slice(0, MAX_NAME_CHARS).join("");
  const name = `${text("chatPageOf", short)} ${randomId().slice(0, 8)}`;
  const made = await shell.post("/integrations", { name, platform: "web", connectionMode: "webhook", credentials: {}, language: document.documentElement.lang });
  try {
    await shell.post("/triggers", { integrationId: made.id, agentId: agent.id, enabled: true });
  } catch (error) {
    // A page without an agent answers nothing. The failure of the trigger is what the operator must see.
    await shell.send("DELETE", `/integrations/${encodeURIComponent(made.id)}?force=true`).catch(() => {});
    throw error;
  }
  agent.chatPage = made.id;
  return made.id;
}

function show(shell) {
  sessionStorage.setItem(KEY, JSON.stringify(log()));
  const box = document.getElementById("answers");
  const atEnd = box && box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  shell.update();
  if (atEnd) toEnd();
}

/** Scrolls to the newest answer. */
function toEnd() {
  const box = document.getElementById("answers");
  if (box) box.scrollTop = box.scrollHeight;
}
