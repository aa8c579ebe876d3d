// <radiarch-progress>: where a plan is, what went wrong, and stopping it.
import { uiUrl } from './core/api.js';
import { html } from './core/dom.js';
import { RadiarchElement, define } from './core/element.js';
import { STAGES, eta, exactly, queuePlace, seconds, shortId, stageName, took, when } from './core/format.js';
import { live } from './core/live.js';
import { Bones, Empty, Note, Problem, State } from './core/parts.js';

const ACTIVE = ['waiting', 'queued', 'running'];
const STEPS = Object.keys(STAGES);

class Progress extends RadiarchElement {
  static subjects = ['plan-id'];
  static css = `
    .root { display: grid; gap: 10px; }
    .bar { height: 6px; }
    ol { display: flex; gap: 4px 14px; flex-wrap: wrap; margin: 0; padding: 0; list-style: none; font-size: 12px; color: var(--text-2); }
    li { display: flex; align-items: center; gap: 5px; }
    li::before { content: ""; width: 7px; height: 7px; border-radius: 50%; border: 1.5px solid var(--line-2); }
    li.past::before { background: var(--line-2); }
    li.now { color: var(--text); font-weight: 600; }
    li.now::before { background: var(--accent); border-color: var(--accent); }
    ul.uids { margin: 6px 0 0; padding: 0; list-style: none; font: 12px/1.6 var(--mono); overflow-wrap: anywhere; }
    ul.uids li::before { content: none; }
  `;
  /** @type {string | null} */
  #told = null;

  get planId() {
    return this.getAttribute('plan-id');
  }

  async start(scope) {
    this.#told = null;
    if (!this.planId) return;
    this.follow(scope, this.planId, (plan) => {
      if (plan.state !== this.#told) this.tell('radiarch-plan-changed', { planId: plan.id, state: (this.#told = plan.state) });
    });
    const clock = setInterval(() => this.state.plan?.state === 'running' && this.repaint(), 1000);
    scope.onEnd(() => clearInterval(clock));
  }

  async cancel() {
    const scope = this.scope;
    this.set(scope, { asking: false, cancelling: true, refused: null });
    try {
      const plan = await this.api.delete(`/plans/${this.planId}`);
      this.set(scope, { cancelling: false, plan });
      live(this.api).hurry();
      if (scope?.alive) this.tell('radiarch-cancelled', { planId: plan.id });
    } catch (e) {
      this.set(scope, { cancelling: false, refused: e });
    }
  }

  view() {
    const { plan, error, refused } = this.state;
    if (!this.planId) return html`<${Empty} title="No plan is chosen">Choose one from the list.<//>`;
    if (error) return html`<${Problem} error=${error} />`;
    if (!plan) return html`<${Bones} lines="2" />`;
    return [
      this.superseded(plan),
      refused && html`<${Problem} error=${refused} />`,
      html`<div class="row spread">
        <div class="row">
          <${State} state=${plan.state} />
          <span class="muted">${this.line(plan)}</span>
        </div>
        ${ACTIVE.includes(plan.state) && this.stopper()}
      </div>`,
      plan.state === 'waiting' && this.missing(plan),
      plan.state === 'running' && this.bar(plan),
      plan.error && html`<${Problem} error=${plan.error} />`,
    ];
  }

  line(plan) {
    const attempt = plan.attempt > 1 ? `, attempt ${plan.attempt}` : '';
    if (plan.state === 'waiting') return `${plan.missing_instances} of its images are not stored yet`;
    if (plan.state === 'queued')
      return [queuePlace(plan.queue_position), `since ${when(plan.queued_at ?? plan.created_at)}${attempt}`].filter(Boolean).join(' · ');
    if (plan.state === 'running') return [stageName(plan.stage), eta(plan.eta_s)].filter(Boolean).join(' · ') + attempt;
    const time = took(plan);
    return html`<span title=${exactly(plan.ended_at)}>${when(plan.ended_at)}${time === null ? '' : `, after ${seconds(time)}`}${attempt}</span>`;
  }

  missing(plan) {
    const uids = plan.missing_sop_instance_uids;
    const more = plan.missing_instances - uids.length;
    return (
      uids.length > 0 &&
      html`<details><summary>SOP Instance UIDs of the missing images</summary>
      <ul class="uids">${uids.map((uid) => html`<li>${uid}</li>`)}${more > 0 && html`<li>and ${more} more</li>`}</ul></details>`
    );
  }

  bar(plan) {
    const percent = Math.round(100 * plan.progress);
    const at = STEPS.indexOf(plan.stage);
    return html`<div class="bar" role="progressbar" aria-label="Progress of the plan" aria-valuemin="0" aria-valuemax="100"
        aria-valuenow=${percent}><i style=${{ width: `${percent}%` }}></i></div>
      <ol aria-label="Stages">
        ${STEPS.map((s, i) => html`<li class=${i < at ? 'past' : i === at ? 'now' : ''} aria-current=${i === at ? 'step' : null}>${STAGES[s]}</li>`)}
      </ol>`;
  }

  stopper() {
    if (this.state.cancelling) return html`<button class="button" disabled>Stopping…</button>`;
    if (!this.state.asking) {
      return html`<button class="button" onClick=${() => this.set(this.scope, { asking: true })}>Cancel plan</button>`;
    }
    return html`<div class="row" role="group" aria-label="Cancel this plan?">
      <span>Stop its computation?</span>
      <button class="button danger" onClick=${() => this.cancel()}>Stop it</button>
      <button class="button quiet" onClick=${() => this.set(this.scope, { asking: false })}>Go on</button>
    </div>`;
  }

  superseded(plan) {
    if (!plan.superseded_by && !plan.superseded_at) return null;
    return html`<${Note} tone="warn">
      <strong>Superseded.</strong> The structure set has changed since this plan was made${' '}
      ${
        plan.superseded_by
          ? html`– the newer plan is <a href=${uiUrl(`/plans/${plan.superseded_by}`)} onClick=${(e) => this.choose(e, plan.superseded_by)}>${shortId(plan.superseded_by)}</a>.`
          : '– the new content was not planned.'
      }
    <//>`;
  }

  choose(event, planId) {
    if (!this.tell('radiarch-select-plan', { planId })) event.preventDefault();
  }
}

define('radiarch-progress', Progress);
