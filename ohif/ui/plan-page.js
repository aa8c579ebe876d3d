// <radiarch-plan-page>: everything about one plan, by the elements that all pages share.
import { ohifUrl } from '../elements/core/api.js';
import { html } from '../elements/core/dom.js';
import { RadiarchElement, define } from '../elements/core/element.js';
import {
  OBJECTIVES,
  exactly,
  fixed,
  personName,
  planName,
  prescription,
  seconds,
  shortId,
  shortUid,
  signed,
  stageName,
  when,
  words,
} from '../elements/core/format.js';
import { drawingOf } from '../elements/core/modalities.js';
import { sorted } from '../elements/core/notes.js';
import { learn, structureColor } from '../elements/core/palette.js';
import { Bones, Problem, sentence } from '../elements/core/parts.js';
import { PAGE_CSS } from './pages.js';

/** What a worker does one after another; its other times are parts of planning. */
const STEPS = {
  fetch: 'Reading from Orthanc',
  load: 'Patient model',
  plan: 'Planning',
  evaluate: 'DVH, metrics, goals',
  write: 'Writing DICOM',
  report: 'Report',
  store: 'Storing in Orthanc',
};

class PlanPage extends RadiarchElement {
  static subjects = ['plan-id'];
  static css = `${PAGE_CSS}
    .columns { display: grid; grid-template-columns: minmax(0, 1.75fr) minmax(320px, 1fr); gap: 14px; align-items: start; }
    .column { display: grid; gap: 14px; grid-template-columns: minmax(0, 1fr); }
    @media (max-width: 1080px) { .columns { grid-template-columns: minmax(0, 1fr); } }
    .crumbs { color: var(--text-2); font-size: 12px; }
    .crumbs a { text-decoration: underline; }
    .title { display: flex; align-items: baseline; gap: 10px; flex-wrap: wrap; min-width: 0; }
    h1 { overflow-wrap: anywhere; }
    .what { display: flex; align-items: center; gap: 7px; }
    .bars { display: grid; grid-template-columns: max-content minmax(40px, 1fr) max-content; gap: 5px 12px; align-items: center; }
    .bars span.part { padding-left: 14px; } .bars i.part { opacity: .4 !important; }
    .bars i { display: block; height: 8px; border-radius: 2px; background: var(--accent); opacity: .75; min-width: 1px; }
    pre.json { margin: 0; max-height: 340px; overflow: auto; font: 12px/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
    details > summary { cursor: pointer; font-weight: 600; } details[open] > summary { margin-bottom: 10px; }
    ul.plain { margin: 0; padding: 0; list-style: none; display: grid; gap: 6px; }
    .notes { margin: 0; padding-left: 18px; }
  `;

  async start(scope) {
    const id = this.getAttribute('plan-id') ?? '';
    this.follow(scope, id, (plan) => {
      if (this.state.set || this.state.asked) return;
      this.state.asked = true;
      this.api
        .get(`/structure-sets/${plan.rtstruct_sop_instance_uid}`, { signal: scope.signal })
        .then((set) => {
          learn(set.sop_instance_uid, set.structures);
          this.set(scope, { set });
        })
        .catch(() => {}); // deleted since; then there is no link to it
    });
    const children = await this.api.get('/plans', { params: { parent_id: id, limit: 20 }, signal: scope.signal });
    this.set(scope, { children: children.items });
  }

  view() {
    const { plan, error } = this.state;
    const id = this.getAttribute('plan-id');
    if (error) return html`<div class="crumbs"><a href="#/plans">Plans</a></div><${Problem} error=${error} />`;
    if (!plan) return html`<div class="crumbs"><a href="#/plans">Plans</a></div><div class="card"><${Bones} lines="10" /></div>`;
    const theme = this.getAttribute('theme');
    const done = plan.state === 'succeeded';
    return html`
      <div><div class="crumbs"><a href="#/plans">Plans</a> / <a href=${`#/patients/${encodeURIComponent(plan.patient_id)}`}><bdi>${plan.patient_id || 'no patient id'}</bdi></a>${personName(plan.patient_name) && html` <bdi>${personName(plan.patient_name)}</bdi>`}</div>
        <div class="head"><div class="title grow"><h1>${planName(plan)}</h1><span class="muted">${planName(plan) === (plan.protocol_id ?? plan.workflow_id) ? '' : `${plan.protocol_id ?? plan.workflow_id} · `}${prescription(plan.prescription)}</span><span class="tag">UNAPPROVED</span></div>${this.#actions(plan, done)}</div></div>
      <div class="card"><radiarch-progress plan-id=${id} theme=${theme}></radiarch-progress></div>
      <div class="columns">
        <div class="column">
          <div class="card"><h2>Dose-volume histogram</h2><radiarch-dvh plan-id=${id} theme=${theme}></radiarch-dvh></div>
          ${done && html`<div class="card"><h2>Dose</h2><radiarch-pictures plan-id=${id} theme=${theme}></radiarch-pictures></div>`}
          ${done && html`<div class="card flush"><h2>Metrics</h2><radiarch-metrics plan-id=${id} theme=${theme}></radiarch-metrics></div>`}
          ${plan.objectives.length > 0 && html`<div class="card flush"><h2>Objectives</h2>${this.#objectives(plan)}</div>`}
          ${plan.robustness && html`<div class="card flush"><h2>Robustness</h2>${this.#robustness(plan.robustness)}</div>`}
          <div class="card"><h2>Solver</h2><radiarch-trace plan-id=${id} theme=${theme}></radiarch-trace></div>
          <div class="card"><details open=${plan.state === 'failed' || null}><summary>Log</summary><radiarch-log plan-id=${id} theme=${theme}></radiarch-log></details></div>
        </div>
        <div class="column">
          ${plan.verdict && html`<div class="card"><h2>Verdict</h2><radiarch-verdict plan-id=${id} theme=${theme} open></radiarch-verdict></div>`}
          <div class="card flush"><h2>Goals</h2><radiarch-goals plan-id=${id} theme=${theme}></radiarch-goals></div>
          ${plan.comparison && html`<div class="card"><h2>Beside the reference dose</h2>${this.#comparison(plan.comparison)}</div>`}
          ${plan.notes.length > 0 && html`<div class="card"><h2>Notes</h2><ul class="notes">${sorted(plan.notes).map((n) => html`<li>${sentence(n)}</li>`)}</ul></div>`}
          <div class="card flush"><h2>Beams</h2>${this.#beams(plan)}</div>
          <div class="card"><h2>Results</h2>${this.#outputs(plan)}</div>
          <div class="card"><h2>Request</h2>${this.#request(plan)}</div>
          ${Object.keys(plan.timings_s).length > 0 && html`<div class="card"><h2>Time</h2>${this.#timings(plan)}</div>`}
          ${Object.keys(plan.provenance).length > 0 && html`<div class="card"><details><summary>Provenance</summary><pre class="json" tabindex="0">${JSON.stringify(plan.provenance, null, 2)}</pre></details></div>`}
        </div>
      </div>`;
  }

  #actions(plan, done) {
    return html`<div class="row">
      <a class="button" href=${ohifUrl(plan)}>Open in OHIF</a>
      ${done && plan.outputs.some((o) => o.kind === 'report') && html`<a class="button" href=${this.api.url(`/plans/${plan.id}/report`)}>Report (PDF${plan.superseded_at ? ', superseded' : ''})</a>`}
      ${done && this.#checked(plan) && html`<a class="button" href=${`#/check/${plan.study_instance_uid}/${this.#checked(plan)}`}>Check…</a>`}
      ${plan.prescription && html`<a class="button primary" href=${`#/plans/${plan.id}/again`}>Plan again from this…</a>`}
    </div>`;
  }

  /** What a check of it starts from: its RT Plan, else its dose. */
  #checked(plan) {
    const of = (kind) => plan.outputs.find((o) => o.kind === kind)?.sop_instance_uid;
    return of('rtplan') ?? of('rtdose');
  }

  #beams(plan) {
    if (!plan.beams.length) return html`<p class="muted">None.</p>`;
    const columns = [...new Set(plan.beams.flatMap((b) => drawingOf(b).columns))];
    const degrees = (value) => html`<td class="num">${fixed(value, value % 1 ? 1 : 0)}°</td>`;
    return html`<div class="scroll"><table><thead><tr><th scope="col">Beam</th><th scope="col" class="num">Gantry</th><th scope="col" class="num">Couch</th>
      ${columns.map(({ head }) => html`<th scope="col" class="num">${head}</th>`)}</tr></thead>
      <tbody>${plan.beams.map(
        (b, i) => html`<tr><td>${b.name ?? i + 1}</td>${degrees(b.gantry_deg)}${degrees(b.couch_deg)}
        ${columns.map((c) => html`<td class="num">${drawingOf(b).columns.includes(c) ? c.cell(b) : '–'}</td>`)}</tr>`,
      )}</tbody></table></div>`;
  }

  #objectives(plan) {
    return html`<div class="scroll"><table><thead><tr><th scope="col">Structure</th><th scope="col">Objective</th><th scope="col" class="num">Dose, Gy</th><th scope="col" class="num">Volume, %</th><th scope="col" class="num">Weight</th></tr></thead>
      <tbody>${plan.objectives.map((o) => html`<tr><td><div class="what"><span class="swatch" style=${{ background: structureColor(o.structure, plan) }}></span>${o.structure}</div></td><td>${OBJECTIVES[o.metric] ?? o.metric}</td><td class="num">${fixed(o.dose_gy, o.dose_gy % 1 ? 1 : 0)}</td><td class="num">${o.volume_percent ?? ''}</td><td class="num">${o.weight}</td></tr>`)}</tbody></table></div>`;
  }

  #outputs(plan) {
    if (!plan.outputs.length)
      return html`<p class="muted">${plan.state === 'succeeded' ? 'None is stored.' : 'They are listed here once they are stored.'}</p>`;
    const names = { rtdose: 'RT Dose', rtplan: 'RT Plan', report: 'Report', dose_difference: 'Dose difference', let: 'LET' };
    return html`<ul class="plain">${plan.outputs.map(
      (
        o,
      ) => html`<li class="row spread"><span><b>${names[o.kind] ?? words(o.kind)}</b> <span class="muted mono" title=${o.sop_instance_uid}>${shortUid(o.sop_instance_uid)}</span></span>
      <span class="row" style="gap:12px">${o.kind === 'dose_difference' && html`<a href=${ohifUrl(plan, o)}>OHIF</a>`}<a href=${`/app/explorer.html#instance?uuid=${o.orthanc_id}`}>Explorer</a><a href=${this.api.url(`/artifacts/${o.sop_instance_uid}`)} download>DICOM file</a></span></li>`,
    )}</ul>`;
  }

  #request(plan) {
    const { set, children } = this.state;
    const link = (id) => html`<a href=${`#/plans/${id}`}>${shortId(id)}</a>`;
    const shown = { ...plan.parameters };
    for (const k of ['objectives', 'beams']) delete shown[k];
    return html`<dl class="facts">
        <dt>Asked by</dt><dd>${plan.origin === 'arrival' ? 'its arrival' : 'a request'}${plan.requested_by ? ` (${plan.requested_by})` : ''}, <span title=${exactly(plan.created_at)}>${when(plan.created_at)}</span></dd>
        <dt>Workflow</dt><dd>${plan.workflow_id}</dd>
        ${plan.protocol_id && html`<dt>Protocol</dt><dd><a href=${`#/protocols/${plan.protocol_id}`}>${plan.protocol_id}</a></dd>`}
        <dt>Structure set</dt><dd>${set ? html`<a href=${`/app/explorer.html#instance?uuid=${set.orthanc_id}`}>${set.label || 'RTSTRUCT'}</a> ` : ''}<span class="mono muted" title=${plan.rtstruct_sop_instance_uid}>${shortUid(plan.rtstruct_sop_instance_uid)}</span>, <a href=${`#/structure-sets/${plan.rtstruct_sop_instance_uid}`}>all its plans</a></dd>
        <dt>Study</dt><dd><a class="mono" title=${plan.study_instance_uid} href=${`#/studies/${plan.study_instance_uid}`}>${shortUid(plan.study_instance_uid)}</a></dd>
        ${plan.parent_id && html`<dt>Made from</dt><dd>plan ${link(plan.parent_id)}, <a href=${`#/compare/${plan.parent_id},${plan.id}`}>compare</a></dd>`}
        ${children?.length > 0 && html`<dt>Made from it</dt><dd>${children.map((c) => html`<span>${link(c.id)} </span>`)}</dd>`}
        ${plan.supersedes && html`<dt>Supersedes</dt><dd>plan ${link(plan.supersedes)}</dd>`}
        ${plan.superseded_by && html`<dt>Superseded by</dt><dd>plan ${link(plan.superseded_by)}</dd>`}
        ${plan.missing_structures.length > 0 && html`<dt>Not found</dt><dd>${plan.missing_structures.join(', ')}</dd>`}
        ${plan.uncertainty_percent !== null && html`<dt>Uncertainty</dt><dd>${fixed(plan.uncertainty_percent, 1)} % (1 σ, measured in the target)</dd>`}
        ${plan.worker && html`<dt>Worker</dt><dd>${plan.worker}</dd>`}
        <dt>Plan id</dt><dd class="mono">${plan.id}</dd>
      </dl>
      <details style="padding-top:10px"><summary class="small">Parameters</summary><dl class="facts small">${Object.entries(shown).map(([k, v]) => html`<dt>${words(k)}</dt><dd>${v === null ? 'automatic' : typeof v === 'object' ? JSON.stringify(v) : String(v)}</dd>`)}</dl></details>`;
  }

  #comparison(c) {
    const g = c.gamma;
    return html`<dl class="facts">
      ${g && html`<dt>Gamma ${g.criteria.dose_percent} % / ${g.criteria.distance_mm} mm</dt><dd><b>${fixed(g.passed_percent, 1)} %</b> of ${g.points.toLocaleString('en')} points pass</dd>`}
      ${c.gamma_note && html`<dt>Gamma</dt><dd>${sentence(c.gamma_note)}</dd>`}
      ${(c.regions ?? []).map((r) => html`<dt>in ${r.structure || 'the high dose'}</dt><dd>${fixed(r.passed_percent, 1)} %</dd>`)}
      ${c.mean_difference_gy !== null && html`<dt>Mean difference</dt><dd>${signed(c.mean_difference_gy, 2)} Gy where the reference has half its maximum or more</dd>`}
      <dt>Compared as</dt><dd>${c.rbe_weighted ? 'RBE-weighted dose' : 'physical dose'}${c.reference_rbe > 1 ? `, the reference multiplied by ${c.reference_rbe}` : ''}</dd>
      ${c.scale_source !== 'none' && html`<dt>Scale</dt><dd>${fixed(c.scale, 4)}, ${c.scale_source === 'reference' ? 'derived from the reference: differences tell of the dose’s shape alone' : 'as asked for'}</dd>`}
      ${(c.beams ?? []).map((b) => html`<dt>More of ${b.name}</dt><dd>meterset ${signed(b.meterset_percent, 1)} %, range ${signed(b.range_mm, 1)} mm, side ${signed(b.shift_x_mm, 1)} / ${signed(b.shift_y_mm, 1)} mm</dd>`)}
      <dt>Reference</dt><dd>${c.reference.label || c.reference.manufacturer || shortUid(c.reference.sop_instance_uid)}</dd></dl>`;
  }

  /** Dose metrics over all scenarios, each a Monte Carlo dose of the final meterset. */
  #robustness(r) {
    const mm = (v) => (v.every((x) => x === v[0]) ? fixed(v[0], 1) : v.map((x) => fixed(x, 1)).join(' / '));
    return html`<p class="muted">${r.scenarios.length} scenarios: setup ${mm(r.setup_systematic_mm)} mm systematic, ${mm(r.setup_random_mm)} mm random; range ${fixed(r.range_percent, 1)} %.</p>
      <div class="scroll"><table><thead><tr><th scope="col">Structure</th><th scope="col">Metric</th><th scope="col" class="num">Nominal, Gy</th><th scope="col" class="num">Lowest</th><th scope="col">in</th><th scope="col" class="num">Highest</th><th scope="col">in</th></tr></thead>
        <tbody>${r.metrics.map(
          (
            m,
          ) => html`<tr><td><div class="what"><span class="swatch" style=${{ background: structureColor(m.structure, this.state.plan) }}></span>${m.structure}</div></td><td>${m.metric}</td>
          <td class="num">${fixed(m.nominal_gy, 1)}</td><td class="num">${fixed(m.low_gy, 1)}</td><td class="muted small">${m.low_scenario}</td><td class="num">${fixed(m.high_gy, 1)}</td><td class="muted small">${m.high_scenario}</td></tr>`,
        )}</tbody></table></div>`;
  }

  #timings(plan) {
    const { total, engine, to_preview: preview, ...parts } = plan.timings_s;
    const steps = Object.keys(STEPS).filter((k) => k in parts);
    const within = Object.keys(parts).filter((k) => !(k in STEPS));
    const longest = Math.max(...Object.values(parts), 0.001);
    const bar = (k, text, part) =>
      html`<span class=${part ? 'part muted' : ''}>${text}</span><i class=${part ? 'part' : ''} style=${{ width: `${(100 * parts[k]) / longest}%` }}></i><span class="num ${part ? 'muted' : ''}">${seconds(parts[k])}</span>`;
    const details = within.map((k) => bar(k, stageName(k), steps.includes('plan')));
    return html`<div class="bars">${steps.map((k) => [bar(k, STEPS[k]), k === 'plan' && details])}${!steps.includes('plan') && details}
      ${engine !== undefined && html`<span class="muted">Of this, the engine</span><span></span><span class="num muted">${seconds(engine)}</span>`}
      ${preview !== undefined && html`<span class="muted">First DVH after</span><span></span><span class="num muted">${seconds(preview)}</span>`}
      ${total !== undefined && html`<b>Total</b><span></span><b class="num">${seconds(total)}</b>`}</div>`;
  }
}

define('radiarch-plan-page', PlanPage);
