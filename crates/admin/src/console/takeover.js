// Takes a bot over from another agent, or a bot account from another organization. Shows first who is affected, and how to undo it.

import { call } from "/console/api.js";
import { html } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { impact } from "/console/view.js";

/** A write that may displace the trigger that binds the bot now, after the operator has agreed. Null: they have not. */
export async function withTakeover(shell, write) {
  try {
    return await write("");
  } catch (error) {
    if (error.code !== "integration_already_bound") throw error;
    const { boundTo } = error.body;
    const body = html`<p>${text("takeOverBody", boundTo.agentName ?? "–")}</p>${impact(error.body.impact)}`;
    if (!(await shell.confirm(text("takeOverTitle"), body, text("takeOver")))) return null;
    const written = await write("?takeover=true");
    const back = () => shell.send("PATCH", `/triggers/${encodeURIComponent(boundTo.triggerId)}?takeover=true`, { enabled: true });
    shell.offerUndo(text("tookOver", boundTo.agentName ?? "–"), back);
    return written;
  }
}

const botPath = (claim) => `/api/v1/orgs/${encodeURIComponent(claim.organization)}/integrations/${encodeURIComponent(claim.integrationId)}`;

/**
 * Creates a bot whose account another organization may have: the root operator may take it over. The bot that has it is stopped, not
 * deleted. Null: the operator has not agreed.
 */
export async function withAccount(shell, create, account) {
  try {
    return await create();
  } catch (error) {
    const isElsewhere = error.code === "account_in_use" && !error.body.boundTo;
    if (!isElsewhere || !shell.app.isRoot) throw error;
    const claims = (await call("POST", "/api/v1/accounts/release?dryRun=true", account)).released;
    if (claims.length === 0) throw error;
    const holders = await Promise.all(claims.map(async (claim) => ({ ...claim, name: (await call("GET", botPath(claim))).name })));
    const body = holders.map((one) => html`<p>${text("accountHeld", one.name, one.organization)}</p>${impact(one.impact)}`);
    if (!(await shell.confirm(text("accountTitle"), body, text("takeOver")))) return null;
    for (const claim of claims) await call("POST", `${botPath(claim)}/stop`);
    await call("POST", "/api/v1/accounts/release", account);
    const made = await create();
    const base = shell.base();
    shell.offerUndo(text("tookAccount", holders.map((one) => one.name).join(", ")), async () => {
      await call("DELETE", `${base}/integrations/${encodeURIComponent(made.id)}?force=true`);
      for (const claim of claims) await call("POST", `${botPath(claim)}/start`);
      shell.go("bots");
    });
    return made;
  }
}
