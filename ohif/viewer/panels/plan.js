// <radiarch-viewer-plan>: asking for a plan of the structure set that is shown, and watching it come.
import { html } from '/radiarch/elements/core/dom.js';
import { Bones, Empty } from '/radiarch/elements/core/parts.js';

import { session } from '../session.js';
import { PANEL_CSS, Panel } from './panel.js';
import { show } from './results.js';

class Plan extends Panel {
  static css = `${PANEL_CSS} .parts { display: grid; gap: 16px; grid-template-columns: minmax(0, 1fr); }`;
  /** The plan that was asked for here and is not shown yet: the one that is stays in view until its dose is there. */
  #coming = { planId: '', study: '', beside: '' };
  #anew = false;

  view() {
    if (!session.studyUid) return html`<${Empty} title="No study is open">Open one from the study list.<//>`;
    if (session.objects.status === 'loading') return html`<${Bones} lines="6" />`;
    if (!session.structureSetUid) {
      return html`<${Empty} title="Nothing to plan on">This study has no structure set. Send an RT Structure Set, then load the page again.<//>`;
    }
    const chosen = session.choice?.kind === 'plan' ? session.choice.id : null;
    const coming = this.#coming.study === session.studyUid ? this.#coming.planId : '';
    const pending = chosen && session.dose.status === 'pending' ? chosen : coming;
    const from = session.plan?.prescription && session.plan.id === chosen ? chosen : null;
    return html`<div class="parts" onradiarch-planned=${(e) => this.watch_(e.detail.planId)} onradiarch-plan-changed=${(e) => this.changed(e.detail)} onradiarch-select-plan=${(
      e,
    ) => {
      e.preventDefault();
      show(e.detail.planId);
    }}>
      ${pending && html`<radiarch-progress theme="dark" plan-id=${pending}></radiarch-progress>`}
      ${
        from &&
        html`<div class="segmented" role="group" aria-label="What the form starts from">
        <button aria-pressed=${String(!this.#anew)} onClick=${() => this.#start(false)}>From the shown plan</button>
        <button aria-pressed=${String(this.#anew)} onClick=${() => this.#start(true)}>From a protocol</button></div>`
      }
      <radiarch-plan-form theme="dark" plan-id=${from && !this.#anew ? from : null} rtstruct-uid=${session.structureSetUid}></radiarch-plan-form>
    </div>`;
  }

  #start(anew) {
    this.#anew = anew;
    this.repaint();
  }

  /** What was asked for is followed; where a dose is shown, that stays until the other one is there. */
  watch_(planId) {
    if (session.dose.status === 'ready') this.#coming = { planId, study: session.studyUid ?? '', beside: session.choice?.id ?? '' };
    else show(planId);
    this.repaint();
    this.scrollTop = 0;
  }

  changed({ planId, state }) {
    const { beside } = this.#coming;
    if (planId !== this.#coming.planId || state !== 'succeeded') return;
    this.#coming = { planId: '', study: '', beside: '' };
    if (session.choice?.id === beside) show(planId); // whoever has chosen something else since goes on looking at it
  }
}

customElements.define('radiarch-viewer-plan', Plan);
