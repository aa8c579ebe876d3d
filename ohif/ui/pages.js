// The light page's places but for the plan's own: lists, comparison, asking, arrivals, protocols, workers.
import { html } from '../elements/core/dom.js';
import { RadiarchElement, define } from '../elements/core/element.js';
import { OBJECTIVES, exactly, prescription, queuePlace, seconds, shortId, shortUid, when, words } from '../elements/core/format.js';
import { structureColor } from '../elements/core/palette.js';
import { Bones, Empty, Icon, Problem, State, Who, sentence } from '../elements/core/parts.js';

const LIMIT = 50;
const LOOK_MS = 4000;

export const PAGE_CSS = `
  .root { display: grid; gap: 14px; grid-template-columns: minmax(0, 1fr); }
  h1 { margin: 0; font-size: 19px; font-weight: 650; letter-spacing: -.012em; line-height: 1.25; }
  .card { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; min-width: 0; box-shadow: var(--shadow); }
  .card > h2 { margin-bottom: 10px; }
  .card.flush { padding-bottom: 6px; }
  .head { display: flex; gap: 8px 14px; align-items: center; flex-wrap: wrap; }
`;

class Page extends RadiarchElement {
  static css = PAGE_CSS;
}

class PlansPage extends Page {
  static subjects = ['patient-id', 'study-uid', 'rtstruct-uid'];

  view() {
    const patient = this.getAttribute('patient-id');
    const study = this.getAttribute('study-uid');
    const set = this.getAttribute('rtstruct-uid');
    const title = patient ? `Plans of ${patient}` : study ? 'Plans of a study' : set ? 'Plans of a structure set' : 'Plans';
    return html`<div class="head"><h1>${title}</h1>${(study || set) && html`<span class="muted mono">${study || set}</span>`}<span class="grow"></span>
        <a class="button primary" href=${set ? `#/new/${set}` : study ? `#/new/study/${study}` : '#/new'}><${Icon} name="plus" /> New plan</a></div>
      <div class="card"><radiarch-runs theme=${this.getAttribute('theme')} patient-id=${patient} study-uid=${study} rtstruct-uid=${set}></radiarch-runs></div>`;
  }
}

class ComparePage extends Page {
  static subjects = ['plan-ids'];
  view() {
    return html`<h1>Compare plans</h1><div class="card"><radiarch-compare theme=${this.getAttribute('theme')} plan-ids=${this.getAttribute('plan-ids')}></radiarch-compare></div>`;
  }
}

class NewPage extends Page {
  static subjects = ['rtstruct-uid', 'study-uid', 'plan-id'];
  static css = `${PAGE_CSS}
    .beside { display: grid; gap: 14px; align-items: start; grid-template-columns: minmax(0, 1.3fr) minmax(340px, 1fr); }
    .shown { position: sticky; top: 62px; display: grid; gap: 14px; }
    .shown radiarch-dvh { --rad-dvh-height: 240px; }
    @media (max-width: 1080px) { .beside { grid-template-columns: minmax(0, 1fr); } .shown { position: static; order: -1; } }
  `;

  view() {
    const plan = this.getAttribute('plan-id');
    const theme = this.getAttribute('theme');
    const form = html`<div class="card"><radiarch-plan-form theme=${theme} plan-id=${plan} rtstruct-uid=${this.getAttribute('rtstruct-uid')} study-uid=${this.getAttribute('study-uid')}></radiarch-plan-form></div>`;
    if (!plan)
      return html`<div class="head"><h1 class="grow">New plan</h1><a class="button" href=${this.getAttribute('study-uid') ? `#/check/${this.getAttribute('study-uid')}` : '#/check'}>Check a plan or a dose…</a></div>${form}`;
    return html`<div class="head"><h1>Plan again from plan ${shortId(plan)}</h1><a href=${`#/plans/${plan}`}>Back to it</a></div>
      <div class="beside">${form}<div class="shown">
        <div class="card"><h2>Its dose-volume histogram</h2><radiarch-dvh theme=${theme} plan-id=${plan}></radiarch-dvh></div>
        <div class="card flush"><h2>Its goals</h2><radiarch-goals theme=${theme} plan-id=${plan}></radiarch-goals></div></div></div>`;
  }
}

class CheckPage extends Page {
  static subjects = ['study-uid', 'object-uid'];
  view() {
    return html`<h1>Check a plan or a dose</h1><div class="card"><radiarch-check-form theme=${this.getAttribute('theme')} study-uid=${this.getAttribute('study-uid')} object-uid=${this.getAttribute('object-uid')}></radiarch-check-form></div>`;
  }
}

class MissingPage extends Page {
  view() {
    return html`<div class="card"><${Empty} title="There is nothing at this address"><a href="#/plans">All plans</a><//></div>`;
  }
}

const ARRIVALS = {
  waiting: ['clock', 'muted', 'Waiting for images'],
  planned: ['check', 'good', 'Planned'],
  not_planned: ['alert', 'warn', 'Not planned'],
  deleted: ['dash', 'muted', 'Deleted'],
};

class ArrivalsPage extends Page {
  static css = `${PAGE_CSS}
    td.why { width: 42%; min-width: 300px; } .remedy { color: var(--text-2); font-size: 12px; }
    input[type="search"] { width: min(320px, 100%); }
    .who { max-width: 16em; }
  `;
  #typing = 0;
  #asked = 0;

  initial() {
    return { items: null, next: null, cursors: [null], q: '', states: '' };
  }

  ended() {
    clearTimeout(this.#typing);
  }

  async start(scope) {
    await this.watch(scope, ({ arrivals, plans }) => {
      const shown = this.state.items?.some((a) => plans.has(a.plan_id));
      if ((arrivals && this.state.cursors.length === 1) || shown) this.#read(scope);
    });
    await this.#read(scope);
  }

  async #read(scope) {
    const { q, states, cursors } = this.state;
    const asked = (this.#asked += 1);
    try {
      const page = await this.api.get('/arrivals', {
        params: { q, state: states, cursor: cursors.at(-1), limit: LIMIT },
        signal: scope.signal,
      });
      if (asked === this.#asked) this.set(scope, { items: page.items, next: page.next, error: null });
    } catch (e) {
      if (e.name !== 'AbortError' && asked === this.#asked) this.set(scope, { error: e });
    }
  }

  #ask(patch) {
    this.set(this.scope, { cursors: [null], items: null, ...patch });
    this.#read(this.scope);
  }

  #type(q) {
    this.set(this.scope, { q });
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#ask({ q: q.trim() }), 250);
  }

  view() {
    const { items, error, next, cursors, q, states } = this.state;
    return html`<h1>Arrivals</h1>
      <div class="card">
        <div class="row" role="search" style="padding-bottom:10px"><label><span class="vh">Search arrivals</span><input type="search" placeholder="Patient, UID…" value=${q} onInput=${(e) => this.#type(e.target.value)} /></label>
          <div class="segmented" role="group" aria-label="State">${[
            ['', 'All'],
            ...Object.entries(ARRIVALS).map(([k, v]) => [k, v[2]]),
          ].map(
            ([value, text]) =>
              html`<button aria-pressed=${String(states === value)} onClick=${() => this.#ask({ states: value })}>${text}</button>`,
          )}</div></div>
        ${
          error
            ? html`<${Problem} error=${error} />`
            : !items
              ? html`<${Bones} lines="8" />`
              : !items.length
                ? html`<${Empty} title=${q || states ? 'No arrival fits' : 'Nothing has arrived yet'}>${q || states ? '' : 'Each RTSTRUCT that Orthanc gets is listed here, with what became of it.'}<//>`
                : this.#table(items)
        }
        ${
          (next || cursors.length > 1) &&
          html`<nav class="row" style="padding-top:10px" aria-label="Pages">
          <button class="button" disabled=${cursors.length < 2} onClick=${() => this.#ask({ cursors: cursors.slice(0, -1) })}>Previous</button><span class="muted">Page ${cursors.length}</span>
          <button class="button" disabled=${!next} onClick=${() => this.#ask({ cursors: [...cursors, next] })}>Next</button></nav>`
        }
      </div>`;
  }

  #table(items) {
    return html`<div class="scroll"><table><caption class="vh">Structure sets that arrived</caption>
      <thead><tr><th scope="col">Arrived</th><th scope="col">Patient</th><th scope="col">From</th><th scope="col" class="num">Structures</th><th scope="col">State</th><th scope="col">What became of it</th><th></th></tr></thead>
      <tbody>${items.map(
        (a) => html`<tr key=${[a.id, a.patient_id, a.study_instance_uid].join()}>
        <td class="nowrap" title=${exactly(a.first_seen_at)}>${when(a.first_seen_at)}${a.contents > 1 && html`<div class="small muted">${a.contents} contents</div>`}</td>
        <td class="who"><${Who} of=${a} /><div class="small muted mono" title=${a.sop_instance_uid}>${shortUid(a.sop_instance_uid)}</div></td>
        <td>${a.calling_ae ?? 'REST'}</td>
        <td class="num" title=${a.structures.join(', ')}>${a.structures.length}</td>
        <td><span class="status ${ARRIVALS[a.state]?.[1]}"><${Icon} name=${ARRIVALS[a.state]?.[0] ?? 'info'} />${ARRIVALS[a.state]?.[2] ?? words(a.state)}</span></td>
        <td class="why">${a.state === 'waiting' && html`<span title=${a.missing_sop_instance_uids.join('\n')}>${a.missing_instances} of ${a.referenced_instances} images are missing</span>`}
          ${a.plan_id && html`<div><a href=${`#/plans/${a.plan_id}`}>${a.protocol_id ?? 'Plan'} ${shortId(a.plan_id)}</a></div>`}
          ${a.error && html`<div>${sentence(a.error.message)}</div><div class="remedy">${sentence(a.error.remedy)}</div>`}</td>
        <td class="num">${a.kind === 'rtstruct' ? html`<a class="button" href=${`#/new/${a.sop_instance_uid}`}>Plan…</a>` : html`<a class="button" href=${`#/check/${a.study_instance_uid}/${a.sop_instance_uid}`}>Check…</a>`}</td>
      </tr>`,
      )}</tbody></table></div>`;
  }
}

class ProtocolsPage extends Page {
  static subjects = ['protocol-id'];
  static css = `${PAGE_CSS}
    .split { display: grid; grid-template-columns: minmax(220px, 300px) minmax(0, 1fr); gap: 14px; align-items: start; }
    @media (max-width: 860px) { .split { grid-template-columns: minmax(0, 1fr); } }
    ul.list { margin: 0; padding: 0; list-style: none; } ul.list a { display: block; padding: 7px 10px; margin: 0 -6px; border-radius: 6px; color: var(--text); }
    ul.list a:hover { background: var(--surface-2); text-decoration: none; } ul.list a[aria-current="true"] { background: var(--info-bg); }
    .detail { display: grid; gap: 14px; } section { display: grid; gap: 7px; } select { max-width: 100%; }
    .what { display: flex; align-items: center; gap: 7px; }
  `;

  initial() {
    return { protocols: null, arrivals: null, uid: '', matches: null };
  }

  async start(scope) {
    const [protocols, arrivals] = await Promise.all([
      this.api.get('/protocols', { signal: scope.signal }),
      this.api.get('/arrivals', { params: { limit: 100 }, signal: scope.signal }),
    ]);
    this.set(scope, { protocols: protocols.items, problems: protocols.problems, arrivals: arrivals.items });
  }

  async #check(uid) {
    const { scope } = this;
    if (!scope) return;
    this.set(scope, { uid, matches: null, refused: null });
    if (!/^[0-9.]{3,64}$/.test(uid)) return;
    try {
      const matches = await this.api.get(`/structure-sets/${uid}/matches`, { signal: scope.signal });
      if (this.state.uid === uid) this.set(scope, { matches });
    } catch (e) {
      if (e.name !== 'AbortError' && this.state.uid === uid) this.set(scope, { refused: e });
    }
  }

  view() {
    const { protocols, problems, error } = this.state;
    if (error) return html`<h1>Protocols</h1><${Problem} error=${error} />`;
    if (!protocols) return html`<h1>Protocols</h1><div class="card"><${Bones} lines="8" /></div>`;
    const chosen = protocols.find((p) => p.id === this.getAttribute('protocol-id')) ?? protocols[0];
    return html`<h1>Protocols</h1>
      ${problems.length > 0 && html`<div class="stack">${problems.map((p) => html`<${Problem} error=${p} />`)}</div>`}
      <div class="card">${this.#matcher()}</div>
      ${
        !protocols.length
          ? html`<div class="card"><${Empty} title="No protocols">Put YAML files into the folder of protocols and restart Orthanc: without one nothing is planned by itself.<//></div>`
          : html`<div class="split"><nav class="card" aria-label="Protocols, in the order in which they are tried"><ul class="list">${protocols.map(
              (p) =>
                html`<li><a href=${`#/protocols/${p.id}`} aria-current=${String(p === chosen)}><b>${p.title}</b><div class="small muted">priority ${p.priority}${p.enabled ? '' : ' · disabled'}</div></a></li>`,
            )}</ul></nav><div class="card detail">${this.#detail(chosen)}</div></div>`
      }`;
  }

  #matcher() {
    const { arrivals, uid, matches, refused, protocols } = this.state;
    const title = (id) => protocols.find((p) => p.id === id)?.title ?? id;
    return html`<h2>Would this structure set be planned?</h2>
      <div class="row"><label class="vh" for="known">Structure set</label><select id="known" onChange=${(e) => this.#check(e.target.value)}>
          <option value="">Choose one that arrived…</option>${arrivals.map((a) => html`<option value=${a.sop_instance_uid} selected=${a.sop_instance_uid === uid}>${a.patient_id || 'no patient id'} · ${when(a.first_seen_at)} · ${shortUid(a.sop_instance_uid)}</option>`)}</select>
        <span class="muted">or</span><label class="vh" for="uid">SOP Instance UID</label><input id="uid" class="mono" style="width:min(440px,100%)" placeholder="SOP Instance UID of an RTSTRUCT in Orthanc" value=${uid} onChange=${(e) => this.#check(e.target.value.trim())} /></div>
      ${refused && html`<div style="padding-top:10px"><${Problem} error=${refused} /></div>`}
      ${uid && !matches && !refused && html`<${Bones} lines="3" />`}
      ${
        matches &&
        html`<div style="padding-top:10px;display:grid;gap:10px">
        ${
          matches.problem
            ? html`<${Problem} error=${matches.problem} />`
            : matches.chosen
              ? html`<div class="status good"><${Icon} name="check" />It would be planned with ${title(matches.chosen)}.</div>`
              : html`<div class="status warn"><${Icon} name="alert" />No protocol would start by itself.</div>`
        }
        <div class="scroll"><table><thead><tr><th scope="col">Protocol</th><th scope="col">Fits</th><th scope="col">Why not, or which structures it takes</th></tr></thead><tbody>${matches.protocols.map(
          (m) => html`<tr><td>${title(m.protocol_id)}${m.enabled ? '' : html` <span class="tag">disabled</span>`}</td>
            <td><span class="status ${m.fits ? 'good' : 'muted'}"><${Icon} name=${m.fits ? 'check' : 'dash'} />${m.fits ? 'Yes' : 'No'}</span></td>
            <td>${m.reason ?? m.structures.map((s) => (s.name === s.roi_name ? s.name : `${s.name} = ${s.roi_name}`)).join(', ')}${m.missing.length > 0 && html`<div class="small muted">Without: ${m.missing.join(', ')}</div>`}</td></tr>`,
        )}</tbody></table></div></div>`
      }`;
  }

  #detail(p) {
    const list = (items, map) => html`<div class="row" style="gap:5px">${items.map((x) => html`<span class="tag">${map(x)}</span>`)}</div>`;
    const m = p.match;
    const conditions = [
      m.structures.length && ['Structures', list(m.structures, (x) => x)],
      m.study_description && ['Study description', html`<code>${m.study_description}</code>`],
      m.series_description && ['Series description', html`<code>${m.series_description}</code>`],
      m.structure_set_label && ['Structure set label', html`<code>${m.structure_set_label}</code>`],
      m.calling_ae.length && ['Calling AE', list(m.calling_ae, (x) => x)],
    ].filter(Boolean);
    return html`<div><div class="head"><h1 style="font-size:16px">${p.title}</h1>${p.enabled ? '' : html`<span class="tag">disabled</span>`}</div><p class="muted" style="margin:4px 0 0;max-width:75ch">${p.description}</p></div>
      <dl class="facts"><dt>Prescription</dt><dd>${prescription(p.prescription)}</dd><dt>Workflow</dt><dd>${p.workflow}</dd><dt>Priority</dt><dd>${p.priority}</dd>
        <dt>Beams</dt><dd>${p.beams.length ? p.beams.map((b) => `${b.gantry_deg}°${b.couch_deg ? ` couch ${b.couch_deg}°` : ''}`).join(', ') : p.beam_count ? `${p.beam_count}, evenly spaced` : 'the workflow’s default'}</dd>
        ${conditions.map(([k, v]) => html`<dt>${k}</dt><dd>${v}</dd>`)}
        <dt>File</dt><dd class="mono">${p.file} <span class="muted" title=${p.sha256}>${p.sha256.slice(0, 12)}</span></dd></dl>
      ${
        p.objectives.length > 0 &&
        html`<section><h2>Objectives</h2><div class="scroll"><table><thead><tr><th scope="col">Structure</th><th scope="col">Objective</th><th scope="col" class="num">Dose, Gy</th><th scope="col" class="num">Volume, %</th><th scope="col" class="num">Weight</th></tr></thead>
        <tbody>${p.objectives.map((o) => html`<tr><td><div class="what"><span class="swatch" style=${{ background: structureColor(o.structure) }}></span>${o.structure}</div></td><td>${OBJECTIVES[o.metric] ?? o.metric}</td><td class="num">${o.dose_gy}</td><td class="num">${o.volume_percent ?? ''}</td><td class="num">${o.weight}</td></tr>`)}</tbody></table></div></section>`
      }
      ${p.goals.length > 0 && html`<section><h2>Goals</h2><div>${p.goals.map((g) => html`<div>${g}</div>`)}</div></section>`}
      ${Object.keys(p.calculation).length > 0 && html`<section><h2>Calculation</h2><dl class="facts">${Object.entries(p.calculation).map(([k, v]) => html`<dt>${words(k)}</dt><dd>${typeof v === 'object' ? JSON.stringify(v) : String(v)}</dd>`)}</dl></section>`}`;
  }
}

class WorkersPage extends Page {
  static css = `${PAGE_CSS} .cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 14px; } .figures { display: flex; gap: 30px; flex-wrap: wrap; } .figures b { display: block; font-size: 24px; font-weight: 600; line-height: 1.2; } .stack { display: grid; gap: 8px; }`;

  initial() {
    return { info: null, workers: null, queue: null };
  }

  async start(scope) {
    const look = async () => {
      if (document.visibilityState !== 'visible') return;
      const signal = scope.signal;
      const [info, workers, queue] = await Promise.allSettled([
        this.api.get('/info', { signal }),
        this.api.get('/workers', { signal }),
        this.api.get('/plans', { params: { state: 'waiting,queued,running', sort: 'created_at', limit: 50 }, signal }),
      ]);
      const value = (r, before) => (r.status === 'fulfilled' ? r.value : before);
      this.set(scope, {
        info: value(info, this.state.info),
        workers: value(workers, null)?.items ?? [],
        queue: value(queue, null)?.items ?? null,
        error: info.status === 'rejected' && info.reason.name !== 'AbortError' ? info.reason : null,
      });
    };
    await look();
    const timer = setInterval(look, LOOK_MS);
    scope.onEnd(() => clearInterval(timer));
  }

  view() {
    const { info, workers, queue, error } = this.state;
    if (error) return html`<h1>Workers and queue</h1><${Problem} error=${error} />`;
    if (!info) return html`<h1>Workers and queue</h1><div class="card"><${Bones} lines="6" /></div>`;
    return html`<h1>Workers and queue</h1>
      ${info.problems.length > 0 && html`<div class="stack">${info.problems.map((p) => html`<${Problem} error=${p} />`)}</div>`}
      <div class="cards">
        <div class="card"><h2>Queue</h2><div class="figures">${[
          ['running', info.queue?.running],
          ['queued', info.queue?.queued],
          ['waiting for images', info.queue?.waiting],
        ].map(([k, v]) => html`<div><b>${v ?? '–'}</b><span class="muted">${k}</span></div>`)}</div></div>
        <div class="card"><h2>Engines</h2>${Object.keys(info.engines).length ? html`<dl class="facts">${Object.entries(info.engines).map(([name, e]) => html`<dt>${name}</dt><dd><span class="status ${e.available ? 'good' : 'bad'}"><${Icon} name=${e.available ? 'check' : 'cross'} />${e.available ? `runs on ${e.workers} ${e.workers === 1 ? 'worker' : 'workers'}` : 'does not run'}</span>${!e.available && e.reason && html`<div class="small muted">${e.reason}</div>`}${e.version && html`<div class="small muted">${e.version}</div>`}</dd>`)}</dl>` : html`<p class="muted">No worker tells of one.</p>`}</div>
        <div class="card"><h2>Service</h2><dl class="facts"><dt>Radiarch</dt><dd>${info.version}</dd>${info.orthanc && html`<dt>Orthanc</dt><dd>${info.orthanc.version}, ${info.orthanc.name}</dd><dt>DICOM</dt><dd>${info.orthanc.dicom_aet}, port ${info.orthanc.dicom_port}</dd>`}<dt>Protocols</dt><dd><a href="#/protocols">${info.protocols}</a></dd>${info.known_hosts?.length > 0 && html`<dt>Asked by</dt><dd>${info.known_hosts.join(', ')}</dd>`}</dl></div>
      </div>
      <div class="card"><h2>Workers</h2>${
        !workers?.length
          ? html`<${Empty} title="No worker gives a sign of life">Plans stay queued until one does; nothing is lost.<//>`
          : html`<div class="scroll"><table><thead><tr><th scope="col">Name</th><th scope="col">Machine</th><th scope="col">Version</th><th scope="col">State</th><th scope="col">Plan</th><th scope="col">Engines</th><th scope="col" class="num">Running for</th><th scope="col" class="num">Last seen</th></tr></thead>
        <tbody>${workers.map(
          (
            w,
          ) => html`<tr key=${w.name}><td>${w.name}</td><td>${w.host} <span class="muted">${w.pid}</span></td><td>${w.version}</td><td><span class="status"><${Icon} name=${w.state === 'busy' ? 'play' : 'check'} />${words(w.state)}</span></td>
          <td>${w.plan_id ? html`<a href=${`#/plans/${w.plan_id}`}>${shortId(w.plan_id)}</a>` : '–'}</td><td>${Object.entries(w.engines)
            .map(([n, e]) => `${n}${e.available ? '' : ' (does not run)'}`)
            .join(', ')}</td>
          <td class="num">${seconds((Date.now() - Date.parse(w.started_at)) / 1000)}</td><td class="num" title=${exactly(w.heartbeat_at)}>${seconds(Math.max(0, (Date.now() - Date.parse(w.heartbeat_at)) / 1000))} ago</td></tr>`,
        )}</tbody></table></div>`
      }</div>
      <div class="card"><h2>Under way</h2>${
        !queue
          ? html`<${Bones} lines="2" />`
          : !queue.length
            ? html`<${Empty} title="Nothing is under way">What arrives is planned as it comes.<//>`
            : html`<div class="scroll"><table><thead><tr><th scope="col">Plan</th><th scope="col">Patient</th><th scope="col">State</th><th scope="col" class="num">Progress</th><th scope="col" class="num">Since</th></tr></thead>
        <tbody>${queue.map((p) => html`<tr key=${p.id}><td><a href=${`#/plans/${p.id}`}>${p.protocol_id ?? p.workflow_id}</a> <span class="muted">${shortId(p.id)}</span></td><td><${Who} of=${p} /></td><td><${State} state=${p.state} /></td><td class="num">${p.state === 'running' ? `${Math.round(100 * p.progress)} %` : queuePlace(p.queue_position)}</td><td class="num" title=${exactly(p.created_at)}>${when(p.created_at)}</td></tr>`)}</tbody></table></div>`
      }</div>`;
  }
}

define('radiarch-plans-page', PlansPage);
define('radiarch-compare-page', ComparePage);
define('radiarch-new-page', NewPage);
define('radiarch-check-page', CheckPage);
define('radiarch-missing-page', MissingPage);
define('radiarch-arrivals-page', ArrivalsPage);
define('radiarch-protocols-page', ProtocolsPage);
define('radiarch-workers-page', WorkersPage);
