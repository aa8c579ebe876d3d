// <radiarch-viewer-banner>: which plan or dose the images show, and what must be known before it is judged.
import { html } from '/radiarch/elements/core/dom.js';
import { prescription, shortId, when } from '/radiarch/elements/core/format.js';
import { NOTES_CSS, NoteList } from '/radiarch/elements/core/notes.js';
import { Note, State, sentence } from '/radiarch/elements/core/parts.js';
import { planName } from '/radiarch/elements/index.js';

import { doseLabel, session } from '../session.js';
import { keepBesideImages } from './beside.js';
import { Panel } from './panel.js';

const EXTENTS = {
  FRACTION: 'This dose is of one fraction group, not of the whole plan (Dose Summation Type FRACTION).',
  BEAM: 'This dose is of one or several beams, not of the whole plan (Dose Summation Type BEAM).',
  CONTROL_POINT: 'This dose is of control points of a beam, not of the whole plan (Dose Summation Type CONTROL_POINT).',
};
const SUPERSEDED = 'Superseded: the structure set has changed since this plan was made';

class Banner extends Panel {
  static css = `
    :host { display: block; background: var(--surface); border-bottom: 1px solid var(--line); max-height: 45vh; overflow: auto; }
    :host([empty]) { display: none; }
    @media (max-height: 800px) { :host { max-height: 22vh; } }
    .root { display: grid; gap: 4px; padding: 5px 10px; }
    .what { display: flex; flex-wrap: wrap; gap: 2px 10px; align-items: center; min-width: 0; }
    .what b { overflow-wrap: anywhere; }
    .notes { padding: 4px 9px; font-size: 13px; }
    ${NOTES_CSS}
  `;
  #open = new Set();

  view() {
    const { choice, plan, dose, other, otherPlan, how } = session;
    const [first, second] = how === 'beside' && other ? ['B', 'A'] : ['', how];
    this.toggleAttribute('empty', !choice);
    if (!choice) {
      this.#open.clear();
      return null;
    }
    const chosen = plan
      ? this.one(plan.id, this.heading(plan, first), notesOf(plan))
      : this.one(choice.id, this.stranger(choice.id, first), extent());
    const beside =
      other &&
      (otherPlan
        ? this.one(`${how} ${otherPlan.id}`, this.heading(otherPlan, second), notesOf(otherPlan))
        : this.one(`${how} ${other.id}`, this.stranger(other.id, second), []));
    return [
      ...(how === 'beside' ? [beside, chosen] : [chosen, beside]),
      other && dose.status === 'ready' && dose.legend && html`<div class="muted">${sentence(dose.legend)}</div>`,
      other && dose.warning && html`<${Note} tone="warn">${dose.warning}<//>`,
    ];
  }

  /** A dose that no plan here has made. */
  stranger(sopUid, role) {
    const object = session.objects.items?.find((o) => o.sopUid === sopUid);
    const says = [
      session.plans.status === 'ready' && 'dose of another system',
      !session.other && (session.dose.legend ?? session.dose.quantity),
    ];
    return [
      role && html`<span class="muted">${role}</span>`,
      html`<b>${object ? doseLabel(object) : 'Dose'}</b>`,
      html`<span class="muted">${[...says, object?.study && `study ${object.study}`].filter(Boolean).join(', ')}</span>`,
    ];
  }

  heading(p, says = '') {
    return [
      says && html`<span class="muted">${says}</span>`,
      html`<b>${planName(p)}</b>`,
      html`<span class="muted" title=${p.id}>${shortId(p.id)}</span>`,
      session.isStoredDifference && html`<span>${session.dose.legend}</span>`,
      html`<span class="tag">UNAPPROVED</span>`,
      p.superseded_at && html`<span class="tag">superseded</span>`,
      p.state !== 'succeeded' && html`<${State} state=${p.state} />`,
      html`<span class="muted">${[planName(p) === p.protocol_id ? null : (p.protocol_id ?? p.workflow_id), prescription(p.prescription), when(p.created_at)].filter(Boolean).join(' · ')}</span>`,
    ];
  }

  one(id, heading, notes) {
    return html`<div class="what">${heading}</div>
      <${NoteList} notes=${notes} open=${this.#open.has(id)} onOpen=${(open) => {
        if (open) this.#open.add(id);
        else this.#open.delete(id);
        this.repaint();
      }} />`;
  }
}

const notesOf = (plan) => [...(plan.superseded_at ? [SUPERSEDED] : []), ...(plan.notes ?? [])];
const extent = () => (session.dose.status === 'ready' && EXTENTS[session.dose.summation] ? [EXTENTS[session.dose.summation]] : []);

customElements.define('radiarch-viewer-banner', Banner);

/** Keep the banner above the images; returns how to stop. */
export const keepBanner = () => keepBesideImages('radiarch-viewer-banner', 'prepend');
