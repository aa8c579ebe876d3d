// <radiarch-goals>: what a plan, or several, made of its goals; <radiarch-metrics>: dose metrics by structure.
import { metricOf } from './core/curves.js';
import { html } from './core/dom.js';
import { RadiarchElement, define } from './core/element.js';
import { fixed, shortId, signed, withUnit } from './core/format.js';
import { parseMetric } from './core/goal.js';
import { followPlan } from './core/live.js';
import { MIXED, alike } from './core/quantity.js';
import { PLAN_LETTERS, learnColors, structureColor } from './core/palette.js';
import { Bones, Empty, GOALS, GoalStatus, NoResult, Problem } from './core/parts.js';

const CSS = `
  td.name { max-width: 22em; }
  .what { display: flex; align-items: center; gap: 7px; min-width: 0; }
  .link { border: 0; background: none; padding: 0; text-align: left; color: inherit; }
  .link:hover { text-decoration: underline; }
  .note { color: var(--text-2); font-size: 12px; }
  .gap { position: relative; width: 84px; height: 12px; display: inline-block; vertical-align: -1px; }
  caption { text-align: left; padding-bottom: 6px; }
  :host { container-type: inline-size; }
  @container (max-width: 460px) {
    .several th, .several td { padding-right: 8px; }
    .several .what { flex-wrap: wrap; row-gap: 0; }
    .several .what > .muted { flex: 1 0 100%; padding-left: 18px; white-space: normal; }
    .several .what .link { overflow-wrap: anywhere; }
    .several .word { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  }
  @container (max-width: 380px) {
    th, td { padding-right: 8px; }
    .what { flex-wrap: wrap; row-gap: 0; }
    .what > .muted { flex: 1 0 100%; padding-left: 18px; white-space: normal; }
    .what .link { overflow-wrap: anywhere; }
  }
  @container (max-width: 300px) { .word { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; } }
`;

export class PlanList extends RadiarchElement {
  static subjects = ['plan-id', 'plan-ids'];
  static css = CSS;

  get planIds() {
    const ids = (this.getAttribute('plan-ids') ?? this.getAttribute('plan-id') ?? '').split(',').map((s) => s.trim());
    return [...new Set(ids.filter(Boolean))].slice(0, 4);
  }

  initial() {
    return { plans: {}, errors: {} };
  }

  async start(scope) {
    for (const id of this.planIds) {
      scope.onEnd(
        followPlan(this.api, id, (plan, error) => {
          const before = this.state.plans[id];
          const news = { plans: { ...this.state.plans, [id]: plan }, errors: { ...this.state.errors, [id]: plan ? null : error } };
          if (!this.set(scope, news) || !plan) return;
          if (!before)
            learnColors(this.api, plan.rtstruct_sop_instance_uid).then((learned) => learned && scope.alive && this.looked('colors'));
          this.arrived(scope, plan);
        }),
      );
    }
  }

  /**
   * Another state of a plan has come.
   *
   * @param {any} scope
   * @param {import('../types/service').PlanAnswer} plan
   */
  arrived(scope, plan) {
    void [scope, plan];
  }

  /** The plans in the order of the attribute; null as long as one is missing. */
  get plans() {
    const found = this.planIds.map((id) => this.state.plans[id]);
    return found.every(Boolean) ? found : null;
  }

  get firstError() {
    return Object.values(this.state.errors).find(Boolean);
  }
}

class Goals extends PlanList {
  view() {
    if (!this.planIds.length) return html`<${Empty} title="No plan is chosen">Its goals appear here.<//>`;
    if (this.firstError) return html`<${Problem} error=${this.firstError} />`;
    const plans = this.plans;
    if (!plans) return html`<${Bones} lines="5" />`;
    const texts = [...new Set(plans.flatMap((p) => p.goals.map((g) => g.text)))];
    if (!texts.length) return html`<${Empty} title="No goals">This plan was made without goals.<//>`;
    const several = plans.length > 1;
    return html`<div class="scroll"><table class=${several ? 'several' : ''}>
      <caption class="vh">Goals</caption>
      <thead><tr>
        <th scope="col">Goal</th>
        ${plans.map((p, i) => html`<th scope="col" class="num">${several ? PLAN_LETTERS[i] : 'Value'}</th><th scope="col"><span class="word">${several ? shortId(p.id) : 'Result'}</span></th>`)}
        ${plans.length === 2 && html`<th scope="col" class="num">B − A</th>`}
      </tr></thead>
      <tbody>${texts.map((text) => this.row(text, plans))}</tbody>
    </table></div>`;
  }

  /** How a goal of a robust plan fares over its scenarios. */
  worst(text, plan, letter) {
    const found = plan.robustness?.goals.find((g) => g.text === text);
    if (!found || found.worst === null) return null;
    const [, tone, word] = GOALS[found.worst_status] ?? [];
    return html`<div class="note" title=${`Worst in the scenario ${found.worst_scenario}`}>${letter}worst scenario ${withUnit(found.worst, found.unit)}${
      word && html` <span class=${tone}>${word.toLowerCase()}</span>`
    }, met in ${found.met} of ${found.scenarios}</div>`;
  }

  row(text, plans) {
    const found = plans.map((p) => p.goals.find((g) => g.text === text));
    const { structure, note } = found.find(Boolean);
    const rest = text.startsWith(`${structure}:`) ? text.slice(structure.length + 1).trim() : text;
    return html`<tr>
      <td class="name"><div class="what">
        <span class="swatch" style=${{ background: structureColor(structure, plans[0]) }}></span>
        <button class="link" onClick=${() => this.tell('radiarch-structure-selected', { structure })}>${structure}</button>
        <span class="muted nowrap">${rest}</span>
      </div>${note && html`<div class="note">${note}</div>`}${plans.map((p, i) => this.worst(text, p, plans.length > 1 ? `${PLAN_LETTERS[i]}: ` : ''))}</td>
      ${found.map((g) => html`<td class="num">${g ? withUnit(g.value, g.unit) : '–'}</td><td><${GoalStatus} status=${g?.status} /></td>`)}
      ${plans.length === 2 && (alike(plans) ? html`<td class="num">${difference(found)}</td>` : html`<td class="num" title=${MIXED}>–</td>`)}
    </tr>`;
  }
}

function difference([a, b]) {
  if (typeof a?.value !== 'number' || typeof b?.value !== 'number') return '–';
  return `${signed(b.value - a.value, a.unit === '' ? 2 : 1)}${a.unit ? `\u202f${a.unit}` : ''}`;
}

const COLUMNS = [
  ['volume_cc', 'Volume', 'cm³'],
  ['d_mean_gy', 'Mean', 'Gy'],
  ['d98_gy', 'D98', 'Gy'],
  ['d95_gy', 'D95', 'Gy'],
  ['d50_gy', 'D50', 'Gy'],
  ['d2_gy', 'D2', 'Gy'],
  ['d_min_gy', 'Min', 'Gy'],
  ['d_max_gy', 'Max', 'Gy'],
];

const EXACT = {
  Dmean: 'd_mean_gy',
  Dmin: 'd_min_gy',
  Dmax: 'd_max_gy',
  'D98%': 'd98_gy',
  'D95%': 'd95_gy',
  'D50%': 'd50_gy',
  'D2%': 'd2_gy',
};
const TYPED = 'radiarch-metrics';
const MOST_TYPED = 8;

/** The metrics that were typed last, in this browser. @returns {string[]} */
function typedBefore() {
  try {
    const found = JSON.parse(localStorage.getItem(TYPED) ?? '[]');
    return Array.isArray(found) ? found.filter((text) => typeof text === 'string' && !('error' in parseMetric(text))) : [];
  } catch {
    return []; // storage may be forbidden
  }
}

class Metrics extends PlanList {
  static subjects = ['plan-id'];
  static css = `${CSS}
    form { display: flex; align-items: center; gap: 6px 8px; flex-wrap: wrap; padding-bottom: 8px; }
    form input { width: 13em; }
    th .remove { border: 0; background: none; color: var(--text-2); padding: 0 3px; min-width: 24px; min-height: 24px; }
    .unit { display: block; }
    td:first-child { min-width: 8em; }
    td .what { flex-wrap: nowrap !important; }
  `;

  initial() {
    return { ...super.initial(), typed: typedBefore(), curves: null, text: '' };
  }

  arrived(scope, plan) {
    if (plan.state === 'succeeded' && this.state.typed.length) this.#read(scope);
  }

  /** The curves, once: only who types a metric needs them. */
  async #read(scope) {
    if (this.state.curves || this.state.reading) return;
    this.set(scope, { reading: true });
    try {
      const { curves } = await this.api.get(`/plans/${this.planIds[0]}/dvh`, { signal: scope.signal });
      this.set(scope, { curves, reading: false });
    } catch (e) {
      if (e.name !== 'AbortError') this.set(scope, { reading: false, refused: e.message });
    }
  }

  #keep(typed) {
    this.set(this.scope, { typed, text: '', refused: null });
    try {
      localStorage.setItem(TYPED, JSON.stringify(typed));
    } catch {
      // then it holds until the page is left
    }
  }

  #add(event) {
    event.preventDefault();
    const { text, typed } = this.state;
    const metric = parseMetric(text);
    if ('error' in metric) this.set(this.scope, { refused: metric.error });
    else if (typed.length >= MOST_TYPED) this.set(this.scope, { refused: `at most ${MOST_TYPED} can be added` });
    else {
      if (!typed.includes(metric.name)) this.#keep([...typed, metric.name]);
      this.#read(this.scope);
    }
  }

  /** A typed metric: the service's own value where it has one, else read from the curve. */
  #value(plan, row, text) {
    const goal = plan.goals.find(
      (g) =>
        g.structure === row.structure &&
        typeof g.value === 'number' &&
        g.text
          .slice(g.structure.length + 1)
          .trim()
          .split(/[\s≥≤<>]/)[0] === text,
    );
    const metric = parseMetric(text);
    if ('error' in metric) return '–';
    const unit = metric.kind === 'V' ? '%' : 'Gy';
    if (goal && goal.unit === unit) return fixed(goal.value, 1);
    if (EXACT[text]) return fixed(row[EXACT[text]], 1);
    const curve = this.state.curves?.find((c) => c.roi_number === row.roi_number && c.structure === row.structure);
    const value = curve ? metricOf(curve, metric, plan.prescription?.dose_gy ?? null) : null;
    return value === null ? '–' : html`<span title="Read from the curve">≈ ${fixed(value, 1)}</span>`;
  }

  view() {
    if (!this.planIds.length) return html`<${Empty} title="No plan is chosen">Its dose metrics appear here.<//>`;
    if (this.firstError) return html`<${Problem} error=${this.firstError} />`;
    const plan = this.plans?.[0];
    if (!plan) return html`<${Bones} lines="5" />`;
    if (!plan.metrics.length) return html`<${NoResult} plan=${plan} what="metrics" />`;
    const { typed, text, refused } = this.state;
    const added = (
      name,
    ) => html`<th scope="col" class="num">${name}<button class="remove" aria-label=${`Remove ${name}`} onClick=${() => this.#keep(typed.filter((t) => t !== name))}>×</button>
      <span class="small unit">${name.startsWith('V') ? '%' : 'Gy'}</span></th>`;
    return html`<form onSubmit=${(e) => this.#add(e)}><label for="metric" class="small muted">Further metric</label>
        <input id="metric" type="text" maxlength="24" autocomplete="off" spellcheck=${false} placeholder="D2cc, V20Gy, V95%…" value=${text} aria-invalid=${refused ? 'true' : null}
          aria-describedby=${refused ? 'refused' : null} onInput=${(e) => this.set(this.scope, { text: e.target.value, refused: null })} />
        <button class="button">Add</button>${refused && html`<span id="refused" class="bad small" role="status">${refused}</span>`}</form>
      <div class="scroll"><table>
      <caption class="vh">Dose metrics by structure, total over all fractions</caption>
      <thead><tr><th scope="col">Structure</th>${COLUMNS.map(([, name, unit]) => html`<th scope="col" class="num">${name} <span class="small unit">${unit}</span></th>`)}${typed.map(added)}</tr></thead>
      <tbody>${plan.metrics.map(
        (m) => html`<tr><td><div class="what"><span class="swatch" style=${{ background: structureColor(m.structure, plan) }}></span>
          <button class="link" onClick=${() => this.tell('radiarch-structure-selected', { structure: m.structure })}><bdi>${m.structure}</bdi></button></div></td>
          ${COLUMNS.map(([key]) => html`<td class="num">${fixed(m[key], key === 'volume_cc' && m[key] >= 1000 ? 0 : 1)}</td>`)}
          ${typed.map((name) => html`<td class="num">${this.#value(plan, m, name)}</td>`)}</tr>`,
      )}</tbody>
    </table></div>
    ${typed.length > 0 && html`<p class="note">≈ is read from the stored curve, linear between its points; all else is computed from the dose itself.</p>`}`;
  }
}

define('radiarch-goals', Goals);
define('radiarch-metrics', Metrics);
