// <radiarch-runs>: plans of a patient, a study, a structure set, or all; live, searched and paged by the service.
import { uiUrl } from './core/api.js';
import { html } from './core/dom.js';
import { RadiarchElement, define } from './core/element.js';
import { eta, exactly, given, prescription, queuePlace, seconds, shortId, stageName, took, when } from './core/format.js';
import { Bones, Empty, GoalCounts, Icon, Note, Outcome, Problem, State, Who } from './core/parts.js';

const STATES = [
  ['', 'All'],
  ['waiting,queued,running', 'Under way'],
  ['succeeded', 'Done'],
  ['failed', 'Failed'],
  ['cancelled', 'Cancelled'],
];
const SORTS = [
  ['-created_at', 'Newest first'],
  ['created_at', 'Oldest first'],
  ['-updated_at', 'Last changed first'],
  ['patient_id', 'Patient, A to Z'],
  ['-patient_id', 'Patient, Z to A'],
];
const LIMIT = 50;
const TYPING_MS = 250;
const GATHER_MS = 800;

/** When a day of this place's calendar begins, `days` later; null where none is chosen. */
function startOf(day, days = 0) {
  if (!day) return null;
  const [y, m, d] = day.split('-').map(Number);
  return new Date(y, m - 1, d + days).toISOString();
}

class Runs extends RadiarchElement {
  static subjects = ['patient-id', 'study-uid', 'rtstruct-uid'];
  static looks = ['compact', 'selected'];
  static css = `
    .root { display: grid; gap: 10px; grid-template-columns: minmax(0, 1fr); }
    .search { position: relative; flex: 1 1 210px; max-width: 380px; }
    .search svg { position: absolute; left: 8px; top: 6px; color: var(--text-2); }
    .search input { width: 100%; padding-left: 29px; }
    th, td { padding-top: 6px; padding-bottom: 6px; }
    td.pick, th.pick { width: 26px; padding-right: 8px; }
    tr:hover td { background: var(--surface-2); }
    tr[aria-selected="true"] td { background: var(--info-bg); }
    td.what { max-width: 0; width: 26%; min-width: 9.5em; }
    td.who { max-width: 0; width: 17%; min-width: 8.5em; }
    a.open { font-weight: 600; color: var(--text); }
    a.open:hover { color: var(--accent); }
    .sub { color: var(--text-2); font-size: 12px; }
    .dates { gap: 6px; color: var(--text-2); flex-wrap: wrap; }
    .bar { width: 110px; margin-top: 3px; }
    .cards { display: grid; gap: 0; margin: 0; padding: 0; list-style: none; }
    .cards > li { display: grid; gap: 2px; padding: 8px 6px; border-bottom: 1px solid var(--line); grid-template-columns: 22px minmax(0, 1fr) max-content; }
    .cards > li[aria-current="true"] { background: var(--info-bg); }
    .cards .bar { grid-column: 2 / -1; width: 100%; }
    .choice { position: sticky; bottom: 8px; justify-self: center; display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; padding: 7px 12px;
      background: var(--surface); border: 1px solid var(--line-2); border-radius: 8px; box-shadow: 0 4px 14px rgb(0 0 0 / 18%); z-index: 1; }
  `;
  #typing = 0;
  #gathering = 0;
  #asked = 0;

  get #key() {
    return `radiarch-runs ${['patient-id', 'study-uid', 'rtstruct-uid'].map((a) => this.getAttribute(a) ?? '').join(' ')}`;
  }

  initial() {
    let kept = {};
    try {
      kept = JSON.parse(sessionStorage.getItem(this.#key) ?? '{}');
    } catch {
      // storage may be forbidden; then nothing is remembered
    }
    return {
      items: null,
      next: null,
      cursors: [null],
      fresh: false,
      picked: [],
      q: kept.q ?? '',
      states: kept.states ?? '',
      from: kept.from ?? '',
      to: kept.to ?? '',
      sort: kept.sort ?? '-created_at',
    };
  }

  ended() {
    clearTimeout(this.#typing);
    clearTimeout(this.#gathering);
  }

  async start(scope) {
    await this.watch(scope, (changes) => this.#changed(scope, changes));
    await this.#read(scope);
    const clock = setInterval(() => this.state.items?.some((p) => p.state === 'running') && this.repaint(), 1000);
    scope.onEnd(() => clearInterval(clock));
  }

  async #read(scope) {
    const { q, states, sort, cursors, from, to } = this.state;
    const asked = (this.#asked += 1);
    const params = {
      patient_id: this.getAttribute('patient-id'),
      study_uid: this.getAttribute('study-uid'),
      rtstruct_uid: this.getAttribute('rtstruct-uid'),
      ...{ q, state: states, created_from: startOf(from), created_to: startOf(to, 1), sort, cursor: cursors.at(-1), limit: LIMIT },
    };
    try {
      const page = await this.api.get('/plans', { params, signal: scope.signal });
      if (asked !== this.#asked) return; // another question was asked meanwhile
      this.set(scope, { items: page.items, next: page.next, error: null, fresh: false, busy: false });
    } catch (e) {
      if (e.name !== 'AbortError' && asked === this.#asked) this.set(scope, { error: e, busy: false });
    }
  }

  /** Another question: what was found for the last one goes at once. */
  #ask(patch, { keep = false } = {}) {
    this.set(this.scope, { cursors: [null], ...patch, ...(keep ? {} : { items: null }), busy: true });
    try {
      const { q, states, sort, from, to } = this.state;
      sessionStorage.setItem(this.#key, JSON.stringify({ q, states, sort, from, to }));
    } catch {
      // as above
    }
    this.#read(this.scope);
  }

  #changed(scope, { plans, complete }) {
    const { items, cursors } = this.state;
    if (!items) return;
    let other = !complete;
    const merged = items.map((p) => plans.get(p.id) ?? p);
    const shown = new Set(items.map((p) => p.id));
    for (const id of plans.keys()) other ||= !shown.has(id);
    this.set(scope, { items: merged });
    if (!other) return;
    if (cursors.length > 1) this.set(scope, { fresh: true });
    else if (!this.#gathering) {
      this.#gathering = setTimeout(() => {
        this.#gathering = 0;
        if (scope.alive) this.#read(scope);
      }, GATHER_MS);
    }
  }

  view() {
    const { error, items, states, sort, q, cursors, fresh, from, to } = this.state;
    const filtered = q || states || from || to;
    // in a narrow place the filters are worth their room only where there is much to filter
    const few =
      this.hasAttribute('compact') && !filtered && !error && cursors.length === 1 && !this.state.next && (items?.length ?? 0) <= 12;
    return [
      !few &&
        html`<div class="row" role="search">
        <label class="search"><span class="vh">Search plans</span><${Icon} name="search" round=${false} />
          <input type="search" placeholder="Name, id, label, protocol, UID…" value=${q} onInput=${(e) => this.#type(e.target.value)} /></label>
        <div class="segmented" role="group" aria-label="State">
          ${STATES.map(([value, text]) => html`<button aria-pressed=${String(states === value)} onClick=${() => this.#ask({ states: value })}>${text}</button>`)}
        </div>
        <span class="row nowrap dates"><label>From <input type="date" value=${from} max=${to || null} onChange=${(e) => this.#ask({ from: e.target.value })} /></label>
          <label>to <input type="date" value=${to} min=${from || null} onChange=${(e) => this.#ask({ to: e.target.value })} /></label></span>
        <span class="grow"></span>
        <label><span class="vh">Order</span><select value=${sort} onChange=${(e) => this.#ask({ sort: e.target.value })}>
          ${SORTS.map(([value, text]) => html`<option value=${value} selected=${value === sort}>${text}</option>`)}</select></label>
      </div>`,
      fresh && html`<${Note}>Plans have changed. <a href="#" onClick=${(e) => this.#newest(e)}>Show the newest</a><//>`,
      error
        ? html`<${Problem} error=${error} action=${html`<button class="button" onClick=${() => this.#ask({})}>Try again</button>`} />`
        : !items
          ? html`<${Bones} lines="8" />`
          : !items.length
            ? html`<${Empty} title=${filtered ? 'No plan fits' : 'No plans yet'}>
            ${filtered ? html`<button class="button quiet" onClick=${() => this.#ask({ q: '', states: '', from: '', to: '' })}>Show all plans</button>` : 'Plans appear here by themselves when a structure set arrives.'}<//>`
            : this.hasAttribute('compact')
              ? this.#cards(items)
              : this.#table(items),
      items &&
        (cursors.length > 1 || this.state.next) &&
        html`<nav class="row" aria-label="Pages">
        <button class="button" disabled=${cursors.length < 2} onClick=${() => this.#ask({ cursors: cursors.slice(0, -1) })}>Previous</button>
        <span class="muted">Page ${cursors.length}</span>
        <button class="button" disabled=${!this.state.next} onClick=${() => this.#ask({ cursors: [...cursors, this.state.next] })}>Next</button>
      </nav>`,
      this.#choice(),
    ];
  }

  #type(q) {
    this.set(this.scope, { q });
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#ask({ q: q.trim() }), TYPING_MS);
  }

  #newest(event) {
    event.preventDefault();
    this.#ask({});
  }

  #table(items) {
    return html`<div class="scroll"><table>
      <caption class="vh">Plans</caption>
      <thead><tr><th class="pick"><span class="vh">Compare</span></th><th scope="col">Patient</th><th scope="col">Plan</th><th scope="col">State</th>
        <th scope="col">Prescription</th><th scope="col">Goals</th><th scope="col" class="num">Made</th><th scope="col" class="num">Took</th></tr></thead>
      <tbody>${items.map(
        (p) => html`<tr key=${p.id} aria-selected=${String(this.getAttribute('selected') === p.id)}>
        <td class="pick">${this.#box(p)}</td>
        <td class="who"><${Who} of=${p} /></td>
        <td class="what"><div class="clip">${this.#link(p)}</div><div class="sub clip">${[given(p.label), shortId(p.id)].filter(Boolean).join(' · ')}${this.#superseded(p)}</div></td>
        <td class="nowrap"><${State} state=${p.state} short />${p.state === 'running' && this.#bar(p)}${this.#aside(p)}</td>
        <td class="nowrap">${prescription(p.prescription)}</td>
        <td>${p.state === 'succeeded' ? html`<${GoalCounts} counts=${p.goal_counts} />` : ''}</td>
        <td class="num" title=${exactly(p.created_at)}>${when(p.created_at)}</td>
        <td class="num">${took(p) === null ? '' : seconds(took(p))}</td>
      </tr>`,
      )}</tbody></table></div>`;
  }

  #cards(items) {
    return html`<ul class="cards">${items.map(
      (p) => html`<li key=${p.id} aria-current=${String(this.getAttribute('selected') === p.id)}>
      <span>${this.#box(p)}</span>
      <span class="clip">${this.#link(p)}</span>
      <span><${State} state=${p.state} short /></span>
      <span>${p.outcome && html`<${Outcome} result=${p.outcome} />`}</span>
      <span class="sub clip" title=${exactly(p.created_at)}>${this.#superseded(p)}${[given(p.label), when(p.created_at), prescription(p.prescription)].filter(Boolean).join(' · ')}</span>
      <span>${p.state === 'succeeded' ? html`<${GoalCounts} counts=${p.goal_counts} />` : html`<span class="sub">${p.state === 'running' ? eta(p.eta_s) : p.state === 'queued' ? queuePlace(p.queue_position) : ''}</span>`}</span>
      ${p.state === 'running' && this.#bar(p)}
    </li>`,
    )}</ul>`;
  }

  #superseded(plan) {
    return plan.superseded_at
      ? html` <span class="tag" title="Its structure set has changed since: its results are not of the present contours">superseded</span> `
      : null;
  }

  #link(plan) {
    return html`<a class="open" href=${uiUrl(`/plans/${plan.id}`)} title=${plan.id} onClick=${(e) => {
      if (!e.ctrlKey && !e.metaKey && !e.shiftKey && !this.tell('radiarch-select-plan', { planId: plan.id })) e.preventDefault();
    }}>${plan.protocol_id ?? plan.workflow_id}</a>`;
  }

  #bar(plan) {
    const percent = Math.round(100 * plan.progress);
    return html`<div class="bar" role="progressbar" aria-label=${stageName(plan.stage)} aria-valuenow=${percent} aria-valuemin="0" aria-valuemax="100"
      title=${`${stageName(plan.stage)}, ${percent} %. ${eta(plan.eta_s)}`}><i style=${{ width: `${percent}%` }}></i></div>`;
  }

  #aside(plan) {
    if (plan.state === 'failed' && plan.error)
      return html`<div class="sub clip" style="max-width:17em" title=${plan.error.message}>${plan.error.code.replaceAll('_', ' ')}</div>`;
    if (plan.outcome) return html`<div><${Outcome} result=${plan.outcome} /></div>`;
    if (plan.state === 'queued' && plan.queue_position) return html`<div class="sub">${queuePlace(plan.queue_position)}</div>`;
    if (plan.state === 'waiting') return html`<div class="sub">${plan.missing_instances} images missing</div>`;
    return null;
  }

  #box(plan) {
    const { picked } = this.state;
    const chosen = picked.some((p) => p.id === plan.id);
    return html`<input type="checkbox" checked=${chosen} disabled=${plan.state !== 'succeeded' || (!chosen && picked.length === 2)}
      aria-label=${`Compare plan ${plan.label} ${shortId(plan.id)}`} title=${plan.state === 'succeeded' ? 'Choose two to compare' : 'Only plans that are done can be compared'}
      onChange=${() => this.set(this.scope, { picked: chosen ? picked.filter((p) => p.id !== plan.id) : [...picked, plan] })} />`;
  }

  #choice() {
    const { picked } = this.state;
    if (!picked.length) return null;
    const ids = picked.map((p) => p.id);
    return html`<div class="choice" role="status">
      <span>${picked.length === 1 ? 'Choose one more to compare with' : 'Compare'} <b>${picked.map((p) => [given(p.label), shortId(p.id)].filter(Boolean).join(' ')).join(' and ')}</b></span>
      ${
        picked.length === 2 &&
        html`<a class="button primary" href=${uiUrl(`/compare/${ids.join(',')}`)} onClick=${(e) => {
          if (this.tell('radiarch-compare', { planIds: ids })) return;
          e.preventDefault();
          this.set(this.scope, { picked: [] });
        }}>Compare</a>`
      }
      <button class="button quiet" onClick=${() => this.set(this.scope, { picked: [] })}>Clear</button>
    </div>`;
  }
}

define('radiarch-runs', Runs);
