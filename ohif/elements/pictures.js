// <radiarch-pictures>: the dose on three planes through the isocenter, as the worker has rendered it.
import { html } from './core/dom.js';
import { RadiarchElement, define } from './core/element.js';
import { words } from './core/format.js';
import { Bones, Empty, NoResult, Problem } from './core/parts.js';

const PLANES = ['axial', 'coronal', 'sagittal'];

class Pictures extends RadiarchElement {
  static subjects = ['plan-id'];
  static css = `
    .planes { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; }
    figure { margin: 0; min-width: 0; }
    img { display: block; width: 100%; height: auto; border-radius: 6px; background: #000; }
    figcaption { padding-top: 4px; color: var(--text-2); font-size: 12px; }
  `;

  initial() {
    return { missing: {}, shown: {} };
  }

  async start(scope) {
    const id = this.getAttribute('plan-id');
    if (id) this.follow(scope, id);
  }

  view() {
    const { plan, error, missing } = this.state;
    if (!this.getAttribute('plan-id')) return html`<${Empty} title="No plan is chosen">Its dose appears here.<//>`;
    if (error) return html`<${Problem} error=${error} />`;
    if (!plan) return html`<${Bones} lines="6" />`;
    if (plan.state !== 'succeeded') return html`<${NoResult} plan=${plan} what="dose" />`;
    const scope = this.scope;
    const there = PLANES.filter((plane) => !missing[plane]);
    if (!there.length) return html`<${Empty} title="No pictures of this dose">Open the study in the viewer to see it.<//>`;
    return html`<div class="planes">${there.map(
      (plane) => html`<figure key=${`${plan.id} ${plane}`}>
        <img src=${this.api.url(`/plans/${plan.id}/pictures/${plane}`)} alt=${`Dose on the ${plane} plane through the isocenter`}
          onError=${() => this.set(scope, { missing: { ...this.state.missing, [plane]: true } })} />
        <figcaption>${words(plane)}</figcaption>
      </figure>`,
    )}</div>`;
  }
}

define('radiarch-pictures', Pictures);
