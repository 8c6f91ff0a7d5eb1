// Renders Markdown as templates. HTML in it is shown as text.

import { html, nothing } from "/console/lit-html.js";
import { lexer } from "/console/marked.js";

/** Longest text that is parsed, in characters. The parser takes quadratic time for some texts, and a growing answer is parsed at each update. */
const MAX_LENGTH = 20_000;
/** Maximum nesting of blocks and emphasis. What is nested deeper is shown as it is. */
const MAX_DEPTH = 20;

/** A text in Markdown. Single line breaks are kept, as in a chat. */
export function markdown(text) {
  if (text.length > MAX_LENGTH) return text;
  try {
    return html`<div class="markdown">${renderAll(lexer(text, { gfm: true, breaks: true }), 0)}</div>`;
  } catch {
    // Nested too deeply for the parser.
    return text;
  }
}

const renderAll = (tokens, depth) => (tokens ?? []).map((token) => render(token, depth + 1));

function render(token, depth) {
  if (depth > MAX_DEPTH) return token.raw;
  const inner = () => renderAll(token.tokens, depth);
  switch (token.type) {
    case "space":
    case "def":
      return nothing;
    case "paragraph":
      return html`<p>${inner()}</p>`;
    case "heading":
      return html`<p class="title">${inner()}</p>`;
    case "code":
      return html`<pre><code>${token.text}</code></pre>`;
    case "blockquote":
      return html`<blockquote>${inner()}</blockquote>`;
    case "list":
      return list(token, depth);
    case "table":
      return table(token, depth);
    case "hr":
      return html`<hr>`;
    case "br":
      return html`<br>`;
    case "strong":
      return html`<strong>${inner()}</strong>`;
    case "em":
      return html`<em>${inner()}</em>`;
    case "del":
      return html`<del>${inner()}</del>`;
    case "codespan":
      return html`<code>${token.text}</code>`;
    case "link":
      return link(token.href, inner());
    // Pictures of other servers aren't loaded.
    case "image":
      return link(token.href, token.text || token.href);
    case "text":
      return token.tokens ? inner() : token.text;
    case "escape":
      return token.text;
    case "checkbox":
      return token.checked ? "☑ " : "☐ ";
    default:
      return token.raw;
  }
}

function list(token, depth) {
  const items = token.items.map((item) => html`<li>${renderAll(item.tokens, depth)}</li>`);
  return token.ordered ? html`<ol start=${token.start}>${items}</ol>` : html`<ul>${items}</ul>`;
}

function table(token, depth) {
  const row = (cells, cell) => html`<tr>${cells.map((one) => cell(renderAll(one.tokens, depth)))}</tr>`;
  return html`<table><thead>${row(token.header, (content) => html`<th>${content}</th>`)}</thead>
    <tbody>${token.rows.map((cells) => row(cells, (content) => html`<td>${content}</td>`))}</tbody></table>`;
}

function link(href, content) {
  const isSafe = /^(https?:|mailto:)/i.test(href);
  return isSafe ? html`<a href=${href} target="_blank" rel="noopener noreferrer">${content}</a>` : content;
}
