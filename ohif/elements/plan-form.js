// <radiarch-plan-form>: ask for a plan. The fields follow from the workflow's JSON schema; what is wrong is said as one types.
import { api as apiOf, uiUrl } from './core/api.js';
import { html } from './core/dom.js';
import { RadiarchElement, define } from './core/element.js';
import { Field, FieldError, NumberInput, errorAt } from './core/fields.js';
import { DEFAULT_LABEL, OBJECTIVES, personName, shortId, shortUid, when } from './core/format.js';
import { parseGoal } from './core/goal.js';
import { randomKey } from './core/key.js';
import { live } from './core/live.js';
import { isTarget, learn, structureColor } from './core/palette.js';
import { Bones, Empty, Note, Problem } from './core/parts.js';
import { blank, check, deref, label, unwrap } from './core/schema.js';

const OWN_PLACE = new Set(['beams', 'beam_count', 'objectives']);
const DVH_METRICS = /^DVH/;
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** What was entered, by what it is for: kept while another panel is in this one's place. */
const DRAFTS = new Map();
const DRAFTS_KEPT = 20;

class PlanForm extends RadiarchElement {
  static subjects = ['rtstruct-uid', 'study-uid', 'plan-id'];
  static css = `
    form { display: grid; gap: 18px; grid-template-columns: minmax(0, 1fr); max-width: 980px; }
    section { display: grid; gap: 8px; min-width: 0; }
    section > h3 { padding-bottom: 4px; border-bottom: 1px solid var(--line); }
    .fields { display: flex; flex-wrap: wrap; gap: 10px 16px; align-items: flex-start; min-width: 0; }
    .field { display: grid; gap: 3px; align-content: start; min-width: 0; max-width: 100%; grid-template-columns: minmax(0, auto); }
    details > p { max-width: 100%; overflow-wrap: anywhere; }
    .field > label, .field > span:first-child { font-size: 12px; color: var(--text-2); }
    .field.wide { flex: 1 1 260px; max-width: 420px; } .field.wide select { width: 100%; }
    fieldset { border: 1px solid var(--line); border-radius: 6px; padding: 8px 10px; margin: 0; min-width: 0; display: grid; gap: 8px; flex: 1 1 100%; justify-items: start; } fieldset > * { max-width: 100%; }
    legend { padding: 0 4px; font-size: 12px; color: var(--text-2); }
    .line { display: grid; gap: 6px; align-items: start; grid-template-columns: minmax(110px, 1.2fr) minmax(128px, 1.2fr) 76px 68px 68px 126px; }
    .line.head { font-size: 12px; color: var(--text-2); align-items: end; }
    .line > * { min-width: 0; } .line select, .line input { width: 100% !important; }
    .line > .wrong { grid-column: 1 / -1; }
    .line > .extra { grid-column: 1 / -1; padding: 0 0 8px 12px; }
    .line > .ends { display: flex; } .line .extra select { width: auto !important; } .line .extra input[type=checkbox] { width: auto !important; }
    .goal { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 4px 6px; max-width: 460px; }
    .goal .wrong { grid-column: 1 / -1; }
    .beam { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; }
    summary { cursor: pointer; font-weight: 600; padding: 2px 0; }
    details > .fields { padding-top: 10px; }
    .changed { color: var(--accent); font-weight: 700; }
    .foot { position: sticky; bottom: 0; padding: 10px 0; background: var(--surface); border-top: 1px solid var(--line); z-index: 1; }
    .cap { display: none; font-size: 11px; color: var(--text-2); }
    .narrow .line { display: flex; flex-wrap: wrap; align-items: end; padding-bottom: 8px; border-bottom: 1px solid var(--line); }
    .narrow .line.head, .narrow .line > .off { display: none; }
    .narrow .line > select { flex: 1 1 44%; }
    .narrow .line > .cell { flex: 1 1 56px; } .narrow .cap { display: block; }
    .narrow .line > .wrong, .narrow .line > .extra { flex: 1 0 100%; }
    .narrow .line .button { padding: 3px 4px; }
    .narrow .beam { gap: 6px; flex-wrap: nowrap; } .narrow .beam input { width: 52px !important; } .narrow .beam .button { padding: 3px 2px; }
    .narrow .goal { max-width: none; }
  `;
  #size = new ResizeObserver(() => this.place.querySelector('.root')?.classList.toggle('narrow', this.clientWidth < 560));
  /** The last request and its key. @type {{text: string, key: string} | null} */
  #key = null;

  initial() {
    return {
      uid: null,
      choices: null,
      set: null,
      matches: null,
      workflows: null,
      protocols: null,
      draft: null,
      base: null,
      refused: null,
      sending: false,
      done: null,
      tried: false,
      opened: {},
    };
  }

  ended() {
    this.#size.disconnect();
  }

  async start(scope) {
    this.#size.observe(this);
    const [workflows, protocols] = await Promise.all(
      ['/workflows', '/protocols'].map(async (path) => (await this.api.get(path, { signal: scope.signal })).items),
    );
    this.set(scope, {
      workflows: workflows.filter((w) => (w.starts_from ?? 'rtstruct') === 'rtstruct'),
      protocols: protocols.filter((p) => p.prescription),
    });
    const planId = this.getAttribute('plan-id');
    if (planId) {
      const plan = await this.api.get(`/plans/${planId}`, { signal: scope.signal });
      await this.#choose(scope, plan.rtstruct_sop_instance_uid, plan);
      return;
    }
    let uid = this.getAttribute('rtstruct-uid');
    if (!uid) {
      const study = this.getAttribute('study-uid');
      const choices = study
        ? (await this.api.get('/structure-sets', { params: { study_uid: study }, signal: scope.signal })).items.map((s) => ({
            uid: s.sop_instance_uid,
            text: [s.series_description || 'Structure set', shortUid(s.sop_instance_uid)].join(' · '),
          }))
        : (await this.api.get('/arrivals', { params: { limit: 200 }, signal: scope.signal })).items.map((a) => ({
            uid: a.sop_instance_uid,
            text: `${[personName(a.patient_name), a.patient_id || 'no patient id'].filter(Boolean).join(' · ')} · ${when(a.first_seen_at)} · ${shortUid(a.sop_instance_uid)}`,
          }));
      this.set(scope, { choices });
      if (choices.length !== 1) return;
      uid = choices[0].uid;
    }
    await this.#choose(scope, uid);
  }

  /** Another structure set: all that was entered belongs to the last one. */
  async #choose(scope, uid, plan = null) {
    this.set(scope, { uid, set: null, matches: null, draft: null, base: null, error: null, refused: null, done: null });
    if (!uid) return;
    const [set, matches] = await Promise.all([
      this.api.get(`/structure-sets/${uid}`, { signal: scope.signal }),
      this.api.get(`/structure-sets/${uid}/matches`, { signal: scope.signal }),
    ]);
    learn(uid, set.structures);
    if (this.state.uid !== uid || !this.set(scope, { set, matches })) return;
    const kept = DRAFTS.get(this.#place);
    if (kept && this.#workflow(kept.draft.workflowId)) {
      this.set(scope, structuredClone(kept));
      return;
    }
    if (plan) this.#begin(this.#fromPlan(plan));
    else if (matches.chosen) this.#begin(this.#fromProtocol(matches.chosen));
    else if (this.state.workflows.length) this.#begin(this.#fromWorkflow(this.state.workflows.at(-1).id));
  }

  #begin(draft) {
    this.#key = null;
    this.set(this.scope, { draft, base: structuredClone(draft), refused: null, tried: false });
    this.#keep();
  }

  get #place() {
    return [this.getAttribute('api') ?? '', this.state.uid, this.getAttribute('plan-id') ?? ''].join(' ');
  }

  #keep() {
    const { draft, base } = this.state;
    DRAFTS.delete(this.#place);
    DRAFTS.set(this.#place, { draft, base });
    if (DRAFTS.size > DRAFTS_KEPT) DRAFTS.delete(DRAFTS.keys().next().value);
  }

  // -- where a draft starts -------------------------------------------------------------------------------------------

  #workflow(id) {
    return this.state.workflows.find((w) => w.id === id);
  }

  #parameters(workflowId, given = {}) {
    const workflow = this.#workflow(workflowId);
    const names = Object.keys(workflow?.parameters.properties ?? {}).filter((n) => !OWN_PLACE.has(n));
    return Object.fromEntries(
      names.map((n) => [
        n,
        structuredClone(
          n in given
            ? given[n]
            : n in workflow.defaults
              ? workflow.defaults[n]
              : blank(workflow.parameters.properties[n], workflow.parameters),
        ),
      ]),
    );
  }

  #draft({ source, workflowId, prescription, given, goals, missing = [], title = '' }) {
    const properties = this.#workflow(workflowId)?.parameters.properties ?? {};
    const left = new Set(missing);
    const beams = (given.beams ?? []).map((b) => ({ couch_deg: 0, name: null, ...b }));
    return {
      source,
      workflowId,
      prescription,
      beamMode: beams.length ? 'list' : 'count',
      beamCount: given.beam_count ?? (beams.length || 2),
      beams,
      objectives: 'objectives' in properties ? (given.objectives ?? []).filter((o) => !left.has(o.structure)) : null,
      goals: goals.filter((g) => !left.has(parseGoal(g).structure)),
      parameters: this.#parameters(workflowId, given),
      label: title,
      missing,
      structures: {},
    };
  }

  #fromProtocol(id) {
    const p = this.state.protocols.find((x) => x.id === id);
    const match = this.state.matches.protocols.find((m) => m.protocol_id === id);
    const target = match?.structures.find((s) => s.name === p.prescription.target)
      ? p.prescription.target
      : this.#target(p.prescription.target);
    const given = { ...p.calculation, beams: p.beams, beam_count: p.beam_count, objectives: p.objectives };
    return this.#draft({
      source: { kind: 'protocol', id },
      workflowId: p.workflow,
      prescription: { ...p.prescription, target },
      given: JSON.parse(JSON.stringify(given)),
      goals: [...p.goals],
      missing: match?.fits ? match.missing.filter((m) => m !== 'BODY') : [],
    });
  }

  #fromWorkflow(id) {
    const target = this.#target('PTV');
    const needsObjectives = 'objectives' in (this.#workflow(id)?.parameters.properties ?? {});
    const dose = this.state.draft?.prescription.dose_gy ?? 60;
    return this.#draft({
      source: { kind: 'workflow', id },
      workflowId: id,
      prescription: { target, dose_gy: dose, fractions: this.state.draft?.prescription.fractions ?? 30 },
      given: {
        objectives:
          needsObjectives && target ? [{ structure: target, metric: 'DUniform', dose_gy: dose, volume_percent: null, weight: 100 }] : [],
      },
      goals: target ? [`${target}: D95% ≥ 95%`] : [],
    });
  }

  #fromPlan(plan) {
    return this.#draft({
      source: { kind: 'plan', id: plan.id, protocolId: plan.protocol_id, label: plan.label, structures: plan.structures },
      workflowId: plan.workflow_id,
      prescription: { target: plan.prescription.target, dose_gy: plan.prescription.dose_gy, fractions: plan.prescription.fractions },
      given: JSON.parse(JSON.stringify(plan.parameters)),
      goals: plan.goals.map((g) => g.text),
      missing: plan.missing_structures,
    });
  }

  /** The target wanted, else the only one that looks like one: between several a person chooses. */
  #target(wanted) {
    const all = this.state.set.structures;
    const found = [
      all.filter((s) => s.name === wanted),
      all.filter((s) => s.interpreted_type === 'PTV'),
      all.filter((s) => isTarget(s.name)),
    ].find((s) => s.length);
    return found?.length === 1 || found?.[0].name === wanted ? found[0].name : '';
  }

  /** Which ROIs the protocol's names stand for. @returns {Array<{name: string, roi_number: number, roi_name: string}>} */
  get #meant() {
    const { matches, draft } = this.state;
    const found =
      draft.source.structures ??
      matches.protocols.find((m) => m.protocol_id === (draft.source.protocolId ?? draft.source.id))?.structures ??
      [];
    const chosen = Object.entries(draft.structures ?? {}).map(([name, number]) => ({
      name,
      roi_number: number,
      roi_name: this.state.set.structures.find((s) => s.number === number)?.name ?? '',
    }));
    return [...chosen, ...found.filter((s) => !chosen.some((c) => c.name === s.name))];
  }

  /** Names that objectives and goals may use: the ROIs', and those that the protocol found ROIs for. */
  get #names() {
    const { set, draft } = this.state;
    const found = this.#meant;
    return [
      ...new Set([
        ...set.structures.map((s) => s.name).filter(Boolean),
        ...found.map((s) => s.name),
        ...Object.keys(draft.parameters.derived ?? {}).filter(Boolean),
        ...Object.keys(draft.structures ?? {}),
        'BODY',
      ]),
    ];
  }

  // -- what is wrong --------------------------------------------------------------------------------------------------

  get #errors() {
    const { draft, refused } = this.state;
    const schema = this.#workflow(draft.workflowId)?.parameters;
    if (!schema) return [{ path: ['workflow'], message: `the workflow ${draft.workflowId} is not offered any more` }];
    const errors = [];
    const p = draft.prescription;
    if (!p.target) errors.push({ path: ['prescription', 'target'], message: 'choose the target' });
    if (!(p.dose_gy > 0 && p.dose_gy <= 120)) errors.push({ path: ['prescription', 'dose_gy'], message: 'more than 0, up to 120 Gy' });
    if (!(Number.isInteger(p.fractions) && p.fractions >= 1 && p.fractions <= 60))
      errors.push({ path: ['prescription', 'fractions'], message: 'a whole number, 1 to 60' });
    const objectives = draft.objectives?.map(bare);
    const beams = draft.beamMode === 'list' ? { beams: draft.beams } : { beam_count: draft.beamCount };
    if (draft.beamMode === 'list' && !draft.beams.length) errors.push({ path: ['beams'], message: 'at least one beam is needed' });
    errors.push(
      ...check({ ...draft.parameters, ...('beams' in schema.properties ? beams : {}), ...(objectives ? { objectives } : {}) }, schema),
    );
    const names = new Set(this.#names);
    draft.objectives?.forEach((o, i) => {
      if (DVH_METRICS.test(o.metric) && !(o.volume_percent > 0))
        errors.push({ path: ['objectives', i, 'volume_percent'], message: `${o.metric} needs a volume` });
      if (o.structure && !names.has(o.structure))
        errors.push({ path: ['objectives', i, 'structure'], message: 'not in this structure set' });
    });
    draft.goals.forEach((g, i) => {
      const found = parseGoal(g);
      if (found.error) errors.push({ path: ['goals', i], message: found.error });
      else if (!names.has(found.structure)) errors.push({ path: ['goals', i], message: `${found.structure} is not in this structure set` });
    });
    if (draft.label && !/^[ -~]{1,16}$/.test(draft.label))
      errors.push({ path: ['label'], message: 'at most 16 plain letters, digits and signs' });
    for (const e of refused?.details?.errors ?? []) {
      const path = String(e.field)
        .split('.')
        .map((x) => (/^\d+$/.test(x) ? Number(x) : x));
      errors.push({ path: path[0] === 'parameters' ? path.slice(1) : path, message: e.message });
    }
    return errors;
  }

  // -- changing -------------------------------------------------------------------------------------------------------

  #change(patch) {
    this.set(this.scope, { draft: { ...this.state.draft, ...patch }, refused: null, done: null });
    this.#keep();
  }

  #changeParameter = (path, value) => {
    const parameters = structuredClone(this.state.draft.parameters);
    let at = parameters;
    for (const key of path.slice(0, -1)) at = at[key];
    at[path.at(-1)] = value;
    this.#change({ parameters });
  };

  #changeTarget(target) {
    const { draft } = this.state;
    const before = draft.prescription.target;
    const goals = draft.goals.map((g) => (parseGoal(g).structure === before && before ? g.replace(/^[^:]*/, target) : g));
    const objectives = draft.objectives?.map((o) => (o.structure === before && before ? { ...o, structure: target } : o)) ?? null;
    this.#change({ prescription: { ...draft.prescription, target }, goals, objectives });
  }

  /** The protocol's name stands for another ROI; null: for the one that is found by itself, if there is one. */
  #changeStructure(name, number) {
    const { draft, protocols } = this.state;
    const { [name]: _, ...structures } = draft.structures;
    if (number !== null) structures[name] = number;
    const patch = { structures };
    if (number !== null && draft.missing.includes(name)) {
      // what was left out for want of it
      const p = protocols.find((x) => x.id === draft.source.id);
      patch.missing = draft.missing.filter((m) => m !== name);
      if (draft.objectives)
        patch.objectives = [...draft.objectives, ...p.objectives.filter((o) => o.structure === name).map((o) => structuredClone(o))];
      patch.goals = [...draft.goals, ...p.goals.filter((g) => parseGoal(g).structure === name)];
    }
    this.#change(patch);
    const wanted = protocols.find((x) => x.id === draft.source.id)?.prescription.target;
    if (number !== null && name === wanted && !draft.prescription.target) this.#changeTarget(name);
  }

  #changeObjective(i, patch) {
    this.#change({ objectives: this.state.draft.objectives.map((o, k) => (k === i ? { ...o, ...patch } : o)) });
  }

  // -- sending --------------------------------------------------------------------------------------------------------

  #request() {
    const { draft, base, uid } = this.state;
    const child = draft.source.kind === 'plan';
    const changed = (name) => draft.source.kind === 'workflow' || !same(draft[name], base[name]);
    const defaults = draft.source.kind === 'workflow' ? this.#parameters(draft.workflowId) : base.parameters;
    const parameters = Object.fromEntries(Object.entries(draft.parameters).filter(([k, v]) => !same(v, defaults[k])));
    const objectives = draft.objectives?.map(bare);
    const beamsChanged = ['beamMode', 'beamCount', 'beams'].some(changed);
    const beams = draft.beams.map((b) => ({ ...b, name: b.name || null }));
    const body = { prescription: draft.prescription };
    if (!child && Object.keys(draft.structures).length) body.structures = draft.structures;
    if (changed('goals')) body.goals = draft.goals;
    if (draft.label) body.label = draft.label;
    if (child) {
      if (beamsChanged)
        Object.assign(parameters, draft.beamMode === 'list' ? { beams, beam_count: null } : { beam_count: draft.beamCount, beams: [] });
      if (Object.keys(parameters).length) body.parameters = parameters;
      if (objectives && changed('objectives')) body.objectives = objectives;
      if (same(draft.prescription, base.prescription)) delete body.prescription;
      return [`/plans/${draft.source.id}/reoptimize`, body];
    }
    if (beamsChanged) Object.assign(body, draft.beamMode === 'list' ? { beams } : { beam_count: draft.beamCount });
    if (objectives && changed('objectives')) body.objectives = objectives;
    if (Object.keys(parameters).length) body.parameters = parameters;
    body.rtstruct_sop_instance_uid = uid;
    body[`${draft.source.kind}_id`] = draft.source.id;
    return ['/plans', body];
  }

  async #submit(event) {
    event.preventDefault();
    const scope = this.scope;
    this.set(scope, { tried: true });
    if (this.#errors.length || this.state.sending) {
      queueMicrotask(() => /** @type {HTMLElement | null} */ (this.place.querySelector('[aria-invalid="true"]'))?.focus());
      return;
    }
    const [path, body] = this.#request();
    const text = `${path} ${JSON.stringify(body)}`;
    // the same request again, after a lost answer, makes no second plan
    const sent = this.#key?.text === text ? this.#key : { text, key: randomKey() };
    this.#key = sent;
    this.set(scope, { sending: true, refused: null, done: null });
    try {
      const plan = await apiOf(this.getAttribute('api')).post(path, body, { headers: { 'Idempotency-Key': sent.key } });
      this.#key = null;
      live(this.api).hurry();
      if (!this.set(scope, { sending: false, done: plan, tried: false })) return;
      this.tell('radiarch-planned', { planId: plan.id });
    } catch (e) {
      this.set(scope, { sending: false, refused: e });
    }
  }

  // -- showing --------------------------------------------------------------------------------------------------------

  view() {
    const { error, workflows, uid, set, draft, choices } = this.state;
    if (error) return html`<${Problem} error=${error} />`;
    if (!workflows) return html`<${Bones} lines="8" />`;
    const chooser = choices && this.#chooser();
    if (!uid) {
      if (!choices) return html`<${Bones} lines="8" />`;
      if (!choices.length)
        return html`<${Empty} title="No structure set">${this.getAttribute('study-uid') ? 'This study has none: contour it, or send the RTSTRUCT to Orthanc.' : 'None has arrived yet.'}<//>`;
      return html`<form>${chooser}</form>`;
    }
    if (!set) return html`${chooser}<${Bones} lines="8" />`;
    if (set.problem) return html`${chooser}<${Problem} error=${set.problem} />`;
    if (!draft) return html`${chooser}<${Empty} title="No workflow">The service offers none that starts from a structure set.<//>`;
    const errors = this.#errors;
    return html`<form novalidate onSubmit=${(e) => this.#submit(e)}>
      ${chooser}
      ${set.missing_instances > 0 && html`<${Note} tone="warn">${set.missing_instances} of the ${set.referenced_instances} images that it references are not in Orthanc: the plan will wait for them.<//>`}
      ${this.#source(draft)}
      ${draft.source.kind === 'protocol' && this.#mapping(draft)}
      ${this.#prescription(draft, errors)}
      ${this.#beams(draft, errors)}
      ${draft.objectives && this.#objectives(draft, errors)}
      ${this.#goals(draft, errors)}
      ${this.#more(draft, errors)}
      ${this.#foot(draft, errors)}
    </form>`;
  }

  #chooser() {
    const { choices, uid } = this.state;
    return html`<div class="field wide"><label for="set">Structure set</label>
      <select id="set" onChange=${(e) => this.#choose(this.scope, e.target.value).catch((x) => this.set(this.scope, { error: x }))}>
        <option value="" selected=${!uid}>Choose…</option>
        ${choices.map((c) => html`<option value=${c.uid} selected=${c.uid === uid} title=${c.uid}>${c.text}</option>`)}</select></div>`;
  }

  #source(draft) {
    const { workflows, protocols, matches } = this.state;
    if (draft.source.kind === 'plan') {
      return html`<${Note}>From plan <b>${draft.source.label} ${shortId(draft.source.id)}</b>: what you leave as it is stays as it was there. Its beamlets are used again where nothing that enters them changes.<//>`;
    }
    const fits = (id) => matches.protocols.find((m) => m.protocol_id === id);
    const value = `${draft.source.kind} ${draft.source.id}`;
    const match = draft.source.kind === 'protocol' ? fits(draft.source.id) : null;
    const about =
      draft.source.kind === 'protocol'
        ? protocols.find((p) => p.id === draft.source.id)?.description
        : this.#workflow(draft.source.id)?.description;
    return html`<section><h3>Start from</h3>
      <div class="field wide"><label for="source">Protocol or workflow</label>
        <select id="source" value=${value} onChange=${(e) => {
          const [kind, id] = e.target.value.split(' ');
          this.#begin(kind === 'protocol' ? this.#fromProtocol(id) : this.#fromWorkflow(id));
        }}>
          <optgroup label="Protocols">${protocols.map((p) => html`<option value=${`protocol ${p.id}`} selected=${value === `protocol ${p.id}`}>${p.title}${fits(p.id)?.fits ? '' : ' (does not fit)'}</option>`)}</optgroup>
          <optgroup label="Workflows">${workflows.map((w) => html`<option value=${`workflow ${w.id}`} selected=${value === `workflow ${w.id}`}>${w.title}</option>`)}</optgroup>
        </select></div>
      ${about && html`<p class="muted small" style="margin:0;max-width:70ch">${about}</p>`}
      ${match && !match.fits && html`<${Note} tone="warn">This protocol would not start by itself for this structure set: ${match.reason}.<//>`}
      ${draft.missing.length > 0 && html`<p class="muted small" style="margin:0">Left out, as this structure set has no such structure: ${draft.missing.join(', ')}.</p>`}
    </section>`;
  }

  /** Which ROI each of the protocol's names stands for: those that it does not find are chosen here, and others may be. */
  #mapping(draft) {
    const { protocols, set } = this.state;
    const p = protocols.find((x) => x.id === draft.source.id);
    const derived = new Set(Object.keys(draft.parameters.derived ?? {}));
    const names = [p.prescription.target, ...p.objectives.map((o) => o.structure), ...p.goals.map((g) => parseGoal(g).structure)];
    const wanted = [...new Set(names)].filter((n) => n && n !== 'BODY' && !derived.has(n));
    const found = (name) =>
      this.#meant.find((s) => s.name === name)?.roi_number ?? set.structures.find((s) => s.name === name)?.number ?? null;
    const rows = wanted.map((name) => ({ name, found: found(name), chosen: draft.structures[name] ?? found(name) }));
    const open = rows.filter((r) => r.chosen === null).length;
    return html`<section><details open=${open > 0 || Object.keys(draft.structures).length > 0 || null}>
      <summary>Structures${open > 0 ? html` <span class="warn small">${open === 1 ? 'one is' : `${open} are`} not found</span>` : ''}</summary>
      <p class="muted small" style="margin:4px 0 8px">Which of this structure set's structures each name of the protocol stands for.</p>
      <div class="fields">${rows.map(
        (r) => html`<div class="field" key=${r.name}><label for=${`roi-${r.name}`}>${r.name}</label>
        <div class="row" style="gap:6px;flex-wrap:nowrap"><span class="swatch" style=${{ background: r.chosen === null ? '' : this.#colorOf(r.chosen) }}></span>
        <select id=${`roi-${r.name}`} onChange=${(e) => this.#changeStructure(r.name, e.target.value === '' || Number(e.target.value) === r.found ? null : Number(e.target.value))}>
          ${r.found === null && html`<option value="" selected=${r.chosen === null}>Not in this structure set</option>`}
          ${set.structures.filter((s) => s.name).map((s) => html`<option value=${s.number} selected=${s.number === r.chosen}>${s.name}</option>`)}</select></div></div>`,
      )}</div>
    </details></section>`;
  }

  #colorOf(number) {
    return this.state.set.structures.find((s) => s.number === number)?.color ?? '';
  }

  #prescription(draft, errors) {
    const p = draft.prescription;
    const error = (name) => errorAt(errors, ['prescription', name]);
    const set = (patch) => this.#change({ prescription: { ...p, ...patch } });
    const names = this.#names.filter((n) => n !== 'BODY');
    const targets = names.filter(
      (n) => isTarget(n) || this.state.set.structures.some((s) => s.name === n && ['PTV', 'CTV', 'GTV'].includes(s.interpreted_type)),
    );
    const others = names.filter((n) => !targets.includes(n));
    const option = (n) => html`<option value=${n} selected=${n === p.target}>${n}</option>`;
    return html`<section><h3>Prescription</h3><div class="fields">
      <div class="field"><label for="target">Target</label>
        <div class="row" style="gap:6px;flex-wrap:nowrap"><span class="swatch" style=${{ background: p.target ? structureColor(p.target, { rtstruct_sop_instance_uid: this.state.uid, structures: this.#meant }) : '' }}></span>
        <select id="target" aria-invalid=${error('target') ? 'true' : null} onChange=${(e) => this.#changeTarget(e.target.value)}>
          <option value="" selected=${!p.target}>Choose…</option>
          ${targets.length > 0 && html`<optgroup label="Targets">${targets.map(option)}</optgroup>`}
          <optgroup label="Other structures">${others.map(option)}</optgroup></select></div>
        <${FieldError} id="target" message=${error('target')} /></div>
      <div class="field"><label for="dose">Dose, total</label><div class="row" style="gap:5px"><${NumberInput} id="dose" value=${p.dose_gy} error=${error('dose_gy')} onValue=${(v) => set({ dose_gy: v })} /><span class="muted">Gy</span></div>
        <${FieldError} id="dose" message=${error('dose_gy')} /></div>
      <div class="field"><label for="fractions">Fractions</label><div class="row" style="gap:8px"><${NumberInput} id="fractions" width="64" value=${p.fractions} error=${error('fractions')} onValue=${(v) => set({ fractions: v })} />
        ${p.dose_gy > 0 && p.fractions > 0 && html`<span class="muted">${(p.dose_gy / p.fractions).toFixed(2)} Gy each</span>`}</div>
        <${FieldError} id="fractions" message=${error('fractions')} /></div>
      <div class="field"><label for="label">Label</label><input id="label" type="text" maxlength="16" style="width:150px" placeholder=${DEFAULT_LABEL} value=${draft.label} aria-invalid=${errorAt(errors, ['label']) ? 'true' : null}
        onInput=${(e) => this.#change({ label: e.target.value })} /><${FieldError} id="label" message=${errorAt(errors, ['label'])} /></div>
    </div></section>`;
  }

  #beams(draft, errors) {
    const schema = this.#workflow(draft.workflowId)?.parameters;
    if (!schema?.properties.beams && !schema?.properties.beam_count) return null;
    const most = unwrap(schema.properties.beams ?? {}, schema).schema.maxItems ?? 9;
    const set = (i, patch) => this.#change({ beams: draft.beams.map((b, k) => (k === i ? { ...b, ...patch } : b)) });
    const even = (n) => Array.from({ length: n }, (_, i) => ({ gantry_deg: Math.round((3600 * i) / n) / 10, couch_deg: 0, name: null }));
    return html`<section><h3>Beams</h3>
      <div class="row"><div class="segmented" role="group" aria-label="How beams are given">
        <button type="button" aria-pressed=${String(draft.beamMode === 'count')} onClick=${() => this.#change({ beamMode: 'count' })}>Evenly spaced</button>
        <button type="button" aria-pressed=${String(draft.beamMode === 'list')} onClick=${() => this.#change({ beamMode: 'list', beams: draft.beams.length ? draft.beams : even(draft.beamCount || 2) })}>By angle</button>
      </div>
      ${
        draft.beamMode === 'count' &&
        html`<label class="row">Number <${NumberInput} id="f-beam_count" width="56" value=${draft.beamCount} error=${errorAt(errors, ['beam_count'])} onValue=${(v) => this.#change({ beamCount: v })} /></label>
        <span class="muted">${
          Number.isInteger(draft.beamCount) && draft.beamCount > 0 && draft.beamCount <= most
            ? `gantry ${even(draft.beamCount)
                .map((b) => b.gantry_deg)
                .join('°, ')}°`
            : ''
        }</span>`
      }</div>
      <${FieldError} id="f-beam_count" message=${draft.beamMode === 'count' && errorAt(errors, ['beam_count'])} />
      ${
        draft.beamMode === 'list' &&
        html`<div class="row" style="align-items:flex-start;gap:16px">
        <div style="display:grid;gap:6px">${draft.beams.map(
          (b, i) => html`<div class="beam" key=${i}>
          <span class="muted" style="width:1.4em">${i + 1}</span>
          <label class="row" style="gap:5px"><span class="small muted">Gantry</span><${NumberInput} id=${`f-beams-${i}-gantry_deg`} width="66" value=${b.gantry_deg} error=${errorAt(errors, ['beams', i, 'gantry_deg'])} onValue=${(v) => set(i, { gantry_deg: v })} />°</label>
          <label class="row" style="gap:5px"><span class="small muted">Couch</span><${NumberInput} id=${`f-beams-${i}-couch_deg`} width="66" value=${b.couch_deg} error=${errorAt(errors, ['beams', i, 'couch_deg'])} onValue=${(v) => set(i, { couch_deg: v })} />°</label>
          <button type="button" class="button quiet" aria-label=${`Remove beam ${i + 1}`} onClick=${() => this.#change({ beams: draft.beams.filter((_, k) => k !== i) })}>Remove</button>
          <${FieldError} id=${`f-beams-${i}-gantry_deg`} message=${errorAt(errors, ['beams', i, 'gantry_deg']) ?? errorAt(errors, ['beams', i, 'couch_deg'])} /></div>`,
        )}
          <div><button type="button" class="button" disabled=${draft.beams.length >= most} onClick=${() => this.#change({ beams: [...draft.beams, { gantry_deg: 0, couch_deg: 0, name: null }] })}>Add a beam</button></div>
          <${FieldError} id="f-beams" message=${errorAt(errors, ['beams'])} /></div>
        <${Rose} beams=${draft.beams} /></div>`
      }
    </section>`;
  }

  #objectives(draft, errors) {
    const schema = this.#workflow(draft.workflowId).parameters;
    const item = unwrap(unwrap(schema.properties.objectives, schema).schema.items ?? {}, schema).schema;
    const metrics = deref(item.properties?.metric, schema).enum ?? [];
    const extras = Object.entries(item.properties ?? {}).filter(
      ([k]) => !['structure', 'metric', 'dose_gy', 'volume_percent', 'weight'].includes(k),
    );
    const usual = (k, s) => ('default' in s ? s.default : undefined);
    const shown = (i, o) => this.state.opened[i] ?? extras.some(([k, s]) => o[k] !== undefined && !same(o[k], usual(k, s)));
    const add = () => {
      const one = {
        structure: draft.prescription.target,
        metric: metrics.includes('DMax') ? 'DMax' : metrics[0],
        dose_gy: draft.prescription.dose_gy,
        volume_percent: null,
        weight: 1,
      };
      for (const [k, s] of extras) one[k] = blank(s, schema);
      this.#change({ objectives: [...draft.objectives, one] });
    };
    return html`<section><h3>Objectives</h3>
      ${draft.objectives.length > 0 && html`<div class="line head" aria-hidden="true"><span>Structure</span><span>Objective</span><span>Dose, Gy</span><span>Volume, %</span><span>Weight</span><span></span></div>`}
      ${draft.objectives.map((o, i) => {
        const at = (name) => errorAt(errors, ['objectives', i, name]);
        const number = (name, text, unit, off = false) =>
          off
            ? html`<span class="off"></span>`
            : html`<span class="cell"><span class="cap" aria-hidden="true">${text}${unit}</span><${NumberInput} id=${`f-objectives-${i}-${name}`} value=${o[name]} error=${at(name)} label=${`${text} of objective ${i + 1}`} onValue=${(v) => this.#changeObjective(i, { [name]: v })} /></span>`;
        const wrong = ['structure', 'metric', 'dose_gy', 'volume_percent', 'weight']
          .map((n) => at(n) && `${label(n).text}: ${at(n)}`)
          .filter(Boolean);
        const own = errorAt(errors, ['objectives', i]);
        return html`<div class="line" key=${i}>
          <select aria-label=${`Structure of objective ${i + 1}`} aria-invalid=${at('structure') ? 'true' : null} onChange=${(e) => this.#changeObjective(i, { structure: e.target.value })}>
            ${[...new Set([o.structure, ...this.#names])].filter(Boolean).map((n) => html`<option value=${n} selected=${n === o.structure}>${n}</option>`)}</select>
          <select aria-label=${`Kind of objective ${i + 1}`} aria-invalid=${at('metric') ? 'true' : null} onChange=${(e) => this.#changeObjective(i, { metric: e.target.value, ...(DVH_METRICS.test(e.target.value) ? {} : { volume_percent: null }) })}>
            ${metrics.map((m) => html`<option value=${m} selected=${m === o.metric} title=${MEANING[m]}>${OBJECTIVES[m] ?? m}</option>`)}</select>
          ${number('dose_gy', 'Dose', ', Gy')}${number('volume_percent', 'Volume', ', %', !DVH_METRICS.test(o.metric))}${number('weight', 'Weight', '')}
          <span class="ends">${
            extras.length > 0 &&
            html`<button type="button" class="button quiet" aria-expanded=${String(shown(i, o))} aria-label=${`More of objective ${i + 1}`}
              onClick=${() => this.set(this.scope, { opened: { ...this.state.opened, [i]: !shown(i, o) } })}>More</button>`
          }
            <button type="button" class="button quiet" aria-label=${`Remove objective ${i + 1}`} onClick=${() => this.#change({ objectives: draft.objectives.filter((_, k) => k !== i) })}>Remove</button></span>
          ${
            extras.length > 0 &&
            shown(i, o) &&
            html`<div class="fields extra">${extras.map(
              ([
                k,
                s,
              ]) => html`<${Field} key=${k} name=${k} schema=${s} root=${schema} value=${o[k] ?? usual(k, s)} path=${['objectives', i, k]} errors=${errors}
            defaultValue=${s.default} change=${(path, v) => this.#changeObjective(i, { [path[2]]: v })} />`,
            )}</div>`
          }
          ${(wrong.length > 0 || own) && html`<div class="wrong bad small">${[...wrong, own].filter(Boolean).join('; ')}</div>`}
        </div>`;
      })}
      <div class="row"><button type="button" class="button" onClick=${add}>Add an objective</button><${FieldError} id="f-objectives" message=${errorAt(errors, ['objectives'])} /></div>
    </section>`;
  }

  #goals(draft, errors) {
    const set = (goals) => this.#change({ goals });
    return html`<section><h3>Goals</h3>
      <datalist id="goals">${this.#names.flatMap((n) => (isTarget(n) ? [`${n}: D95% ≥ 95%`, `${n}: D98% ≥ 95%`, `${n}: D2% ≤ 107%`] : [`${n}: Dmean ≤ 20 Gy`, `${n}: D2% ≤ 40 Gy`])).map((g) => html`<option value=${g}></option>`)}</datalist>
      ${draft.goals.map((g, i) => {
        const error = errorAt(errors, ['goals', i]);
        return html`<div class="goal" key=${i}><input type="text" list="goals" maxlength="120" value=${g} aria-label=${`Goal ${i + 1}`} aria-invalid=${error ? 'true' : null} placeholder="PTV: D95% ≥ 95%"
            onInput=${(e) => set(draft.goals.map((x, k) => (k === i ? e.target.value : x)))} />
          <button type="button" class="button quiet" aria-label=${`Remove goal ${i + 1}`} onClick=${() => set(draft.goals.filter((_, k) => k !== i))}>Remove</button>
          ${error && html`<div class="wrong bad small">${error}</div>`}</div>`;
      })}
      <div><button type="button" class="button" onClick=${() => set([...draft.goals, draft.prescription.target ? `${draft.prescription.target}: ` : ''])}>Add a goal</button></div>
    </section>`;
  }

  #more(draft, errors) {
    const schema = this.#workflow(draft.workflowId)?.parameters;
    const names = Object.keys(schema?.properties ?? {}).filter((n) => !OWN_PLACE.has(n));
    if (!names.length) return null;
    const plain = names.filter((n) => !compound(unwrap(schema.properties[n], schema).schema));
    const compounds = names.filter((n) => compound(unwrap(schema.properties[n], schema).schema));
    const defaults = this.#workflow(draft.workflowId).defaults;
    const field = (n) =>
      html`<${Field} key=${n} name=${n} schema=${schema.properties[n]} root=${schema} value=${draft.parameters[n]} path=${[n]} errors=${errors} change=${this.#changeParameter} defaultValue=${defaults[n]} structures=${this.#names} />`;
    const wrong = errors.some((e) => names.includes(e.path[0]));
    return html`${compounds.length > 0 && html`<section><h3>Options</h3><div class="fields">${compounds.map(field)}</div></section>`}
      <section><details open=${wrong || null}><summary>Calculation</summary><div class="fields">${plain.map(field)}</div></details></section>`;
  }

  #foot(draft, errors) {
    const { sending, refused, done, tried } = this.state;
    const elsewhere = refused && !(refused.details?.errors?.length && errors.length);
    return html`<div class="foot">
      ${elsewhere && html`<div style="padding-bottom:8px"><${Problem} error=${refused} /></div>`}
      ${done && html`<div style="padding-bottom:8px"><${Note}>Asked for: plan <a href=${uiUrl(`/plans/${done.id}`)} onClick=${(e) => !this.tell('radiarch-select-plan', { planId: done.id }) && e.preventDefault()}>${done.label} ${shortId(done.id)}</a>.<//></div>`}
      <div class="row"><button class="button primary" type="submit" disabled=${sending}>${sending ? 'Asking…' : draft.source.kind === 'plan' ? 'Optimize again' : 'Plan'}</button>
        <button class="button" type="button" onClick=${() => this.#begin(structuredClone(this.state.base))}>Reset</button>
        ${errors.length > 0 && html`<span class=${tried ? 'bad' : 'muted'} role="status">${errors.length === 1 ? 'One entry needs' : `${errors.length} entries need`} attention</span>`}</div>
    </div>`;
  }
}

const MEANING = {
  DMean: 'The mean is pushed to the dose from both sides',
  DMeanMax: 'The mean is pushed below the dose',
  DVHMin: 'At least the volume gets the dose',
  DVHMax: 'At most the volume gets more than the dose',
};

/** An objective without the keys that do not apply. */
function bare(o) {
  const kept = { ...o };
  if (kept.volume_percent === null || kept.volume_percent === undefined) delete kept.volume_percent;
  return kept;
}

const compound = (s) => s.type === 'object' || (s.type === 'array' && !s.prefixItems) || s.anyOf?.length > 0;

/** Gantry angles as seen from the foot of the couch: 0° from above. */
function Rose({ beams }) {
  return html`<svg width="104" height="104" viewBox="-52 -52 104 104" role="img" aria-label=${`Beams from ${beams.map((b) => `${b.gantry_deg}°`).join(', ')}`}>
    <circle r="40" fill="none" stroke="var(--line)" /><ellipse rx="17" ry="12" fill="var(--surface-2)" stroke="var(--line-2)" />
    ${beams
      .filter((b) => Number.isFinite(b.gantry_deg))
      .map(
        (
          b,
          i,
        ) => html`<g transform="rotate(${b.gantry_deg})"><path d="M0 -40V-15M-3 -20L0 -14L3 -20" fill="none" stroke="var(--accent)" stroke-width="1.6" />
      <text y="-43" text-anchor="middle" font-size="9" fill="var(--text-2)" transform="rotate(${-b.gantry_deg} 0 -46)">${i + 1}</text></g>`,
      )}
  </svg>`;
}

define('radiarch-plan-form', PlanForm);
