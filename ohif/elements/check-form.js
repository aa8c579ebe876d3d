// <radiarch-check-form>: have a stored plan computed anew, or a stored dose judged. What can be chosen is what Orthanc has of the study.
import { html } from './core/dom.js';
import { RadiarchElement, define } from './core/element.js';
import { FieldError, NumberInput } from './core/fields.js';
import { personName, shortUid, when } from './core/format.js';
import { parseGoal } from './core/goal.js';
import { randomKey } from './core/key.js';
import { live } from './core/live.js';
import { Bones, Empty, Problem } from './core/parts.js';

const KINDS = {
  recalculation: {
    title: 'Recalculation',
    modality: 'RTPLAN',
    object: 'Plan',
    does: 'Computes the plan anew, and compares it with its dose.',
  },
  evaluation: {
    title: 'Evaluation',
    modality: 'RTDOSE',
    object: 'Dose',
    does: 'Judges the dose with the structures: DVH, metrics, goals, and gamma where it is compared.',
  },
};
const value = (item, tag) => item[tag]?.Value?.[0];

/** The RT objects of a study that Orthanc has, newest first. */
async function objectsOf(studyUid, signal) {
  const fields = ['SeriesDescription', 'RTPlanLabel', 'StructureSetLabel', 'Manufacturer', 'DoseSummationType'];
  const query = ['Modality=RTPLAN,RTDOSE,RTSTRUCT', ...fields.map((f) => `includefield=${f}`), 'limit=1000'].join('&');
  const answer = await fetch(`/dicom-web/studies/${encodeURIComponent(studyUid)}/instances?${query}`, {
    signal,
    headers: { Accept: 'application/dicom+json' },
    credentials: 'same-origin',
  });
  if (!answer.ok)
    throw Object.assign(new Error(`Orthanc answered ${answer.status} when it was asked for the study`), { remedy: "See Orthanc's log." });
  const items = answer.status === 204 ? [] : await answer.json();
  return items
    .map((item) => ({
      modality: value(item, '00080060'),
      uid: value(item, '00080018'),
      text: [
        value(item, '300A0002') ?? value(item, '30060002') ?? value(item, '0008103E'),
        value(item, '3004000A'),
        value(item, '00080070'),
      ]
        .filter(Boolean)
        .join(' · '),
      made: `${value(item, '00080012') ?? ''}${value(item, '00080013') ?? ''}`,
    }))
    .sort((a, b) => (a.made < b.made ? 1 : -1));
}

class CheckForm extends RadiarchElement {
  static subjects = ['study-uid', 'object-uid'];
  static css = `
    form { display: grid; gap: 16px; max-width: 760px; grid-template-columns: minmax(0, 1fr); }
    .fields { display: flex; flex-wrap: wrap; gap: 10px 16px; align-items: flex-start; }
    .field { display: grid; gap: 3px; align-content: start; min-width: 0; }
    .field > label { font-size: 12px; color: var(--text-2); }
    .field.wide { flex: 1 1 280px; max-width: 100%; } .field.wide > select, .field.wide > textarea { width: 100%; }
    fieldset { border: 0; margin: 0; padding: 0; min-width: 0; } legend { font-weight: 600; padding: 0 0 6px; }
    textarea { min-height: 84px; font: inherit; resize: vertical; }
  `;
  /** The last request and its key. @type {{text: string, key: string} | null} */
  #key = null;

  initial() {
    return {
      studies: null,
      study: this.getAttribute('study-uid'),
      objects: null,
      kind: 'recalculation',
      chosen: {},
      prescription: { target: '', dose_gy: null, fractions: null },
      goals: '',
      label: '',
      refused: null,
      sending: false,
    };
  }

  async start(scope) {
    if (this.state.study) {
      await this.#choose(scope, this.state.study);
      return;
    }
    const { items } = await this.api.get('/arrivals', { params: { limit: 200 }, signal: scope.signal });
    const studies = [...new Map(items.map((a) => [a.study_instance_uid, a])).values()];
    this.set(scope, { studies });
  }

  /** Another study: nothing that was chosen of the last one stays. */
  async #choose(scope, study) {
    this.set(scope, { study, objects: null, chosen: {}, refused: null, error: null });
    if (!study) return;
    const objects = await objectsOf(study, scope.signal);
    if (this.state.study !== study) return;
    const wanted = objects.find((o) => o.uid === this.getAttribute('object-uid'));
    const kind = wanted?.modality === 'RTDOSE' || !objects.some((o) => o.modality === 'RTPLAN') ? 'evaluation' : 'recalculation';
    const first = wanted ?? objects.find((o) => o.modality === KINDS[kind].modality);
    this.set(scope, { objects, kind, chosen: { object: first?.uid ?? '' } });
  }

  #kind(kind) {
    const first = this.state.objects.find((o) => o.modality === KINDS[kind].modality);
    this.set(this.scope, { kind, chosen: { set: this.state.chosen.set, object: first?.uid ?? '' }, refused: null });
  }

  get #goals() {
    return this.state.goals
      .split('\n')
      .map((g) => g.trim())
      .filter(Boolean);
  }

  /** What is wrong, by field. @returns {Record<string, string>} */
  get #errors() {
    const { prescription: p, label } = this.state;
    /** @type {Record<string, string>} */
    const errors = {};
    for (const goal of this.#goals) {
      const found = parseGoal(goal);
      if ('error' in found) errors.goals = `${goal}: ${found.error}`;
    }
    const given = [p.target, p.dose_gy, p.fractions].filter((v) => v !== '' && v !== null).length;
    if (given > 0 && given < 3) errors.prescription = 'give all three, or none';
    else if (given && !(p.dose_gy > 0 && p.dose_gy <= 120)) errors.prescription = 'a dose above 0, up to 120 Gy';
    else if (given && !(Number.isInteger(p.fractions) && p.fractions >= 1 && p.fractions <= 60))
      errors.prescription = 'a whole number of fractions, 1 to 60';
    if (label && !/^[ -~]{1,16}$/.test(label)) errors.label = 'at most 16 plain letters, digits and signs';
    return errors;
  }

  #request() {
    const { kind, chosen, prescription, label } = this.state;
    const evaluation = kind === 'evaluation';
    const body = {
      [evaluation ? 'rtdose_sop_instance_uid' : 'rtplan_sop_instance_uid']: chosen.object,
      goals: this.#goals,
      ...(chosen.other && { [evaluation ? 'reference_rtdose_sop_instance_uid' : 'rtdose_sop_instance_uid']: chosen.other }),
      ...(chosen.set && { rtstruct_sop_instance_uid: chosen.set }),
      ...(prescription.target && { prescription }),
      ...(label && { label }),
    };
    return { path: evaluation ? '/evaluations' : '/recalculations', body };
  }

  async #submit(event) {
    event.preventDefault();
    const { scope } = this;
    if (Object.keys(this.#errors).length || this.state.sending || !this.state.chosen.object) return;
    const { path, body } = this.#request();
    const text = `${path} ${JSON.stringify(body)}`;
    // the same request again, after a lost answer, makes no second check
    const sent = this.#key?.text === text ? this.#key : { text, key: randomKey() };
    this.#key = sent;
    this.set(scope, { sending: true, refused: null });
    try {
      const plan = await this.api.post(path, body, { headers: { 'Idempotency-Key': sent.key } });
      this.#key = null;
      live(this.api).hurry();
      if (this.set(scope, { sending: false })) this.tell('radiarch-planned', { planId: plan.id });
    } catch (e) {
      this.set(scope, { sending: false, refused: e });
    }
  }

  #select(name, text, modality, none) {
    const { objects, chosen } = this.state;
    const fits = objects.filter((o) => o.modality === modality);
    return html`<div class="field wide"><label for=${name}>${text}</label><select id=${name} onChange=${(e) => this.set(this.scope, { chosen: { ...chosen, [name]: e.target.value } })}>
      ${none && html`<option value="" selected=${!chosen[name]}>${none}</option>`}
      ${fits.map((o) => html`<option value=${o.uid} title=${o.uid} selected=${o.uid === chosen[name]}>${[o.text, shortUid(o.uid)].filter(Boolean).join(' · ')}</option>`)}</select></div>`;
  }

  view() {
    const { studies, study, objects, error } = this.state;
    if (error) return html`<${Problem} error=${error} />`;
    if (!study && !studies) return html`<${Bones} lines="4" />`;
    const chooser =
      studies &&
      html`<div class="field wide"><label for="study">Study</label><select id="study" onChange=${(e) => this.#choose(this.scope, e.target.value).catch((x) => x.name !== 'AbortError' && this.set(this.scope, { error: x }))}>
      <option value="" selected=${!study}>Choose…</option>${studies.map((a) => html`<option value=${a.study_instance_uid} selected=${a.study_instance_uid === study}>${[personName(a.patient_name), a.patient_id || 'no patient id', when(a.first_seen_at)].filter(Boolean).join(' · ')}</option>`)}</select></div>`;
    if (studies && !studies.length)
      return html`<${Empty} title="Nothing has arrived yet">Send a plan or a dose to Orthanc with its structure set and images.<//>`;
    if (!study) return chooser;
    if (!objects) return html`${chooser}<${Bones} lines="6" />`;
    return html`<form novalidate onSubmit=${(e) => this.#submit(e)}>${chooser}${this.#fields()}</form>`;
  }

  #fields() {
    const { kind, chosen, prescription: p, goals, label, refused, sending, objects } = this.state;
    const errors = this.#errors;
    const evaluation = kind === 'evaluation';
    const none = !objects.some((o) => o.modality === KINDS[kind].modality);
    const set = (patch) => this.set(this.scope, { prescription: { ...p, ...patch } });
    return html`<div><div class="segmented" role="group" aria-label="Kind of check">${Object.entries(KINDS).map(
      ([k, { title }]) => html`<button type="button" aria-pressed=${String(k === kind)} onClick=${() => this.#kind(k)}>${title}</button>`,
    )}</div><p class="muted" style="margin:8px 0 0">${KINDS[kind].does}</p></div>
      ${none && html`<${Empty} title=${`This study has no ${evaluation ? 'RT Dose' : 'RT Plan'} in Orthanc`}>Send one, or choose another kind.<//>`}
      ${
        !none &&
        html`<div class="fields">${this.#select('object', KINDS[kind].object, KINDS[kind].modality, null)}
        ${this.#select('other', 'Compared with', 'RTDOSE', evaluation ? 'nothing' : 'the dose of the plan, if there is one')}
        ${this.#select('set', 'Structure set', 'RTSTRUCT', 'the one that it names')}</div>
      <fieldset><legend>Prescription</legend><p class="muted small">Needed for goals in % of it.</p><div class="fields">
        <div class="field"><label for="target">Target</label><input id="target" type="text" maxlength="64" style="width:130px" value=${p.target} onInput=${(e) => set({ target: e.target.value })} /></div>
        <div class="field"><label for="dose">Dose, total, Gy</label><${NumberInput} id="dose" value=${p.dose_gy} error=${errors.prescription} onValue=${(v) => set({ dose_gy: v })} /></div>
        <div class="field"><label for="fractions">Fractions</label><${NumberInput} id="fractions" width="70" value=${p.fractions} onValue=${(v) => set({ fractions: v })} /></div></div>
        <${FieldError} id="dose" message=${errors.prescription} /></fieldset>
      <div class="field wide"><label for="goals">Goals, one on each line</label><textarea id="goals" spellcheck=${false} placeholder=${'PTV: D95% ≥ 95%\nSpinalCord: Dmax ≤ 45 Gy'} aria-invalid=${errors.goals ? 'true' : null}
        aria-describedby=${errors.goals ? 'goals-error' : null} value=${goals} onInput=${(e) => this.set(this.scope, { goals: e.target.value, refused: null })}></textarea><${FieldError} id="goals" message=${errors.goals} /></div>
      <div class="field"><label for="label">Label</label><input id="label" type="text" maxlength="16" style="width:150px" value=${label} onInput=${(e) => this.set(this.scope, { label: e.target.value })} /><${FieldError} id="label" message=${errors.label} /></div>
      ${refused && html`<${Problem} error=${refused} />`}
      <div><button class="button primary" type="submit" disabled=${sending || !chosen.object || Object.keys(errors).length > 0}>${sending ? 'Asking…' : evaluation ? 'Evaluate' : 'Recalculate'}</button></div>`
      }`;
  }
}

define('radiarch-check-form', CheckForm);
