// People: everyone who has written to a bot, the known person each is linked to, and erasing one.

import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { empty, heading, loadingLine, time } from "/console/view.js";

export async function load(shell, state) {
  if (state.editing) return {};
  const [users, pairings] = await Promise.all([shell.all("/users"), shell.get("/pairings")]);
  return { items: users, pairings: pairings.items };
}

export function view(shell, state) {
  return html`
    ${heading(text("page_people"))}
    ${state.pairings?.length ? html`<h2>${text("pairings")}</h2><p>${text("pairingsHelp")}</p><ul class="rows" id="pairings">${state.pairings.map((one) => pairing(shell, one))}</ul>` : nothing}
    ${!state.items ? loadingLine() : state.items.length === 0 ? empty(text("noPeople")) : html`<ul class="rows" id="people">${state.items.map((user) => row(shell, state, user))}</ul>`}`;
}

const pairing = (shell, one) => html`
  <li data-id=${one.id}>
    <div class="head"><span class="name">${one.name ?? one.externalId}</span></div>
    <p class="kind">${one.externalId} · <a href="#/bots/${one.integrationId}">${one.integrationId}</a> · ${time(one.createdAt)}</p>
    ${shell.app.mayWrite ? html`<div class="bar">
      <button @click=${() => shell.act(() => shell.post(`/pairings/${encodeURIComponent(one.id)}/approve`))}>${text("approve")}</button>
      <button class="danger quiet" @click=${() => shell.act(() => shell.post(`/pairings/${encodeURIComponent(one.id)}/deny`))}>${text("deny")}</button></div>` : nothing}
  </li>`;

const row = (shell, state, user) => html`
  <li data-id=${user.id}>
    <div class="head"><span class="name">${user.displayName ?? user.name}</span></div>
    <p class="kind">${user.platform ?? user.source ?? ""} · ${user.externalId ?? user.name} · ${user.email ?? ""} · ${text("firstContact")}: ${time(user.createdAt)}${user.linked ? html` · ${text("linkedTo")}: ${user.linked}${user.linkedBy === "mapper" ? ` (${text("mapper")})` : ""}` : nothing}${user.mapping?.answer === "unknown" ? html` · ${text("mappedUnknown")}` : nothing}${user.mapping?.error ? html` · ${text("mapperFails")}` : nothing}${user.admitted ? html` · ${text("letIn")}` : nothing}</p>
    ${state.editing === user.id ? linkForm(shell, state, user) : nothing}
    ${shell.app.mayWrite && state.editing !== user.id ? html`<div class="bar">
      <button class="quiet" @click=${() => ((state.editing = user.id), shell.update())}>${text("link")}</button>
      ${user.mapping && user.linkedBy !== "operator" ? html`<button class="quiet" @click=${() => shell.act(() => shell.post(`/users/${encodeURIComponent(user.id)}/map`))}>${text("mapNow")}</button>` : nothing}
      <button class="quiet" data-verb="admit" title=${text("pairingsHelp")} @click=${() => shell.act(() => shell.send("PATCH", `/users/${encodeURIComponent(user.id)}`, { admitted: !user.admitted }))}>${text(user.admitted ? "shutOut" : "letInNow")}</button>
      <button class="danger quiet" @click=${() => forget(shell, user)}>${text("forget")}</button></div>` : nothing}
  </li>`;

/** The fields that differ from what was shown. The others may come from the mapper: sent back, they would become the operator's own. */
function edited(user, form) {
  const written = (field) => form[field].value.trim();
  const values = { name: written("name"), email: written("email"), linked: written("linked") || null };
  return Object.fromEntries(Object.entries(values).filter(([field]) => form[field].value !== (user[field] ?? "")));
}

/** A made-up mail address contains the platform's id, which may have an `@` that a browser's own check of addresses rejects: the server checks. */
const linkForm = (shell, state, user) => html`
  <form class="bar" @submit=${(event) => {
    event.preventDefault();
    const patch = edited(user, event.target.elements);
    state.editing = null;
    shell.save(() => shell.send("PATCH", `/users/${encodeURIComponent(user.id)}`, patch));
  }}>
    <label>${text("linkedTo")} <input name="linked" .value=${user.linked ?? ""} maxlength="200"></label>
    <label>${text("name")} <input name="name" .value=${user.name ?? ""} required></label>
    <label>${text("email")} <input name="email" type="text" inputmode="email" autocapitalize="off" spellcheck="false" .value=${user.email ?? ""} required></label>
    <button type="submit">${text("save")}</button>
    <button type="button" class="quiet" @click=${() => ((state.editing = null), shell.update())}>${text("cancel")}</button>
  </form>`;

async function forget(shell, user) {
  if (!(await shell.confirm(text("forgetTitle", user.name), text("forgetBody"), text("forget")))) return;
  await shell.act(() => shell.send("DELETE", `/users/${encodeURIComponent(user.id)}`));
}
