// Actions that fix a failed check: one entry for each action code of the API. The page of a bot and the overview draw these buttons.

import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { copyable } from "/console/view.js";

const link = (path, words) => html`<a class="button quiet" href=${path}>${text(words)}</a>`;
const tab = (name, words = "mend") => (shell, bot) => link(`#/bots/${bot}/${name}`, words);

const verb = (name, run) => (shell, bot, target) =>
  shell.app.mayWrite
    ? html`<button type="button" class="quiet" data-verb=${name} @click=${() => shell.act(() => run(shell, bot, target))}>${text(name)}</button>`
    : nothing;

const power = (name) => verb(name, (shell, bot) => shell.post(`/integrations/${encodeURIComponent(bot)}/${name}`));

const copy = (shell, bot, target) => (target ? copyable(target, "copy") : link(`#/bots/${bot}/settings`, "mend"));

const agent = (shell, bot, target) => link(`#/agents/${encodeURIComponent(target)}`, "mend");
const message = (shell, bot, target) => link(`#/messages/${encodeURIComponent(target)}`, "open");

const ACTIONS = {
  start: power("start"),
  restart: power("restart"),
  edit_settings: tab("settings"),
  edit_credentials: tab("settings"),
  create_trigger: tab("trigger"),
  edit_trigger: tab("trigger"),
  edit_access: tab("trigger"),
  enable_trigger: verb("enable", (shell, bot, target) => shell.send("PATCH", `/triggers/${encodeURIComponent(target)}`, { enabled: true })),
  login: tab("settings", "scanLogin"),
  edit_agent: agent,
  test_agent: agent,
  redrive: verb("redrive", (shell, bot, target) => shell.post(`/deadletters/${encodeURIComponent(target)}/redrive`)),
  copy_callback_url: copy,
  set_public_url: copy,
  view_log: tab("log", "open"),
  view_message: message,
  edit_organization: () => link("#/settings", "mend"),
};

/** The button or link of an action; nothing for one that this console doesn't know. */
export const actionButton = (shell, bot, { action, target }) => ACTIONS[action]?.(shell, bot, target) ?? nothing;
