// <radiarch-viewer-dvh>, <radiarch-viewer-goals>, <radiarch-viewer-runs>: the shared elements, on what the session shows.
import { html } from '/radiarch/elements/core/dom.js';
import { prescription } from '/radiarch/elements/core/format.js';
import { parseGoal } from '/radiarch/elements/core/goal.js';
import { Empty, Note, Problem } from '/radiarch/elements/core/parts.js';
import { api } from '/radiarch/elements/index.js';

import { session } from '../session.js';
import { PANEL_CSS, Panel, refused, superseded } from './panel.js';

/** Goals that a dose of another system is judged by, one on each line; they stay while one looks at other doses. */
let goalsText = '';
const goalLines = () =>
  goalsText
    .split('\n')
    .map((g) => g.trim())
    .filter(Boolean);

/** What is wrong with them; null where nothing is. */
function goalProblem() {
  for (const goal of goalLines()) {
    const found = parseGoal(goal);
    if ('error' in found) return `${goal}: ${found.error}`;
  }
  return null;
}

function goalsOfEvaluation() {
  const problem = goalProblem();
  const p = session.dose.isSum ? null : session.prescribed;
  return html`<label class="field goals">Goals, one on each line ${p ? html`(of ${prescription(p)}, as its RT Plan says)` : `(in Gy: ${session.dose.isSum ? 'a sum has no prescription' : 'its prescription is not known'})`}
    <textarea rows="3" spellcheck=${false} value=${goalsText} placeholder="SpinalCord: Dmax ≤ 45 Gy" aria-invalid=${problem ? 'true' : null}
      onInput=${(e) => {
        goalsText = e.target.value;
        session.dispatchEvent(new Event('change'));
      }}></textarea></label>
    ${problem && html`<p class="bad small" role="status">${problem}</p>`}`;
}

/** Why there is nothing to show for the present choice. */
function nothing(what) {
  if (session.isStoredDifference) {
    return html`<${Empty} title=${`A difference of doses has no ${what}`}>
      <p>It says where one dose is above or below another one; it is not a dose that could be judged.</p>
      ${session.plan && html`<button class="button" onClick=${() => session.choose({ kind: 'plan', id: session.plan?.id ?? '' })}>Show the check that it is of</button>`}<//>`;
  }
  if (session.other && session.how === 'plus') return ofSum(what);
  if (session.choice?.kind === 'dose') {
    const { status, error } = session.evaluationOf(session.choice.id);
    if (status === 'error')
      return html`<${Problem} error=${error} action=${html`<button class="button" onClick=${() => session.evaluate()}>Try again</button>`} />`;
    const possible = session.structureSetUid && session.dose.status === 'ready';
    return html`<${Empty} title=${`No ${what} yet for this dose`}>
      <p>${session.plans.status === 'ready' ? 'It was made by another system. ' : ''}Its DVH can be computed here, with the structure set that is shown.</p>
      ${possible && goalsOfEvaluation()}
      <button class="button primary" disabled=${!possible || status === 'asked' || goalProblem() !== null} onClick=${() => session.evaluate(goalLines())}>${status === 'asked' ? 'Asking…' : 'Evaluate this dose'}</button><//>`;
  }
  return html`<${Empty} title="No plan is chosen">Choose one in the panel Dose or Runs, or ask for one in the panel Plan.<//>`;
}

/** The service judges the sum as it does any dose: its curves are not made in the viewer. */
function ofSum(what) {
  const { dose } = session;
  if (dose.status !== 'ready') return html`<${Empty} title=${`No ${what}`}>Why there is no sum stands in the panel Dose.<//>`;
  const [one, other] = dose.parts;
  const { status, error } = session.evaluationOf(one.sopUid, other.sopUid);
  const ask = () => session.evaluate(goalLines());
  if (status === 'error')
    return html`<${Problem} error=${error} action=${html`<button class="button" onClick=${ask}>Try again</button>`} />`;
  return html`<${Empty} title=${`No ${what} yet of this sum`}>
    <p>${one.label} + ${other.label}: both doses are added by the service, and judged with the structure set that is shown.</p>
    ${goalsOfEvaluation()}
    <button class="button primary" disabled=${!session.structureSetUid || status === 'asked' || goalProblem() !== null} onClick=${ask}>${status === 'asked' ? 'Asking…' : 'Evaluate this sum'}</button><//>`;
}

const SHOWN = { minus: 'B − A', plus: 'their sum', beside: 'A and B beside each other' };

/** What the images show of two doses, where curves and goals are of something else. */
function together() {
  const { other, how } = session;
  if (!other) return null;
  const curves = how === 'plus' ? 'Curves and goals are of the sum.' : other.kind === 'plan' ? '' : 'What is here is of the plan alone.';
  const says = `${other.kind === 'plan' ? 'Two plans' : 'Two doses'}: the images show ${SHOWN[how]}. ${curves}`;
  const others = Object.entries({ minus: 'Difference', beside: 'Side by side' }).filter(([name]) => name !== how);
  return html`<${Note}>${says} ${others.map(([name, text]) => html`<button class="button quiet accent" onClick=${() => session.combine(name, other)}>${text}</button>`)}
    <button class="button quiet accent" onClick=${() => session.combine('minus', null)}>Only ${how === 'plus' ? 'the first' : 'B'}</button><//>`;
}

const goals = (planIds) => html`<radiarch-goals theme="dark" plan-ids=${planIds}
  onradiarch-structure-selected=${(e) => session.toggleStructure(e.detail.structure, true)}></radiarch-goals>`;

class Dvh extends Panel {
  // on a screen that is high enough the goals stand below their curves as well
  static css = `${PANEL_CSS} section { display: none; } @media (min-height: 940px) { section { display: block; } } h3 { padding: 8px 0 4px; }`;

  view() {
    if (!this.planIds) return nothing('DVH');
    const hidden = [...session.hidden].map(encodeURIComponent).join(',');
    return [
      superseded(session.plan),
      together(),
      html`<radiarch-dvh theme="dark" plan-ids=${this.planIds} hidden-structures=${hidden}
        onradiarch-structure-visibility=${(e) => session.toggleStructure(e.detail.structure, e.detail.visible)}></radiarch-dvh>`,
      html`<section><h3>Goals</h3>${goals(this.planIds)}</section>`,
    ];
  }
}

class Goals extends Panel {
  static css = PANEL_CSS;

  view() {
    if (!this.planIds) return nothing('goals');
    // of a plan that is compared with another one, the verdict would be of the first alone
    const verdict = this.planIds.includes(',')
      ? null
      : html`<radiarch-verdict theme="dark" if-any plan-id=${this.planIds}></radiarch-verdict>`;
    return [superseded(session.plan), together(), verdict, goals(this.planIds)];
  }
}

class Runs extends Panel {
  static css = PANEL_CSS;

  view() {
    const patient = session.plan?.patient_id ?? session.plans.items?.[0]?.patient_id;
    if (!session.studyUid) return html`<${Empty} title="No study is open">Open one from the study list.<//>`;
    const selected = session.choice?.kind === 'plan' ? session.choice.id : '';
    const handlers = (e) => this.handle(e);
    return html`${refused()}<div onradiarch-select-plan=${handlers} onradiarch-compare=${handlers}>${
      patient
        ? html`<radiarch-runs theme="dark" compact patient-id=${patient} selected=${selected}></radiarch-runs>`
        : html`<radiarch-runs theme="dark" compact study-uid=${session.studyUid} selected=${selected}></radiarch-runs>`
    }</div>`;
  }

  handle(event) {
    event.preventDefault();
    if (event.type === 'radiarch-select-plan') show(event.detail.planId);
    else compare(event.detail.planIds);
  }
}

/** Show a plan here, or open its study where it is of another one. */
export async function show(planId) {
  if (session.plans.items?.some((p) => p.id === planId)) {
    session.choose({ kind: 'plan', id: planId });
    return;
  }
  const plan = await api().get(`/plans/${encodeURIComponent(planId)}`);
  if (plan.study_instance_uid === session.studyUid) session.choose({ kind: 'plan', id: planId });
  else
    location.assign(`/ohif/radiarch?StudyInstanceUIDs=${encodeURIComponent(plan.study_instance_uid)}&plan=${encodeURIComponent(planId)}`);
}

/** The later choice against the first. */
async function compare([first, second]) {
  await show(second);
  session.subtract({ kind: 'plan', id: first });
}

customElements.define('radiarch-viewer-dvh', Dvh);
customElements.define('radiarch-viewer-goals', Goals);
customElements.define('radiarch-viewer-runs', Runs);
