// Resources deleted in the last 30 days: undo right after the deletion, and a list to restore from later.

import { html, nothing } from "/console/lit-html.js";
import { withTakeover } from "/console/takeover.js";
import { text } from "/console/texts.js";
import { empty, time } from "/console/view.js";

const pathOf = (kind, id) => `/${kind}/${encodeURIComponent(id)}`;

/** Deletes a bot or an agent with its enabled triggers and goes to the list; undoing restores them all. `uses` says which triggers belong to it. */
export async function remove(shell, kind, { id, name }, uses, list) {
  const own = (await shell.all("/triggers")).filter((trigger) => trigger.enabled && uses(trigger));
  await shell.send("DELETE", `${pathOf(kind, id)}?force=true`);
  shell.offerUndo(text("deletedNow", name), async () => {
    await shell.post(`${pathOf(kind, id)}/restore`);
    for (const trigger of own) await shell.post(`${pathOf("triggers", trigger.id)}/restore`);
  });
  shell.go(list);
}

/** Deletes a trigger; undoing restores it. */
export async function unbind(shell, trigger, name) {
  await shell.send("DELETE", pathOf("triggers", trigger.id));
  shell.offerUndo(text("deletedNow", name), () => shell.post(`${pathOf("triggers", trigger.id)}/restore`));
}

/**
 * What of a kind was deleted, read when it is opened. `shown` filters, `words` names an item, `restored` is called afterwards.
 */
export const deletedList = (shell, state, kind, { shown = () => true, words = (one) => one.name, restored = () => {} } = {}) => {
  if (!shell.app.mayWrite) return nothing;
  const read = async () => {
    state.deleted = (await shell.all(`/${kind}`, "&deleted=true")).filter(shown);
  };
  const restore = (one) =>
    shell.act(async () => {
      const isRestored = await withTakeover(shell, (query) => shell.post(`${pathOf(kind, one.id)}/restore${query}`));
      if (!isRestored) return;
      await read();
      restored(one);
    });
  return html`<details class="card" id="deleted" @toggle=${(event) => event.target.open && shell.act(read)}>
    <summary>${text("deleted")}</summary>
    <p class="kind">${text("deletedHelp")}</p>
    ${!state.deleted ? nothing : state.deleted.length === 0 ? empty(text("nothingDeleted")) : html`<ul class="rows">${state.deleted.map((one) => html`
      <li data-id=${one.id}><div class="head"><span class="name">${words(one)}</span></div><p class="kind">${time(one.deletedAt)}</p>
        <button type="button" class="quiet" aria-label="${text("restore")}: ${words(one)}" @click=${() => restore(one)}>${text("restore")}</button></li>`)}</ul>`}
  </details>`;
};
