// Overview: what needs attention, counts, the last day, and the first steps.

import { actionButton } from "/console/actions.js";
import { html, nothing } from "/console/lit-html.js";
import { text } from "/console/texts.js";
import { duration, empty, heading, loadingLine, stateMark, time } from "/console/view.js";

export const load = async (shell) => ({ summary: await shell.get("/summary") });

export function view(shell, { summary }) {
  if (!summary) return html`${heading(text("page_overview"))}${loadingLine()}`;
  return html`
    ${heading(text("page_overview"))}
    ${firstSteps(summary)}
    <section class="card" aria-labelledby="attention-title">
      <h3 id="attention-title">${text("attention")}</h3>
      ${summary.attention.length === 0 ? empty(text("nothingWrong")) : html`<ul id="attention">${summary.attention.map((one) => trouble(shell, one))}</ul>`}
    </section>
    <section class="card figures" aria-label=${text("lastDay")}>
      ${figure(text("botsConnected"), `${summary.counts.connected} / ${summary.counts.integrations}`)}
      ${figure(text("page_agents"), summary.counts.agents)}
      ${figure(text("answered24h"), count(summary.lastDay, "answered"))}
      ${figure(text("failed24h"), count(summary.lastDay, "failed"))}
      ${figure(text("firstText"), summary.lastDay.firstTextMillis === null ? "–" : duration(summary.lastDay.firstTextMillis / 1000))}
    </section>`;
}

const count = (day, name) => `${day.atLeast ? "≥ " : ""}${day[name]}`;

const figure = (label, value) => html`<div class="figure"><strong>${value}</strong><span>${label}</span></div>`;

const trouble = (shell, one) => html`
  <li data-id=${one.integrationId}>
    ${stateMark(one)}
    <a class="name" href="#/bots/${one.integrationId}">${one.name}</a>
    <p class="kind">${one.cause ?? one.reason ?? ""} ${one.at ? html`· ${time(one.at)}` : nothing}</p>
    ${one.next ? html`<p class="next">${one.next}</p>` : nothing}
    <div class="bar">
      ${actionButton(shell, one.integrationId, one)}
      <a class="button quiet" href="#/bots/${one.integrationId}">${text("open")}</a>
    </div>
  </li>`;

function firstSteps({ counts }) {
  const steps = [
    ["stepAgent", counts.agents > 0, "agents/add"],
    ["stepBot", counts.integrations > counts.web, "bots/add"],
    ["stepTalk", counts.talked, "playground"],
  ];
  if (steps.every(([, done]) => done)) return nothing;
  return html`<section class="card" aria-labelledby="steps-title">
    <h3 id="steps-title">${text("firstSteps")}</h3>
    <ol id="first-steps">${steps.map(([name, done, path]) => html`<li class=${done ? "done" : ""}><a href="#/${path}">${text(name)}</a> ${done ? "✓" : ""}</li>`)}</ol>
  </section>`;
}
