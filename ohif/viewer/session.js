// What the viewer shows: the study, the structure set, the plan and its dose. One place decides; panels and pictures follow.
//
// Every choice takes away at once what belonged to the one before, ends the requests under way and drops late answers.

import { api, learnColors, live, planName, structureColor } from '/radiarch/elements/index.js';

import { keyOf, single, together } from './combining.js';
import { fetchDose, fetchPrescription, fetchStructures, findObjects } from './dicom.js';
import { RefusedDose } from './grid.js';
import { isOther } from './protocol.js';

const RUNNING = new Set(['waiting', 'queued', 'running']);
const PAGE = 100;

export const DEFAULTS = Object.freeze({
  wash: true,
  lines: true,
  contours: true,
  beams: true,
  unit: 'percent',
  opacity: 0.45,
  threshold: 10, // % of the reference
  map: 'viridis',
  levels: '110, 105, 100, 95, 80, 50, 30',
  differenceLevels: '5, 2, -2, -5',
  storedLevels: null, // of a difference that is stored, Gy; null: shares of its span
  span: null, // Gy at the ends of its colors; null: found from its values
});
/**
 * Something that is read: `none`, `loading`, `ready`, `error`, and for doses `pending` and `refused`; the rest depends on it.
 *
 * @typedef {{status: string, [further: string]: any}} Read
 * @typedef {{kind: string, id: string}} Choice a plan by its id, or a dose by its SOP Instance UID
 * @typedef {import('../types/service').PlanAnswer} Plan
 */

/** @type {Read} */
const NOTHING = Object.freeze({ status: 'none' });

/** `change` is told after each change of anything below, `drawn` when a new dose is seen in all pictures. */
export class Session extends EventTarget {
  /** @type {string | null} */
  studyUid = null;
  /** {status: none|loading|ready|error, items} of DICOM objects, and of the service's plans */
  objects = NOTHING;
  plans = NOTHING;
  /** @type {string | null} */
  structureSetUid = null;
  structures = NOTHING;
  /** {kind: 'plan', id} or {kind: 'dose', id: SOP Instance UID}: another system's dose, or a difference of doses */
  /** @type {Choice | null} */
  choice = null;
  /** Another choice that is shown together with it; null: the dose itself. */
  /** @type {Choice | null} */
  other = null;
  /** Whether the other one is taken off, added, or shown beside it. */
  /** @type {import('./combining.js').How} */
  how = 'minus';
  /** @type {Plan | null} */
  plan = null;
  /** The plan whose dose the other one is, if it is one's. */
  /** @type {Plan | null} */
  otherPlan = null;
  /** {status: none|pending|loading|ready|refused|error, and what `single` and `together` of combining.js say} */
  dose = NOTHING;
  /** Where the planes were when the layout changed, patient mm: they go on from there. */
  /** @type {number[] | null} */
  place = null;
  /** Two positions, patient mm, between which the dose is drawn as a profile. */
  /** @type {[number[], number[]] | null} */
  profile = null;
  /** Whether the next line that is drawn on the images becomes the profile. */
  drawing = false;
  /** @type {Record<string, any>} */
  display = { ...DEFAULTS };
  hidden = new Set();
  /** @type {number | null} */
  referenceGy = null;

  #study = new AbortController();
  #dose = new AbortController();
  #structures = new AbortController();
  /** @type {(() => void) | null} */
  #stop = null;

  // -- choices ---------------------------------------------------------------------------------------------------------

  /**
   * Show a study.
   *
   * @param {string | null} studyUid
   * @param {Choice | null} [wanted] what of it
   */
  open(studyUid, wanted = null) {
    if (studyUid === this.studyUid) {
      if (wanted) this.choose(wanted);
      return;
    }
    this.close();
    this.studyUid = studyUid;
    if (!studyUid) return;
    this.objects = { status: 'loading' };
    this.plans = { status: 'loading' };
    this.#tell();
    this.#readObjects(wanted);
    this.#stop = live(api()).watch(({ plans, complete }) => {
      const ours = [...plans.values()].some((p) => p.study_instance_uid === this.studyUid);
      if (ours || !complete) this.#readPlans();
    });
  }

  close() {
    this.#study.abort();
    this.#study = new AbortController();
    this.#stop?.();
    this.#stop = null;
    this.studyUid = null;
    this.objects = this.plans = NOTHING;
    this.#forgetStructures();
    this.#forgetDose();
    this.choice = this.other = this.plan = this.otherPlan = this.profile = this.place = null;
    this.drawing = false;
    this.hidden = new Set();
    this.#evaluations.clear();
    this.#tell();
  }

  /** Show a plan, or another dose; one that a plan has made is that plan's. */
  choose(wanted) {
    const choice = this.#ofPlan(wanted);
    if (same(choice, this.choice)) return;
    this.choice = choice;
    this.other = null;
    this.plan = this.otherPlan = null;
    this.referenceGy = null;
    this.display = { ...this.display, storedLevels: null, span: null };
    this.#forgetDose();
    this.#tell();
    if (choice) this.#readChoice();
  }

  /** Take another dose off the chosen one; null: no difference. */
  subtract(wanted) {
    this.combine('minus', wanted);
  }

  /**
   * Show another dose together with the chosen one; null: the chosen one alone.
   *
   * @param {any} how as in combining.js
   * @param {Choice | null} wanted
   */
  combine(how, wanted) {
    const choice = this.#ofPlan(wanted);
    if (same(choice, this.other) && how === this.how) return;
    this.other = choice;
    this.how = how;
    this.otherPlan = null;
    this.referenceGy = null;
    this.#forgetDose();
    this.#tell();
    if (this.choice) this.#readChoice();
  }

  #ofPlan(choice) {
    const owner = choice?.kind === 'dose' ? this.ownerOf(choice.id) : null;
    return owner && owner.result !== 'dose_difference' ? { kind: 'plan', id: owner.planId } : choice;
  }

  /** Another structure set: its contours, and the newest of its plans. */
  chooseStructureSet(sopUid) {
    if (sopUid === this.structureSetUid) return;
    this.#showStructureSet(sopUid);
    const plans = this.plansOf(sopUid);
    const { choice } = this;
    if (choice?.kind === 'plan' && !plans.some((p) => p.id === choice.id)) {
      this.choose(plans.length ? { kind: 'plan', id: (plans.find((p) => p.state === 'succeeded') ?? plans[0]).id } : null);
    } else {
      this.#tell();
    }
  }

  set(display) {
    this.display = { ...this.display, ...display };
    this.#tell();
  }

  setReference(gy) {
    this.referenceGy = gy;
    this.#tell();
  }

  /**
   * The line along which the dose is drawn; null: none.
   *
   * @param {[number[], number[]] | null} line
   * @param {boolean} [unfinished] it is still being drawn
   */
  setProfile(line, unfinished = false) {
    this.profile = line;
    this.drawing = unfinished;
    this.#tell();
  }

  /** Wait for a line that is drawn on the images. */
  setDrawing(drawing) {
    this.drawing = drawing;
    this.#tell();
  }

  toggleStructure(name, visible = this.hidden.has(name)) {
    if (visible) this.hidden.delete(name);
    else this.hidden.add(name);
    this.#tell();
  }

  // -- what is there ---------------------------------------------------------------------------------------------------

  plansOf(structureSetUid) {
    return (this.plans.items ?? []).filter((p) => p.rtstruct_sop_instance_uid === structureSetUid);
  }

  get structureSets() {
    return (this.objects.items ?? []).filter((o) => o.modality === 'RTSTRUCT');
  }

  /** {planId, result} of the plan whose result this object is, by the UIDs of the service's records; null: of none. */
  ownerOf(sopUid) {
    for (const { id, results } of this.plans.items ?? []) {
      const result = Object.keys(results ?? {}).find((kind) => results[kind] === sopUid);
      if (result) return { planId: id, result };
    }
    return null;
  }

  /** Doses that no plan here has made: those to judge. */
  get otherDoses() {
    return this.#doses.filter((o) => o.doseType !== 'ERROR' && !this.ownerOf(o.sopUid));
  }

  /** Differences of doses, whoever made them. */
  get differences() {
    return this.#doses.filter((o) => o.doseType === 'ERROR' || this.ownerOf(o.sopUid)?.result === 'dose_difference');
  }

  get #doses() {
    return (this.objects.items ?? []).filter((o) => o.modality === 'RTDOSE');
  }

  /** @type {string | null} */
  #content = null;

  /** The choice that is taken off; null where none is. */
  get minus() {
    return this.how === 'minus' ? this.other : null;
  }

  /** Whether what is chosen is an evaluation of the sum that is shown. */
  get isEvaluatedSum() {
    const added = this.plan?.inputs?.find((i) => i.kind === 'added_rtdose');
    return Boolean(added) && this.other?.id === added?.sop_instance_uid;
  }

  /** Whether two doses are shown beside each other, each in its own viewports. */
  get isBeside() {
    return this.how === 'beside' && this.other !== null && this.dose.status === 'ready' && Boolean(this.dose.beside);
  }

  /** The dose of a viewport: where two are beside each other, the other one is in viewports of its own. */
  doseIn(viewportId) {
    return this.isBeside && isOther(viewportId) ? this.dose.beside : this.dose;
  }

  planIn(viewportId) {
    return this.isBeside && isOther(viewportId) ? this.otherPlan : this.plan;
  }

  /** Why the structure set that is shown was not planned, or cannot be: `{code, message, remedy}`. @type {any} */
  refusal = null;
  #evaluations = new Map();

  /** Whether values below 0 are meant: a dose minus another one, here or as it is stored. */
  get isSigned() {
    return Boolean(this.minus) || this.isStoredDifference;
  }

  /** Whether it is an object of the Dose Type ERROR: a difference with no dose of which anything could be a percentage. */
  get isStoredDifference() {
    return this.dose.type === 'ERROR';
  }

  /** Gy at both ends of the colors of a difference. */
  get spanGy() {
    if (!this.isStoredDifference) return (this.reference?.gy ?? 1) / 10;
    return this.display.span > 0 ? this.display.span : roundAbove(Math.max(this.dose.grid.maxGy, -this.dose.grid.minGy, 1e-6));
  }

  /** Gy that count as 100 %, and what they are. @returns {{gy: number, name: string} | null} */
  get reference() {
    if (this.referenceGy !== null && this.referenceGy > 0) return { gy: this.referenceGy, name: 'as entered' };
    if (this.dose.isSum) {
      const [a, b] = [this.plan, this.otherPlan].map((p) => p?.prescription?.dose_gy);
      return a && b ? { gy: a + b, name: 'both prescriptions added' } : { gy: this.dose.grid.maxGy, name: 'maximum of the sum' };
    }
    if (this.plan?.prescription) return { gy: this.plan.prescription.dose_gy, name: 'prescription' };
    if (this.dose.prescribed)
      return {
        gy: this.dose.prescribed.gy,
        name: `${this.dose.prescribed.several ? 'highest prescription' : 'prescription'} of its RT Plan`,
      };
    if (this.dose.grid) return { gy: this.minus ? this.dose.largestGy : this.dose.grid.maxGy, name: 'maximum of this dose' };
    return null;
  }

  /** Which levels are meant: those of a dose are of no use for a difference. */
  get levelsName() {
    if (this.isStoredDifference) return 'storedLevels';
    return this.minus ? 'differenceLevels' : 'levels';
  }

  /** The levels as they are written: in `levelsUnit`. */
  get levelsText() {
    const span = () => [0.75, 0.25, -0.25, -0.75].map((share) => Number((this.spanGy * share).toPrecision(2)));
    return this.display[this.levelsName] ?? span().join(', ');
  }

  /** 'percent' or 'gy': a stored difference is a percentage of nothing. */
  get levelsUnit() {
    return this.isStoredDifference ? 'gy' : this.display.unit;
  }

  /** Levels of the isodose lines in Gy, highest first; what cannot be read is left out. */
  get levelsGy() {
    const scale = this.levelsUnit === 'percent' ? (this.reference?.gy ?? NaN) / 100 : 1;
    const found = this.levelsText
      .split(/[\s;,]+/)
      .filter(Boolean)
      .map((t) => Number(t.replace('%', '').replace('−', '-')) * scale)
      .filter((gy) => Number.isFinite(gy) && (gy > 0 || (this.isSigned && gy < 0)));
    return [...new Set(found)].sort((a, b) => b - a).slice(0, 20);
  }

  /** Of the plan's first beam that has one, patient mm. @returns {number[] | null} */
  get isocenter() {
    for (const beam of this.plan?.beams ?? []) if ('isocenter_mm' in beam && beam.isocenter_mm) return beam.isocenter_mm;
    return null;
  }

  /** Where to look first, patient mm: the isocenter, else where the dose is largest; null while there is neither. */
  get center() {
    return this.isocenter ?? this.hottest;
  }

  /** Where the dose (or the difference, whatever its sign) is largest, patient mm. */
  get hottest() {
    const { grid } = this.dose;
    if (!grid) return null;
    const most = grid.maxGy >= -grid.minGy ? grid.maxGy : grid.minGy;
    const [nx, ny] = grid.dimensions;
    const i = grid.values.indexOf(most);
    return i < 0 ? null : grid.world([i % nx, Math.floor(i / nx) % ny, Math.floor(i / (nx * ny))]);
  }

  /** Tells the viewports where the pointer is, patient mm; null: on none of them. */
  point(world, viewportId) {
    this.dispatchEvent(new CustomEvent('point', { detail: { world, viewportId } }));
  }

  /** Tells the viewports to show the planes through a position. */
  goTo(world) {
    this.dispatchEvent(new CustomEvent('go', { detail: world }));
  }

  /** {status, planId, error} of the evaluation of a dose of another system; its curves and goals are those of that plan. */
  evaluationOf(...doseUids) {
    return this.#evaluations.get(`${doseUids.join('+')} ${this.structureSetUid}`) ?? NOTHING;
  }

  /** What the chosen dose's RT Plan prescribes, in the words of the structure set that is shown; null where that is not known. */
  get prescribed() {
    const found = this.dose.prescribed;
    const target = this.structures.items?.find((s) => s.number === found?.roiNumber)?.name;
    return found?.fractions && target ? { target, dose_gy: found.gy, fractions: found.fractions } : null;
  }

  /** Have the chosen dose of another system, or the sum that is shown, judged with the structure set that is shown, by these goals. */
  async evaluate(goals = []) {
    const { signal } = this.#dose;
    const setUid = this.structureSetUid;
    const [doseUid, addedUid] = this.dose.isSum ? this.dose.parts.map((p) => p.sopUid) : [this.choice?.id];
    const name = `${[doseUid, addedUid].filter(Boolean).join('+')} ${setUid}`;
    const set = (evaluation) => {
      this.#evaluations.set(name, evaluation);
      this.#tell();
    };
    set({ status: 'asked' });
    try {
      const prescription = addedUid ? null : this.prescribed; // of a sum it is not known
      const body = {
        rtdose_sop_instance_uid: doseUid,
        ...(addedUid && { added_rtdose_sop_instance_uid: addedUid }),
        rtstruct_sop_instance_uid: setUid,
        goals,
        ...(prescription && { prescription }),
      };
      const plan = await api().post('/evaluations', body, { signal });
      set({ status: 'made', planId: plan.id });
    } catch (e) {
      if (signal.aborted) this.#evaluations.delete(name);
      else set({ status: 'error', error: e });
    }
  }

  /** The color of one of `structures`, as in curves and goals. */
  structureColor(structure) {
    const structures = [{ name: structure.name, roi_number: structure.number }];
    return structureColor(structure.name, { rtstruct_sop_instance_uid: this.structureSetUid ?? '', structures });
  }

  structuresShown() {
    return (this.structures.items ?? []).filter((s) => !this.hidden.has(s.name));
  }

  // -- reading ---------------------------------------------------------------------------------------------------------

  async #readObjects(wanted) {
    const { signal } = this.#study;
    const studyUid = this.studyUid;
    const reading = this.#readPlans();
    try {
      const items = await findObjects(studyUid ?? '', { signal });
      if (signal.aborted) return;
      this.objects = { status: 'ready', items };
    } catch (e) {
      if (signal.aborted) return;
      this.objects = failed(e);
    }
    await reading;
    if (signal.aborted) return;
    this.#tell();
    this.#begin(wanted);
  }

  /** What is shown first: what was asked for and nothing else, else the newest plan, else the newest other dose. */
  #begin(wanted) {
    if (this.choice) return;
    const plans = this.plans.items ?? [];
    const plan = plans.find((p) => p.state === 'succeeded' && !p.superseded_at) ?? plans[0];
    const doses = this.otherDoses;
    if (wanted) this.choose(wanted);
    else if (plan && (plan.state === 'succeeded' || !doses.length)) this.choose({ kind: 'plan', id: plan.id });
    else if (doses.length) this.choose({ kind: 'dose', id: doses[0].sopUid });
    if (!this.structureSetUid && this.structureSets.length) this.#showStructureSet(this.structureSets[0].sopUid);
    this.#tell();
  }

  async #readPlans() {
    const { signal } = this.#study;
    try {
      const items = [];
      let cursor;
      do {
        const page = await api().get('/plans', { params: { study_uid: this.studyUid, limit: PAGE, cursor }, signal });
        items.push(...page.items);
        cursor = page.next;
      } while (cursor && items.length < 10 * PAGE);
      if (signal.aborted) return;
      this.plans = { status: 'ready', items };
      this.#follow();
    } catch (e) {
      if (signal.aborted) return;
      if (this.plans.status !== 'ready') this.plans = failed(e);
    }
    this.#tell();
  }

  /** The chosen plan has changed: its dose may be there now, or it was superseded. */
  #follow() {
    const { choice } = this;
    if (choice?.kind !== 'plan') return;
    const now = this.plans.items.find((p) => p.id === choice.id);
    if (now && this.plan && (now.state !== this.plan.state || now.superseded_at !== this.plan.superseded_at)) {
      this.#readChoice();
    }
  }

  async #readChoice() {
    this.#dose.abort();
    this.#dose = new AbortController();
    const { signal } = this.#dose;
    const { choice } = this;
    const was = this.dose;
    if (was.status !== 'ready') this.dose = { status: 'loading' };
    this.#tell();
    try {
      const [first, asked] = await Promise.all([this.#source(choice, signal), this.other ? this.#source(this.other, signal) : null]);
      if (signal.aborted) return;
      if (first.added && !this.other) [this.other, this.how] = [first.added, 'plus']; // what was evaluated is a sum
      const second = asked ?? (this.other && (await this.#source(this.other, signal)));
      if (signal.aborted) return;
      const { how } = this;
      this.plan = first.plan ?? null;
      this.otherPlan = second?.plan ?? null;
      this.#showStructureSet(
        first.structureSetUid ?? this.structureSetUid ?? this.structureSets[0]?.sopUid ?? null,
        first.plan?.rtstruct_sha256,
      );
      const unready = [first, second].find((s) => s && !s.object);
      if (unready) {
        this.dose = RUNNING.has(unready.plan.state) ? { status: 'pending', plan: unready.plan } : endless(unready.plan);
      } else if (was.status === 'ready' && was.key === keyOf(first, second, how)) {
        this.dose = was;
      } else {
        this.dose = { status: 'loading', label: first.label };
        this.#tell();
        this.dose = await this.#read(first, second, how, signal);
      }
    } catch (e) {
      if (signal.aborted) return;
      this.dose = failed(e);
    }
    if (!signal.aborted) this.#tell();
  }

  async #read(first, second, how, signal) {
    const [a, b] = await Promise.all([fetchDose(first.object, { signal }), second && fetchDose(second.object, { signal })]);
    if (b) return together(how, [first, a], [second, b]);
    return { ...single(first, a), prescribed: first.plan?.prescription ? null : await this.#prescribed(a, signal) };
  }

  /** What the RT Plan that a dose names prescribes; null where the dose is not of all of one plan that is stored here. */
  async #prescribed({ summation, planUids }, signal) {
    if (summation !== 'PLAN' || planUids.length !== 1) return null;
    const object = (this.objects.items ?? []).find((o) => o.modality === 'RTPLAN' && o.sopUid === planUids[0]);
    if (!object) return null;
    try {
      return await fetchPrescription(object, { signal });
    } catch (e) {
      if (signal.aborted) throw e;
      return null; // the dose is shown all the same, with its maximum as 100 %
    }
  }

  /** What a choice stands for: the object of its dose, if there is one. */
  async #source(choice, signal) {
    if (choice.kind === 'dose') {
      const object = (this.objects.items ?? []).find((o) => o.sopUid === choice.id);
      if (!object)
        throw new RefusedDose(
          'this study has no dose with the UID that was asked for',
          'It may have been deleted, or the link is of another study.',
        );
      const owner = this.ownerOf(choice.id);
      if (!owner)
        return {
          object,
          label: doseLabel(object),
          legend: 'difference, Gy; which dose was subtracted from which, the object does not say',
        };
      const plan = await api().get(`/plans/${encodeURIComponent(owner.planId)}`, { signal });
      return {
        plan,
        object,
        label: `${planName(plan)}: difference`,
        legend: 'difference, Gy, computed minus reference',
        structureSetUid: plan.rtstruct_sop_instance_uid,
      };
    }
    const plan = await api().get(`/plans/${encodeURIComponent(choice.id)}`, { signal });
    if (plan.study_instance_uid !== this.studyUid) {
      throw new RefusedDose('the plan that was asked for is of another study than the one that is open', 'Open it from the list of runs.');
    }
    const output = plan.outputs.find((o) => o.kind === 'rtdose');
    const judged = plan.workflow_id === 'evaluation' && plan.inputs.find((i) => i.kind === 'rtdose');
    if (judged) {
      const found = (this.objects.items ?? []).find((o) => o.sopUid === judged.sop_instance_uid);
      const added = plan.inputs.find((i) => i.kind === 'added_rtdose');
      return {
        plan,
        object: found,
        label: found ? doseLabel(found) : planName(plan),
        structureSetUid: plan.rtstruct_sop_instance_uid,
        added: added ? { kind: 'dose', id: added.sop_instance_uid } : null,
      };
    }
    const object = output && {
      studyUid: plan.study_instance_uid,
      seriesUid: output.series_instance_uid,
      sopUid: output.sop_instance_uid,
    };
    return { plan, object, label: planName(plan), structureSetUid: plan.rtstruct_sop_instance_uid };
  }

  /** `content` is the hash of what a plan was made for: under the same UID a structure set may have been replaced meanwhile. */
  async #showStructureSet(sopUid, content = null) {
    const replaced = content !== null && this.#content !== null && content !== this.#content;
    if (content !== null) this.#content = content;
    if (sopUid === this.structureSetUid && !replaced) return;
    this.#forgetStructures();
    this.structureSetUid = sopUid;
    this.#content = content;
    const object = (this.objects.items ?? []).find((o) => o.sopUid === sopUid);
    if (!object) return;
    this.structures = { status: 'loading' };
    const { signal } = this.#structures;
    this.#readRefusal(object, signal);
    try {
      // their colors are the service's: it makes those distinct that are alike
      const [{ structures, label }] = await Promise.all([fetchStructures(object, { signal }), learnColors(api(), sopUid)]);
      if (signal.aborted) return;
      this.structures = { status: 'ready', items: structures, label };
    } catch (e) {
      if (signal.aborted) return;
      this.structures = failed(e);
    }
    this.#tell();
  }

  /** What the service found wrong with a structure set: by itself, or when it arrived. */
  async #readRefusal({ sopUid, studyUid }, signal) {
    try {
      const [set, arrivals] = await Promise.all([
        api().get(`/structure-sets/${sopUid}`, { signal }),
        api().get('/arrivals', { params: { rtstruct_uid: sopUid, study_uid: studyUid, limit: 1 }, signal }),
      ]);
      if (signal.aborted) return;
      this.refusal = set.problem ?? arrivals.items[0]?.error ?? null;
      this.#tell();
    } catch {
      // the images are shown all the same; the panel Plan says what is wrong with the service
    }
  }

  #forgetDose() {
    this.#dose.abort();
    this.#dose = new AbortController();
    this.dose = NOTHING;
  }

  #forgetStructures() {
    this.#structures.abort();
    this.#structures = new AbortController();
    this.structures = NOTHING;
    this.refusal = null;
    this.structureSetUid = null;
    this.#content = null;
  }

  #tell() {
    this.dispatchEvent(new Event('change'));
  }
}

/** The least of 1, 2, 5 times a power of ten that is not below a value. */
function roundAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5].find((n) => n * power >= value * (1 - 1e-6)) ?? 10) * power;
}

const same = (a, b) => a?.kind === b?.kind && a?.id === b?.id;

export const doseLabel = (object) => `${object.description || 'RT Dose'}${object.manufacturer ? ` (${object.manufacturer})` : ''}`;

function failed(e) {
  const status = e instanceof RefusedDose ? 'refused' : 'error';
  return { status, message: e.message, remedy: e.remedy ?? "See the browser's console and Orthanc's log." };
}

function endless(plan) {
  const message = plan.error?.message ?? (plan.state === 'succeeded' ? 'its dose is not stored any more' : `it was ${plan.state}`);
  return { status: 'error', message: `this plan has no dose: ${message}`, remedy: plan.error?.remedy ?? 'Choose another plan.' };
}

/** The one session of the page. */
export const session = new Session();
