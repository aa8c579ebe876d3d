// <radiarch-viewer-plan>: asking for a plan of the structure set that is shown, and watching it come.
import { html } from '/radiarch/elements/core/dom.js';
import { Bones, Empty } from '/radiarch/elements/core/parts.js';

import { session } from '../session.js';
import { PANEL_CSS, Panel } from './panel.js';
import { show } from './results.js';

class Plan extends Panel {
  static css = `${PANEL_CSS} .parts { display: grid; gap: 16px; grid-template-columns: minmax(0, 1fr); }`;

  view() {
    if (!session.studyUid) return html`<${Empty} title="No study is open">Open one from the study list.<//>`;
    if (session.objects.status === 'loading') return html`<${Bones} lines="6" />`;
    if (!session.structureSetUid) {
      return html`<${Empty} title="Nothing to plan on">This study has no structure set. Send an RT Structure Set, then load the page again.<//>`;
    }
    const chosen = session.choice?.kind === 'plan' ? session.choice.id : null;
    return html`<div class="parts" onradiarch-planned=${(e) => this.watch_(e.detail.planId)} onradiarch-select-plan=${(e) => {
      e.preventDefault();
      show(e.detail.planId);
    }}>
      ${chosen && session.dose.status === 'pending' && html`<radiarch-progress theme="dark" plan-id=${chosen}></radiarch-progress>`}
      <radiarch-plan-form theme="dark" rtstruct-uid=${session.structureSetUid}></radiarch-plan-form>
    </div>`;
  }

  /** The plan that was just asked for is shown, and its progress brought into view. */
  watch_(planId) {
    show(planId);
    this.scrollTop = 0;
  }
}

customElements.define('radiarch-viewer-plan', Plan);
