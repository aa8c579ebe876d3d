// <radiarch-verdict>: what a check says: pass, look or fail, why, and each criterion with its limits.
import { html } from './core/dom.js';
import { define } from './core/element.js';
import { signed } from './core/format.js';
import { Bones, Empty, Outcome, Problem, sentence } from './core/parts.js';
import { PlanList } from './goals.js';

const SAID = {
  pass: 'All that was judged lies within its limits.',
  look: 'A person has to look at what is named here.',
  fail: 'What is named here lies beyond its limits.',
};

/** Four digits say more than any limit asks for. */
const number = (value) => String(Number(value.toPrecision(4)));

function limits(c) {
  const sign = c.fail !== null && c.look !== null && c.fail < c.look ? '<' : '>';
  return [c.look, c.fail].map((v) => html`<td class="num muted">${v === null ? '' : `${sign} ${number(v)}`}</td>`);
}

class Verdict extends PlanList {
  static css = `
    .parts { display: grid; gap: 10px; grid-template-columns: minmax(0, 1fr); }
    ul { margin: 0; padding-left: 18px; display: grid; gap: 4px; overflow-wrap: anywhere; }
    .head { display: flex; align-items: baseline; gap: 10px; flex-wrap: wrap; }
    .head .status { font-size: 15px; font-weight: 600; }
    td.what { min-width: 14em; overflow-wrap: anywhere; }
    .note { color: var(--text-2); font-size: 12px; }
    details > summary { cursor: pointer; }
  `;

  view() {
    const quiet = this.hasAttribute('if-any');
    if (quiet && !this.plans?.[0]?.verdict) return null;
    if (!this.planIds.length) return html`<${Empty} title="No check is chosen">What it says appears here.<//>`;
    if (this.firstError) return html`<${Problem} error=${this.firstError} />`;
    const plan = this.plans?.[0];
    if (!plan) return html`<${Bones} lines="4" />`;
    const v = plan.verdict;
    if (!v) return html`<${Empty} title="No verdict">Checks have one once they have ended.<//>`;
    return html`<div class="parts">
      <div class="head"><${Outcome} result=${v.result} /><span class="muted">${SAID[v.result] ?? ''}</span></div>
      ${v.reasons.length > 0 && html`<ul>${v.reasons.map((r) => html`<li>${sentence(r)}</li>`)}</ul>`}
      ${v.reservations.length > 0 && html`<ul class="note">${v.reservations.map((r) => html`<li>${sentence(r)}</li>`)}</ul>`}
      <details open=${this.hasAttribute('open') || null}><summary class="small">${v.criteria.length} criteria</summary>
        <div class="scroll"><table><caption class="vh">Criteria</caption>
          <thead><tr><th scope="col">Criterion</th><th scope="col" class="num">Value</th><th scope="col" class="num">Look</th><th scope="col" class="num">Fail</th><th scope="col">Result</th></tr></thead>
          <tbody>${v.criteria.map((c) => this.row(c))}</tbody></table></div></details>
    </div>`;
  }

  row(c) {
    const value =
      c.value === null ? 'not judged' : `${c.look !== null && !(c.fail < c.look) ? signed(c.value, 2) : number(c.value)}\u202f${c.unit}`;
    return html`<tr><td class="what">${c.title}${c.note && html`<div class="note">${c.note}</div>`}</td><td class="num">${value}</td>${limits(c)}<td><${Outcome} result=${c.result} /></td></tr>`;
  }
}

define('radiarch-verdict', Verdict);
