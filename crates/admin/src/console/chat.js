// A conversation with one web integration: sends a message and reports the answer while it is written.

import { call, persistently } from "/console/api.js";

/** Random text for ids. Unlike `randomUUID`, `getRandomValues` also works on plain HTTP. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The chat of this tab, so that a reload continues it. */
function chatId() {
  const known = sessionStorage.getItem("tieline.chat");
  if (known) return known;
  const fresh = `console-${randomId()}`;
  sessionStorage.setItem("tieline.chat", fresh);
  return fresh;
}

/**
 * Sends `text` and calls `show({text, done, messageId})` with every newer state of the answer, until it is done; `messageId` is the ledger's.
 * Sending it again with the same `id`, after a broken connection or a reload, asks nothing twice.
 */
export async function ask(integration, text, id, show, signal) {
  const message = { text, chatId: chatId(), senderId: "console", messageId: id };
  const path = `/api/web/webhook/${encodeURIComponent(integration)}`;
  const { messageId, replyId } = await persistently(() => call("POST", path, message, { signal }), signal);
  await poll(replyId, (state) => show({ ...state, messageId }), signal);
}

async function poll(replyId, show, signal) {
  let version = 0;
  for (;;) {
    const path = `/api/web/replies/${encodeURIComponent(replyId)}?after=${version}`;
    const state = await persistently(() => call("GET", path, undefined, { signal }), signal, 30);
    show(state);
    if (state.done) return;
    // Backoff: a server that answers immediately without news must not be polled in a tight loop.
    if (!(state.version > version)) await new Promise((done) => setTimeout(done, 300));
    version = state.version ?? version;
  }
}
