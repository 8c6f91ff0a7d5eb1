// People: everyone who has written to a bot, the known person each is linked to, and forgetting one.

import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { empty, heading, loadingLine, time } from "/console/view.js";

export const load = async (shell, state) => (state.editing ? {} : { items: (await shell.get("/users?limit=200")).items });

export function view(shell, state) {
  return html`
    ${heading(text("page_people"))}
    ${!state.items ? loadingLine() : state.items.length === 0 ? empty(text("noPeople")) : html`<ul class="rows" id="people">${state.items.map((user) => row(shell, state, user))}</ul>`}`;
}

const row = (shell, state, user) => html`
  <li data-id=${user.id}>
    <div class="head"><span class="name">${user.displayName ?? user.name}</span></div>
    <p class="kind">${user.platform ?? user.source ?? ""} · ${user.externalId ?? user.name} · ${user.email ?? ""} · ${time(user.lastSeenAt ?? user.createdAt)}</p>
    ${state.editing === user.id ? linkForm(shell, state, user) : nothing}
    ${shell.app.mayWrite && state.editing !== user.id ? html`<div class="bar">
      <button class="quiet" @click=${() => ((state.editing = user.id), shell.update())}>${text("link")}</button>
      <button class="danger quiet" @click=${() => forget(shell, user)}>${text("forget")}</button></div>` : nothing}
  </li>`;

const linkForm = (shell, state, user) => html`
  <form class="bar" @submit=${(event) => {
    event.preventDefault();
    const form = event.target.elements;
    state.editing = null;
    shell.act(() => shell.send("PATCH", `/users/${encodeURIComponent(user.id)}`, { name: form.name.value.trim(), email: form.email.value.trim() }));
  }}>
    <label>${text("name")} <input name="name" .value=${user.name ?? ""} required></label>
    <label>${text("email")} <input name="email" type="email" .value=${user.email ?? ""} required></label>
    <button type="submit">${text("save")}</button>
    <button type="button" class="quiet" @click=${() => ((state.editing = null), shell.update())}>${text("cancel")}</button>
  </form>`;

async function forget(shell, user) {
  if (!(await shell.confirm(text("forgetTitle", user.name), text("forgetBody"), text("forget")))) return;
  await shell.act(() => shell.send("DELETE", `/users/${encodeURIComponent(user.id)}`));
}
