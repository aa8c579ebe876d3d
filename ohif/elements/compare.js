// <radiarch-compare>: two plans beside each other: curves on one axis, goals, metrics, and what was asked differently.
import { uiUrl } from './core/api.js';
import { html } from './core/dom.js';
import { define } from './core/element.js';
import { OBJECTIVES, fixed, planName, prescription, shortId, signed, when, words } from './core/format.js';
import { NOTES_CSS, NoteList } from './core/notes.js';
import { PLAN_LETTERS, isTarget, structureColor } from './core/palette.js';
import { Bones, Empty, Note, Problem, State, sentence } from './core/parts.js';
import { PlanList } from './goals.js';

const METRICS = [
  ['d_mean_gy', 'Mean'],
  ['d98_gy', 'D98'],
  ['d95_gy', 'D95'],
  ['d2_gy', 'D2'],
  ['d_max_gy', 'Max'],
];

class Compare extends PlanList {
  static subjects = ['plan-ids'];
  static css = `
    .root { display: grid; gap: 22px; grid-template-columns: minmax(0, 1fr); }
    .heads { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; }
    .head { display: grid; align-content: start; gap: 2px; padding: 10px 12px; border: 1px solid var(--line); border-radius: 8px; }
    .letter { display: inline-grid; place-items: center; width: 20px; height: 20px; border-radius: 4px; background: var(--surface-2); font-weight: 700; }
    section { display: grid; gap: 8px; min-width: 0; }
    .what { display: flex; align-items: center; gap: 7px; }
    tbody.group td { border-bottom: 0; padding-top: 2px; padding-bottom: 2px; }
    tbody.group tr:last-child td { border-bottom: 1px solid var(--line); padding-bottom: 6px; }
    tbody.group tr:first-child td { padding-top: 6px; }
    .scale { display: inline-block; position: relative; width: 120px; height: 10px; vertical-align: -1px; }
    .scale::before { content: ""; position: absolute; left: 50%; top: 0; bottom: 0; border-left: 1px solid var(--line-2); }
    .scale > i { position: absolute; top: 2px; bottom: 2px; background: var(--text-2); border-radius: 1px; }
    table.metrics { max-width: 720px; }
    .head .notes { margin-top: 6px; padding: 6px 9px; font-size: 13px; }
    ${NOTES_CSS}
  `;
  #question = '';

  initial() {
    return { ...super.initial(), answer: null, open: {} };
  }

  /** What the service says of the two: differences, and what else they differ in. */
  arrived(scope) {
    const plans = this.plans;
    if (!plans || plans.length < 2 || plans.some((p) => p.state !== 'succeeded')) return;
    const asked = JSON.stringify(plans.map((p) => [p.id, p.attempt, p.superseded_by, p.ended_at]));
    if (asked === this.#question && (this.state.answer || this.state.asking)) return;
    this.#question = asked;
    this.state.asking = true;
    this.api
      .get('/compare', { params: { plans: this.planIds.join(','), curves: false }, signal: scope.signal })
      .then((answer) => this.set(scope, { answer, asking: false }))
      .catch((e) => e.name !== 'AbortError' && this.set(scope, { error: e, asking: false }));
  }

  view() {
    const ids = this.planIds;
    if (ids.length < 2) return html`<${Empty} title="Choose two plans">Tick two plans that are done in the list of plans.<//>`;
    const error = this.firstError ?? this.state.error;
    if (error) return html`<${Problem} error=${error} />`;
    const plans = this.plans;
    if (!plans) return html`<${Bones} lines="12" />`;
    const [a, b] = plans;
    const theme = this.getAttribute('theme');
    const base = this.getAttribute('api');
    return [
      html`<div class="heads">${plans.map(
        (p, i) => html`<div class="head">
        <div class="row"><span class="letter" aria-label="Plan ${PLAN_LETTERS[i]}">${PLAN_LETTERS[i]}</span>
          <a href=${uiUrl(`/plans/${p.id}`)} onClick=${(e) => !this.tell('radiarch-select-plan', { planId: p.id }) && e.preventDefault()}><b>${planName(p)}</b> ${shortId(p.id)}</a>
          <span class="tag">UNAPPROVED</span>${p.superseded_by && html`<span class="tag">superseded</span>`}
          ${p.state !== 'succeeded' && html`<${State} state=${p.state} />`}</div>
        <div class="muted">${p.protocol_id ?? p.workflow_id} · ${prescription(p.prescription)}</div>
        <div class="muted small">${p.patient_id} · ${when(p.created_at)}</div>
        <${NoteList} notes=${p.notes} open=${Boolean(this.state.open[p.id])}
          onOpen=${(open) => this.set(this.scope, { open: { ...this.state.open, [p.id]: open } })} />
      </div>`,
      )}</div>`,
      this.state.answer?.notes.map((note) => html`<${Note} tone="warn">${sentence(note)}<//>`),
      html`<section><h3>Dose-volume histogram</h3><radiarch-dvh plan-ids=${ids.join(',')} theme=${theme} api=${base}></radiarch-dvh></section>`,
      html`<section><h3>Goals</h3><radiarch-goals plan-ids=${ids.join(',')} theme=${theme} api=${base}></radiarch-goals></section>`,
      plans.length === 2 && html`<section><h3>Metrics</h3>${this.#metrics()}</section>`,
      plans.length === 2 && html`<section><h3>What was asked differently</h3>${this.#asked(a, b)}</section>`,
    ];
  }

  #metrics() {
    const { answer } = this.state;
    if (this.state.asking) return html`<${Bones} lines="6" />`;
    const rows = (answer?.structures ?? [])
      .map(({ plans: [first, second] }) => [first.metrics, second.metrics, second.difference])
      .filter(([m, o]) => m && o)
      .sort(([m], [o]) => Number(isTarget(o.structure)) - Number(isTarget(m.structure)));
    if (!rows.length)
      return html`<${Empty} title="No metrics in common">At least one of the plans has no result, or none of the structures is in both.<//>`;
    const wanted = (name) =>
      METRICS.filter(([key]) => (isTarget(name) ? key !== 'd_max_gy' : ['d_mean_gy', 'd2_gy', 'd_max_gy'].includes(key)));
    const widest = Math.max(0.1, ...rows.flatMap(([m, , d]) => wanted(m.structure).map(([key]) => Math.abs(d?.[key] ?? 0))));
    return html`<div class="scroll"><table class="metrics">
      <thead><tr><th scope="col">Structure</th><th scope="col">Metric</th><th scope="col" class="num">A, Gy</th><th scope="col" class="num">B, Gy</th>
        <th scope="col" class="num">B − A</th><th scope="col"><span class="vh">Difference as a bar</span></th></tr></thead>
      ${rows.map(
        ([m, o, d]) =>
          html`<tbody class="group">${wanted(m.structure).map(
            ([key, name], i) => html`<tr>
        <td>${i === 0 && html`<div class="what"><span class="swatch" style=${{ background: structureColor(m.structure, this.plans?.[0]) }}></span>${m.structure}</div>`}</td>
        <td class="muted">${name}</td><td class="num">${fixed(m[key], 1)}</td><td class="num">${fixed(o[key], 1)}</td>
        <td class="num"><b>${signed(d?.[key], 1)}</b></td>
        <td><span class="scale" aria-hidden="true"><i style=${bar((d?.[key] ?? 0) / widest)}></i></span></td></tr>`,
          )}</tbody>`,
      )}
    </table></div>`;
  }

  #asked(a, b) {
    const [left, right] = [a, b].map(
      (p) => new Map(flat({ prescription: p.prescription, protocol: p.protocol_id, workflow: p.workflow_id, ...p.parameters })),
    );
    const keys = [...new Set([...left.keys(), ...right.keys()])].filter((k) => left.get(k) !== right.get(k));
    if (!keys.length) return html`<p class="muted">Nothing: both were asked for in the same way.</p>`;
    return html`<div class="scroll"><table class="metrics"><thead><tr><th scope="col">Setting</th><th scope="col">A</th><th scope="col">B</th></tr></thead>
      <tbody>${keys.map((k) => html`<tr><td>${k}</td><td>${left.get(k) ?? '–'}</td><td>${right.get(k) ?? '–'}</td></tr>`)}</tbody></table></div>`;
  }
}

function bar(part) {
  const width = `${Math.min(50, Math.abs(part) * 50)}%`;
  return part < 0 ? { right: '50%', width } : { left: '50%', width };
}

/** What was asked, as lines with a name: an objective is one line, what is as usual is left out. */
function* flat(value, path = '') {
  if (Array.isArray(value) && value[0]?.metric) {
    const seen = {};
    for (const { structure, metric, dose_gy: dose, volume_percent: volume, weight, ...further } of value) {
      const more = further.robust === false ? {} : further; // how scenarios count says nothing of a nominal objective
      const name = `${structure}: ${OBJECTIVES[metric] ?? metric}`;
      seen[name] = (seen[name] ?? 0) + 1;
      const rest = Object.entries(more)
        .filter(([, v]) => v)
        .map(([k, v]) => (v === true ? words(k) : `${words(k)} ${v}`));
      yield [
        seen[name] > 1 ? `${name} (${seen[name]})` : name,
        [`${dose} Gy${volume ? ` to ${volume} %` : ''}, weight ${weight}`, ...rest].join(', '),
      ];
    }
  } else if (Array.isArray(value)) {
    yield [
      words(path),
      value
        .map((v) =>
          v?.gantry_deg !== undefined
            ? `${v.gantry_deg}°${v.couch_deg ? `/${v.couch_deg}°` : ''}`
            : typeof v === 'object'
              ? JSON.stringify(v)
              : v,
        )
        .join(', ') || '–',
    ];
  } else if (value && typeof value === 'object') {
    for (const [key, item] of Object.entries(value)) yield* flat(item, path ? `${path} ${key}` : key);
  } else if (value !== null && value !== undefined) {
    yield [words(path), String(value)];
  }
}

define('radiarch-compare', Compare);
