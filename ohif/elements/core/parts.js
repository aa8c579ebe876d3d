// Small parts that several elements show: states, goals' status, errors, loading, empty places.
import { html } from './dom.js';
import { personName, words } from './format.js';

const PATHS = {
  check: 'M3.5 8.5l3 3 6-7',
  cross: 'M4 4l8 8M12 4l-8 8',
  half: 'M8 2a6 6 0 0 0 0 12z',
  dash: 'M4 8h8',
  clock: 'M8 4.5V8l2.5 1.5',
  alert: 'M8 4.5v4.2M8 11.2v.3',
  info: 'M8 7.3v4M8 4.6v.3',
  play: 'M6.3 5.2v5.6L11 8z',
  chevron: 'M6 4l4 4-4 4',
  plus: 'M8 3v10M3 8h10',
  external: 'M6 3H3v10h10v-3M9 3h4v4M13 3L7.5 8.5',
  search: 'M7 3a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM10 10l3.5 3.5',
};
const ROUND = new Set(['check', 'cross', 'clock', 'alert', 'info', 'play', 'half', 'dash']);

/** A line drawing of 16 by 16; `round` draws the circle around it. */
export function Icon({ name, size = 16, round = ROUND.has(name) }) {
  const inner = name === 'half' || name === 'play' ? 'currentColor' : 'none';
  const scale = round && !['half', 'clock', 'alert', 'info', 'play'].includes(name) ? 'translate(2.4 2.4) scale(.7)' : null;
  return html`<svg width=${size} height=${size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    ${round && html`<circle cx="8" cy="8" r="6.5" />`}
    <path d=${PATHS[name]} fill=${inner} transform=${scale} />
  </svg>`;
}

/** Whose it is: name and id, each in its own direction of writing. */
export function Who({ of }) {
  const name = personName(of.patient_name);
  const id = of.patient_id || '–';
  if (!name) return html`<div class="clip" title=${id}><bdi>${id}</bdi></div>`;
  return html`<div class="clip" title=${name}><bdi>${name}</bdi></div><div class="clip small muted" title=${id}><bdi>${id}</bdi></div>`;
}

const STATES = {
  waiting: ['clock', 'muted', 'Waiting for images'],
  queued: ['clock', 'muted', 'Queued'],
  running: ['play', '', 'Running'],
  succeeded: ['check', 'good', 'Done'],
  failed: ['cross', 'bad', 'Failed'],
  cancelled: ['dash', 'muted', 'Cancelled'],
};

export function State({ state, short = false }) {
  const [icon, tone, text] = STATES[state] ?? ['info', 'muted', words(state)];
  return html`<span class="status ${tone}"><${Icon} name=${icon} />${short && state === 'waiting' ? 'Waiting' : text}</span>`;
}

export const GOALS = { met: ['check', 'good', 'Met'], near: ['half', 'warn', 'Near'], missed: ['cross', 'bad', 'Missed'] };

export function GoalStatus({ status }) {
  const [icon, tone, text] = GOALS[status] ?? ['dash', 'muted', 'Open'];
  return html`<span class="status ${tone}" title=${text}><${Icon} name=${icon} /><span class="word">${text}</span></span>`;
}

export const OUTCOMES = { pass: ['check', 'good', 'Pass'], look: ['alert', 'warn', 'Look'], fail: ['cross', 'bad', 'Fail'] };

/** What a check, or one criterion of it, says. */
export function Outcome({ result }) {
  const [icon, tone, text] = OUTCOMES[result] ?? ['dash', 'muted', words(result)];
  return html`<span class="status ${tone}" title=${text}><${Icon} name=${icon} /><span class="word">${text}</span></span>`;
}

/** How many goals came out how, in a few characters. */
export function GoalCounts({ counts }) {
  if (!counts) return html`<span class="muted">–</span>`;
  const parts = ['met', 'near', 'missed'].filter((k) => counts[k]);
  const text = parts.map((k) => `${counts[k]} ${k}`).join(', ') || 'none judged';
  return html`<span class="row" style="gap:7px;flex-wrap:nowrap" title=${text} aria-label=${text}>
    ${parts.map(
      (k) => html`<span class="status ${GOALS[k][1]}" style="gap:3px"><${Icon} name=${GOALS[k][0]} size="14" />${counts[k]}</span>`,
    )}
  </span>`;
}

/** An error of the service: what was found, and what to do. */
export function Problem({ error, tone = 'bad', action }) {
  return html`<div class="notice ${tone}" role="alert">
    <${Icon} name=${tone === 'bad' ? 'cross' : 'alert'} />
    <div>
      <div>${sentence(error.message)}</div>
      ${error.remedy && html`<div class="remedy">${sentence(error.remedy)}</div>`}
      ${action}
    </div>
  </div>`;
}

export function Note({ children, tone = 'info' }) {
  return html`<div class="notice ${tone}"><${Icon} name=${tone === 'info' ? 'info' : 'alert'} /><div>${children}</div></div>`;
}

export const Bones = ({ lines = 4 }) =>
  html`<div class="bones" role="status" aria-label="Loading">${Array.from({ length: lines }, () => html`<div class="bone"></div>`)}</div>`;

export const Empty = ({ title, children }) => html`<div class="empty"><strong>${title}</strong>${children}</div>`;

export function sentence(text) {
  const value = String(text ?? '');
  const first = value.charAt(0).toUpperCase() + value.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

/** What stands where a plan's results will be: there is none yet, or never. */
export function NoResult({ plan, what }) {
  if (plan.state === 'failed') return html`<${Empty} title="No ${what}">The plan failed before there was one.<//>`;
  if (plan.state === 'cancelled') return html`<${Empty} title="No ${what}">The plan was cancelled.<//>`;
  return html`<${Empty} title="No ${what} yet">It appears here when the plan is done.<//>`;
}
