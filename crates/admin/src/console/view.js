// Shared view components: marks, forms from JSON Schema, times, dialogs.

import { ApiError } from "/console/api.js";
import { html, nothing } from "/console/lit-html.js";
import { language, text } from "/console/texts.js";

/** Colour of a bot's state. A bot that an operator stopped is grey, never red. */
export function colour(status) {
  if (!status) return "off";
  if (status.state === "disabled" || status.reason === "unbound" || status.reason === "stopped") return "off";
  return { connected: "good", degraded: "wait", connecting: "wait", retrying: "wait" }[status.state] ?? "bad";
}

export const mark = (kind, words) => html`<span class="mark ${kind}">${words}</span>`;

export const stateMark = (status) => mark(colour(status), status ? stateWords(status) : text("state_unknown"));

function stateWords(status) {
  if (status.reason === "unbound") return text("state_unbound");
  return text(`state_${status.state}`);
}

/** Error message of a failed call: the server's own sentence, else the code. */
export function failure(error) {
  if (!(error instanceof ApiError)) return text("failed", error.message);
  if (error.status === 0) return text("unreachable");
  if (error.status === 403) return text("forbidden");
  const field = error.body?.field ? ` (${error.body.field})` : "";
  return text("failed", `${error.message || error.code}${field}`);
}

/** A time in the reader's language and time zone, with the exact time as a tooltip. */
export function time(at) {
  if (!at) return text("never");
  const shown = new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "medium" }).format(new Date(at));
  return html`<time datetime=${at} title=${at}>${shown}</time>`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 360) / 10} h`;
}

export const heading = (words, ...actions) => html`<div class="bar"><h2 tabindex="-1">${words}</h2>${actions}</div>`;

export const empty = (words) => html`<p class="empty">${words}</p>`;

export const loadingLine = () => html`<p class="empty" role="status">${text("loading")}</p>`;

/** A copyable value. Where the browser has no clipboard (plain HTTP), it is selected instead. */
export const copyable = (value, name = nothing) => html`
  <span class="copy"><code>${value}</code>
    <button type="button" class="quiet" data-verb=${name} @click=${async (event) => {
      const label = event.currentTarget.firstElementChild;
      try {
        await navigator.clipboard.writeText(value);
        label.textContent = text("copied");
        setTimeout(() => (label.textContent = text("copy")), 3000);
      } catch {
        getSelection().selectAllChildren(label.closest(".copy").querySelector("code"));
      }
    }}><span .textContent=${text("copy")}></span></button></span>`;

/** Reads a page of a list: the newest, or the one that the pager has chosen. `kept` keeps the cursors, `get` reads a path. */
export async function paged(shell, kept, path, query = {}, get = shell.get) {
  const all = new URLSearchParams({ limit: 100, ...query });
  if (kept.cursors?.length) all.set("cursor", kept.cursors.at(-1));
  const { items, nextCursor } = await get(`${path}?${all}`);
  return { items, nextCursor };
}

/** Buttons to the pages before and after, of a list whose cursors are kept in `state.cursors`. */
export function pager(shell, state) {
  const cursors = state.cursors ?? [];
  if (!state.nextCursor && cursors.length === 0) return nothing;
  const move = (next) => {
    state.cursors = next;
    return shell.reload();
  };
  return html`<div class="bar">
    <button class="quiet" ?disabled=${cursors.length === 0} @click=${() => move(cursors.slice(0, -1))}>${text("previous")}</button>
    <button class="quiet" ?disabled=${!state.nextCursor} @click=${() => move([...cursors, state.nextCursor])}>${text("next")}</button>
  </div>`;
}

/** A modal confirmation dialog. Escape and the second button answer no. */
export const dialog = ({ title, body, verb, close }) => html`
  <dialog aria-labelledby="dialog-title" @cancel=${(event) => (event.preventDefault(), close(false))}>
    <h2 id="dialog-title">${title}</h2>
    <div>${body}</div>
    <div class="bar">
      <button id="dialog-yes" class="danger" @click=${() => close(true)}>${verb}</button>
      <button id="dialog-no" class="quiet" autofocus @click=${() => close(false)}>${text("cancel")}</button>
    </div>
  </dialog>`;

/** The impact of a change, as the API reports it. */
export const impact = (found) => html`
  <p>${text("impactIntro")}</p>
  <ul>
    <li>${text("impactTriggers", found.triggers.length)}</li>
    <li>${text("impactAgents", found.agents.map((agent) => agent.name).join(", ") || "–")}</li>
    <li>${text("impactConversations", found.atLeast ? `≥ ${found.conversations}` : found.conversations)}</li>
    <li>${text("impactRuns", found.openRuns)}</li>
    <li>${text("impactPending", found.pendingMessages)}</li>
  </ul>`;

/**
 * Fields of a form from a JSON Schema of an object. Secret ones (`writeOnly`) are password fields; an empty one keeps its value.
 * `values` are shown; read the form back with `readFields`.
 */
export const fields = (schema, values = {}, prefix = "") =>
  Object.entries(schema?.properties ?? {}).map(([name, field]) => fieldView(name, field, values[name], schema.required?.includes(name), prefix));

function fieldView(name, field, value, required, prefix) {
  const id = `${prefix}${name}`;
  const help = field.description ? html`<small id="${id}-help">${field.description}</small>` : nothing;
  const shared = { id, help };
  return keyed(`${id} ${field.writeOnly === true}`, html`<div class="field">
    <label for=${id}>${name}${required ? html` <span aria-hidden="true">*</span>` : nothing}</label>
    ${input(field, value, required, shared)}
    ${help}
  </div>`);
}

/** Draws a form with other fields. What was typed stays in the fields that have the same name and kind. */
export function keepTyped(form, draw) {
  const kinds = ["text", "password", "number", "textarea"];
  const typed = [...form.elements].filter((one) => kinds.includes(one.type) && one.value !== one.defaultValue);
  const before = typed.map(({ name, type, value }) => ({ name, type, value }));
  draw();
  for (const { name, type, value } of before) {
    const field = name && form.elements[name];
    if (field?.type === type) field.value = value;
  }
}

const templates = new Map();

/** A template that is reused for the same key only: another field at its place must not show what was typed into this one, perhaps a secret. */
function keyed(key, template) {
  const { raw } = template.strings;
  if (!templates.has(key)) templates.set(key, Object.assign([...template.strings], { raw }));
  return { ...template, strings: templates.get(key) };
}

function input(field, value, required, { id, help }) {
  const described = help === nothing ? nothing : `${id}-help`;
  const type = Array.isArray(field.type) ? field.type.find((one) => one !== "null") : field.type;
  const options = field.enum ?? field.oneOf?.map((one) => one.const).filter((one) => one !== undefined);
  if (options?.length) {
    return html`<select id=${id} name=${id} aria-describedby=${described}>
      ${required ? nothing : html`<option value=""></option>`}
      ${options.map((one) => html`<option value=${one} ?selected=${one === value}>${one}</option>`)}
    </select>`;
  }
  if (type === "boolean") return html`<input id=${id} name=${id} type="checkbox" aria-describedby=${described} ?checked=${value ?? field.default ?? false}>`;
  if (type === "object" || type === "array") {
    const shown = value === undefined || value === null ? "" : JSON.stringify(value, null, 2);
    return html`<textarea id=${id} name=${id} rows="3" aria-describedby=${described} placeholder="JSON" spellcheck="false">${shown}</textarea>`;
  }
  const isSecret = field.writeOnly === true;
  const kind = isSecret ? "password" : type === "integer" || type === "number" ? "number" : "text";
  return html`<input id=${id} name=${id} type=${kind} step=${type === "number" ? "any" : nothing} aria-describedby=${described}
    .defaultValue=${isSecret ? "" : String(value ?? "")} .value=${isSecret ? "" : String(value ?? "")} placeholder=${isSecret && value ? "***" : String(field.default ?? "")}
    ?required=${required && !(isSecret && value)} autocomplete="off" spellcheck="false">`;
}

/**
 * Reads the fields of such a form: empty ones are left out, or null where `before` has a value that isn't secret. Throws `SyntaxError` for text
 * that should be JSON and isn't.
 */
export function readFields(form, schema, prefix = "", before = {}) {
  const read = {};
  for (const [name, field] of Object.entries(schema?.properties ?? {})) {
    const control = form.elements[`${prefix}${name}`];
    if (!control) continue;
    const type = Array.isArray(field.type) ? field.type.find((one) => one !== "null") : field.type;
    if (type === "boolean") read[name] = control.checked;
    else if (control.value === "") {
      if (!field.writeOnly && (before[name] ?? "") !== "") read[name] = null;
    }
    else if (type === "integer" || type === "number") read[name] = Number(control.value);
    else if (type === "object" || type === "array") read[name] = JSON.parse(control.value);
    else read[name] = control.value.trim();
  }
  return read;
}

/** Lines of a text area as a list, without empty ones. */
export const lines = (value) => value.split("\n").map((line) => line.trim()).filter(Boolean);
