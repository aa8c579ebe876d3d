// Studies in Orthanc: search, and what is in one and what happened to it; from there to the viewer, a plan, a comparison.
import { html } from '../elements/core/dom.js';
import { RadiarchElement, define } from '../elements/core/element.js';
import { exactly, personName, shortId, shortUid, when, words } from '../elements/core/format.js';
import { Bones, Empty, Icon, Problem, State, Who } from '../elements/core/parts.js';
import { PAGE_CSS } from './pages.js';

const LIMIT = 50;
const TYPING_MS = 250;
const HAS = [
  ['structures', 'Structures'],
  ['plan', 'Plan'],
  ['dose', 'Dose'],
];
const EITHER = [
  ['', 'any'],
  ['true', 'with'],
  ['false', 'without'],
];
/** What can be drawn small. */
const DRAWN = new Set(['CT', 'MR', 'PT', 'NM', 'CR', 'DX', 'US', 'XA', 'RTIMAGE', 'RTDOSE']);
const KINDS = { rtstruct: 'Structure set', rtplan: 'Plan', rtdose: 'Dose' };

const studyUrl = (study) => `#/record/${study.study_instance_uid}/${encodeURIComponent(study.patient_id)}`;
const viewerUrl = (uid) => `/ohif/viewer?StudyInstanceUIDs=${encodeURIComponent(uid)}`;

class StudiesPage extends RadiarchElement {
  static css = `${PAGE_CSS}
    .filters { padding-bottom: 10px; }
    td.what { min-width: 12em; }
    td.who { max-width: 16em; min-width: 9em; }
  `;
  #typing = 0;
  #asked = 0;

  initial() {
    return { items: null, next: null, cursors: [null], q: '', from: '', to: '', modality: '', structures: '', plan: '', dose: '' };
  }

  ended() {
    clearTimeout(this.#typing);
  }

  async start(scope) {
    await this.#read(scope);
  }

  async #read(scope) {
    const { q, from, to, modality, structures, plan, dose, cursors } = this.state;
    const asked = (this.#asked += 1);
    const params = { q: q.trim(), date_from: from, date_to: to, modality, structures, plan, dose, cursor: cursors.at(-1), limit: LIMIT };
    try {
      const page = await this.api.get('/studies', { params, signal: scope.signal });
      if (asked === this.#asked) this.set(scope, { items: page.items, next: page.next, error: null });
    } catch (e) {
      if (e.name !== 'AbortError' && asked === this.#asked) this.set(scope, { error: e });
    }
  }

  #ask(patch) {
    this.set(this.scope, { cursors: [null], items: null, ...patch });
    this.#read(this.scope);
  }

  #type(patch) {
    this.set(this.scope, patch);
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#ask({}), TYPING_MS);
  }

  view() {
    const { items, error, next, cursors } = this.state;
    return html`<h1>Studies</h1>
      <div class="card">${this.#filters()}
        ${
          error
            ? html`<${Problem} error=${error} />`
            : !items
              ? html`<${Bones} lines="8" />`
              : !items.length
                ? html`<${Empty} title=${this.#filtered ? 'No study fits' : 'No studies yet'}>${this.#filtered ? '' : 'What Orthanc stores is listed here after a second or two.'}<//>`
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

  get #filtered() {
    const { q, from, to, modality, structures, plan, dose } = this.state;
    return q || from || to || modality || structures || plan || dose;
  }

  #filters() {
    const { q, from, to, modality } = this.state;
    return html`<div class="row filters" role="search">
      <label><span class="vh">Search studies</span><input type="search" style="width:min(260px,100%)" placeholder="Name, id, description, UID…" value=${q} onInput=${(e) => this.#type({ q: e.target.value })} /></label>
      <label>From <input type="date" value=${from} max=${to || null} onChange=${(e) => this.#ask({ from: e.target.value })} /></label>
      <label>to <input type="date" value=${to} min=${from || null} onChange=${(e) => this.#ask({ to: e.target.value })} /></label>
      <label>Modality <input style="width:6em" maxlength="16" value=${modality} onInput=${(e) => this.#type({ modality: e.target.value.trim() })} /></label>
      ${HAS.map(
        ([name, title]) => html`<label>${title} <select value=${this.state[name]} onChange=${(e) => this.#ask({ [name]: e.target.value })}>
        ${EITHER.map(([value, text]) => html`<option value=${value} selected=${value === this.state[name]}>${text}</option>`)}</select></label>`,
      )}</div>`;
  }

  #table(items) {
    return html`<div class="scroll"><table><caption class="vh">Studies</caption>
      <thead><tr><th scope="col">Date</th><th scope="col">Patient</th><th scope="col">Study</th><th scope="col">Modalities</th><th scope="col" class="num">Series</th><th scope="col" class="num">Viewer</th></tr></thead>
      <tbody>${items.map(
        (s) => html`<tr key=${s.orthanc_id}>
        <td class="nowrap">${s.study_date ?? '–'}</td>
        <td class="who"><${Who} of=${s} /></td>
        <td class="what"><a href=${studyUrl(s)}><bdi>${s.description || shortUid(s.study_instance_uid)}</bdi></a></td>
        <td>${s.modalities.join(' ')}</td>
        <td class="num">${s.series_count}</td>
        <td class="num"><a class="button" href=${viewerUrl(s.study_instance_uid)}>OHIF</a></td></tr>`,
      )}</tbody></table></div>`;
  }
}

class StudyPage extends RadiarchElement {
  static subjects = ['study-uid', 'patient-id'];
  static css = `${PAGE_CSS}
    img.small { width: 56px; height: 56px; object-fit: contain; background: #000; border-radius: 4px; display: block; }
    td.pic { width: 64px; }
    table.series td { vertical-align: middle; }
    ol.line { margin: 0; padding: 0; list-style: none; display: grid; gap: 8px; }
    ol.line > li { display: grid; grid-template-columns: 9.5em minmax(0, 1fr); gap: 2px 12px; overflow-wrap: anywhere; }
    @media (max-width: 600px) { ol.line > li { grid-template-columns: minmax(0, 1fr); } }
  `;

  initial() {
    return { study: null };
  }

  async start(scope) {
    const params = { patient_id: this.getAttribute('patient-id') };
    const study = await this.api.get(`/studies/${this.getAttribute('study-uid')}`, { params, signal: scope.signal });
    this.set(scope, { study });
  }

  view() {
    const { study, error } = this.state;
    if (error) return html`<h1>Study</h1><${Problem} error=${error} />`;
    if (!study) return html`<h1>Study</h1><div class="card"><${Bones} lines="8" /></div>`;
    const uid = study.study_instance_uid;
    return html`<div class="head"><h1><bdi>${study.description || 'Study'}</bdi></h1><span class="muted">${study.study_date ?? 'no date'}</span><span class="grow"></span>
        <a class="button" href=${viewerUrl(uid)}>Open in OHIF</a><a class="button primary" href=${`#/new/study/${uid}`}><${Icon} name="plus" /> New plan</a></div>
      <div class="card"><dl class="facts"><dt>Patient</dt><dd><bdi>${personName(study.patient_name) || '–'}</bdi></dd><dt>Patient ID</dt><dd><bdi>${study.patient_id || '–'}</bdi> <a href=${`#/patients/${encodeURIComponent(study.patient_id)}`}>all plans</a></dd>
        <dt>Born, sex</dt><dd>${study.patient_birth_date ?? '–'}, ${study.patient_sex ?? '–'}</dd><dt>Study UID</dt><dd class="mono" style="overflow-wrap:anywhere">${uid}</dd></dl></div>
      <div class="card"><h2>Plans and checks</h2><radiarch-runs theme=${this.getAttribute('theme')} patient-id=${study.patient_id || null} study-uid=${uid}></radiarch-runs></div>
      <div class="card flush"><h2>Structure sets, plans and doses</h2>${this.#objects(study)}</div>
      <div class="card flush"><h2>Series</h2>${this.#series(study)}</div>
      <div class="card"><h2>What happened</h2>${this.#line(study)}</div>`;
  }

  #objects(study) {
    if (!study.objects.length) return html`<${Empty} title="None" />`;
    return html`<div class="scroll"><table><caption class="vh">Structure sets, plans and doses</caption><thead><tr><th scope="col">Kind</th><th scope="col">Series</th><th scope="col">Made by</th><th scope="col">SOP Instance UID</th></tr></thead>
      <tbody>${study.objects.map(
        (o) => html`<tr key=${o.orthanc_id}><td class="nowrap">${KINDS[o.kind] ?? o.kind}</td><td><bdi>${o.series_description}</bdi></td>
        <td class="nowrap">${o.plan_id ? html`<a href=${`#/plans/${o.plan_id}`}>plan ${shortId(o.plan_id)}</a>` : 'another system'}</td>
        <td class="mono" title=${o.sop_instance_uid}>${shortUid(o.sop_instance_uid)}</td></tr>`,
      )}</tbody></table></div>`;
  }

  #series(study) {
    const owner = { patient_id: study.patient_id };
    return html`<div class="scroll"><table class="series"><caption class="vh">Series</caption><thead><tr><th><span class="vh">Picture</span></th><th scope="col">Modality</th><th scope="col">Description</th><th scope="col" class="num">Instances</th><th scope="col" class="num">Stored</th></tr></thead>
      <tbody>${study.series.map(
        (s) => html`<tr key=${s.orthanc_id}>
        <td class="pic">${DRAWN.has(s.modality) && html`<img class="small" loading="lazy" alt="" src=${this.api.url(`/series/${s.series_instance_uid}/thumbnail`, owner)} onError=${(e) => e.target.remove()} />`}</td>
        <td>${s.modality || '–'}</td><td><bdi>${s.description || shortUid(s.series_instance_uid)}</bdi></td><td class="num">${s.instance_count}</td>
        <td class="num" title=${exactly(s.stored_at)}>${s.stored_at ? when(s.stored_at) : '–'}</td></tr>`,
      )}</tbody></table></div>`;
  }

  #line(study) {
    return html`<ol class="line">${study.timeline.map(
      (t) => html`<li><time class="muted" datetime=${t.at} title=${exactly(t.at)}>${when(t.at)}</time>
      <span>${t.kind === 'stored' ? html`Stored: <bdi>${t.text}</bdi>` : t.kind === 'plan' ? html`<${State} state=${t.state} short /> <a href=${`#/plans/${t.plan_id}`}><bdi>${t.text}</bdi> ${shortId(t.plan_id)}</a>` : html`<b>${words(t.decision ?? '')}</b>${t.by ? html` by <bdi>${t.by}</bdi>` : ''} <a href=${`#/plans/${t.plan_id}`}><bdi>${t.text}</bdi></a>`}</span></li>`,
    )}</ol>`;
  }
}

define('radiarch-studies-page', StudiesPage);
define('radiarch-study-page', StudyPage);
