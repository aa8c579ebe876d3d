// The base of the viewer's panels: custom elements that follow the session; OHIF mounts them as React elements.
import '/radiarch/elements/index.js';
import { html } from '/radiarch/elements/core/dom.js';
import { RadiarchElement } from '/radiarch/elements/core/element.js';
import { Note, Problem } from '/radiarch/elements/core/parts.js';

import { session } from '../session.js';

export class Panel extends RadiarchElement {
  connectedCallback() {
    this.setAttribute('theme', 'dark');
    super.connectedCallback();
  }

  async start(scope) {
    const changed = () => this.repaint();
    session.addEventListener('change', changed);
    scope.onEnd(() => session.removeEventListener('change', changed));
    this.repaint();
  }

  /** The evaluation of the sum that is shown. */
  get sum() {
    return session.evaluationOf(...(session.dose.parts ?? []).map((p) => p.sopUid));
  }

  /** The plans whose curves and goals belong to what is shown, that which is taken off first: B − A is what the images show. */
  get planIds() {
    if (session.isStoredDifference) return '';
    if (session.choice?.kind === 'dose') return session.evaluationOf(session.choice.id).planId ?? '';
    if (session.other && session.how === 'plus') return session.isEvaluatedSum ? (session.choice?.id ?? '') : (this.sum.planId ?? '');
    const ids = [session.other, session.choice].map((c) => (c?.kind === 'plan' ? c.id : null));
    return ids[1] === null ? '' : ids.filter(Boolean).join(',');
  }
}

/** Said wherever a superseded plan's results are. */
export const superseded = (plan) =>
  plan?.superseded_at &&
  html`<${Note} tone="warn">This plan is superseded: its structure set has changed since. Curves and goals are of the contours that it was made for, the images have those of now.
    ${plan.superseded_by && html`<button class="button quiet accent" onClick=${() => session.choose({ kind: 'plan', id: plan.superseded_by })}>Show the newer plan</button>`}<//>`;

/** Said where the structure set that is shown was not planned: why, and what to do. */
export const refused = () => session.refusal && html`<${Problem} tone="warn" error=${session.refusal} />`;

export const PANEL_CSS = `
  :host { height: 100%; overflow: auto; background: var(--surface); }
  .root { padding: 12px; display: grid; gap: 12px; align-content: start; grid-template-columns: minmax(0, 1fr); }
  label.field { display: grid; gap: 3px; font-size: 12px; color: var(--text-2); }
  label.field > select, label.field > input { color: var(--text); font-size: 13px; width: 100%; }
  fieldset { border: 0; border-top: 1px solid var(--line); margin: 0; padding: 10px 0 0; display: grid; gap: 8px; min-width: 0; grid-template-columns: minmax(0, 1fr); }
  legend { float: left; padding: 0; margin: 0 0 2px; font-weight: 600; }
  legend + * { clear: both; }
  label.check { display: flex; align-items: center; gap: 7px; min-height: 24px; }
  input[type="checkbox"], input[type="range"] { accent-color: var(--accent); margin: 0; }
  input[type="range"] { width: 100%; }
  .button.accent { color: var(--accent); }
  label.goals { text-align: left; padding-bottom: 8px; } label.goals textarea { color: var(--text); font: inherit; width: 100%; }
`;

/** OHIF's panel: a React 18 element made by hand, as there is no bundler; its type is our custom element. */
export function panelComponent(tag) {
  const element = {
    $$typeof: Symbol.for('react.element'),
    type: tag,
    key: null,
    ref: null,
    props: { style: { display: 'block', height: '100%', minHeight: 0 } },
    _owner: null,
    _store: {},
  };
  return () => element;
}
