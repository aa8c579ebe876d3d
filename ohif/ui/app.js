// The light page: its frame and its routes. Each place is an element of its own; the address behind # says which.
import { api } from '../elements/core/api.js';
import { html, render } from '../elements/core/dom.js';
import { live } from '../elements/core/live.js';
import '../elements/index.js';
import './pages.js';
import './plan-page.js';
import './record-pages.js';

const PLACES = [
  ['plans', 'Plans'],
  ['record', 'Studies'],
  ['arrivals', 'Arrivals'],
  ['new', 'New plan'],
  ['protocols', 'Protocols'],
  ['workers', 'Workers'],
];
const INFO_MS = 20_000;
const THEMES = { light: 'dark', dark: 'light' };
/** @type {{info: import('../types/service').InfoAnswer | null, problem: unknown, offline: boolean, theme: string | null}} */
const state = { info: null, problem: null, offline: false, theme: stored('radiarch-theme') };

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** `#/plans/ID` → ['plans', 'ID']. */
function route() {
  const parts = location.hash
    .replace(/^#\/?/, '')
    .split('/')
    .map((p) => decodeURIComponent(p));
  return parts[0] ? parts : ['plans'];
}

/** @param {string[]} route */
function place([name, a, b]) {
  if (name === 'plans' && a && b === 'again') return html`<radiarch-new-page key="again" plan-id=${a} />`;
  if (name === 'plans' && a) return html`<radiarch-plan-page key="plan" plan-id=${a} />`;
  if (name === 'plans') return html`<radiarch-plans-page key="plans" />`;
  if (name === 'patients') return html`<radiarch-plans-page key="patient" patient-id=${a} />`;
  if (name === 'studies') return html`<radiarch-plans-page key="study" study-uid=${a} />`;
  if (name === 'structure-sets') return html`<radiarch-plans-page key="set" rtstruct-uid=${a} />`;
  if (name === 'record' && a) return html`<radiarch-study-page key="study-record" study-uid=${a} patient-id=${b || null} />`;
  if (name === 'record') return html`<radiarch-studies-page key="record" />`;
  if (name === 'arrivals') return html`<radiarch-arrivals-page key="arrivals" />`;
  if (name === 'new')
    return html`<radiarch-new-page key="new" rtstruct-uid=${a === 'study' ? null : (a ?? null)} study-uid=${a === 'study' ? b : null} />`;
  if (name === 'check') return html`<radiarch-check-page key="check" study-uid=${a ?? null} object-uid=${b ?? null} />`;
  if (name === 'compare') return html`<radiarch-compare-page key="compare" plan-ids=${a ?? ''} />`;
  if (name === 'protocols') return html`<radiarch-protocols-page key="protocols" protocol-id=${a ?? null} />`;
  if (name === 'workers') return html`<radiarch-workers-page key="workers" />`;
  return html`<radiarch-missing-page key="missing" />`;
}

function frame() {
  const at = route();
  const [tone, text] = health();
  return html`
    <header class="bar">
      <a class="brand" href="#/plans"><${Mark} />Radiarch</a>
      <nav class="main" aria-label="Main">${PLACES.map(([name, title]) => html`<a href=${`#/${name}`} aria-current=${at[0] === name ? 'page' : null}>${title}</a>`)}</nav>
      <span class="push"></span>
      <a class="health" href="#/workers"><span class="dot ${tone}"></span>${text}</a>
      <button class="theme" aria-label=${dark() ? 'Light colors' : 'Dark colors'} title=${dark() ? 'Light colors' : 'Dark colors'} onClick=${turn}><${Moon} /></button>
    </header>
    ${state.offline && html`<div class="offline" role="alert">The service does not answer. This page shows what it knew last, and tries again by itself.</div>`}
    <main id="main" tabindex="-1">${place(at)}</main>
    <footer>For research and quality assurance only: every plan and dose is UNAPPROVED.${state.info ? ` Radiarch ${state.info.version}.` : ''}</footer>`;
}

function health() {
  const { info, problem } = state;
  if (problem) return ['bad', 'No answer'];
  if (!info) return ['warn', 'Asking…'];
  if (!info.ready) return ['bad', info.problems.length > 1 ? `${info.problems.length} problems` : 'Not ready'];
  if (info.problems.length) return ['warn', info.problems.length > 1 ? `Ready, ${info.problems.length} problems` : 'Ready, 1 problem'];
  const { running, queued } = info.queue ?? { running: 0, queued: 0 };
  return ['', running + queued ? `${running} running, ${queued} queued` : 'Ready'];
}

const Mark =
  () => html`<svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" fill="#0b5cad" />
  <g fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round"><circle cx="16" cy="16" r="3.6" fill="#fff" stroke="none" /><path d="M16 4.5v5M16 22.5v5M4.5 16h5M22.5 16h5" />
  <path d="M8.6 23.4a10.5 10.5 0 0 1 0-14.8M23.4 8.6a10.5 10.5 0 0 1 0 14.8" opacity=".75" /></g></svg>`;
const Moon = () =>
  html`<svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.5" /><path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" /></svg>`;

const dark = () => (state.theme ? state.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches);

function turn() {
  state.theme = THEMES[dark() ? 'dark' : 'light'];
  try {
    localStorage.setItem('radiarch-theme', state.theme);
  } catch {
    // then it holds until the page is left
  }
  paint();
}

function paint() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  render(frame(), /** @type {HTMLElement} */ (document.getElementById('app')));
  const page = document.querySelector('main > *');
  if (state.theme) page?.setAttribute('theme', state.theme);
}

const TITLES = {
  plans: 'Plans',
  record: 'Studies',
  arrivals: 'Arrivals',
  new: 'New plan',
  check: 'Check',
  compare: 'Compare',
  protocols: 'Protocols',
  workers: 'Workers',
};

function moved() {
  const [name, id] = route();
  document.title = `${name === 'plans' && id ? `Plan ${id.slice(0, 8)}` : (TITLES[name] ?? 'Plans')} – Radiarch`;
  paint();
  scrollTo(0, 0);
}

async function ask() {
  if (document.visibilityState !== 'visible') return;
  try {
    state.info = await api().get('/info');
    state.problem = null;
  } catch (e) {
    state.problem = e;
  }
  paint();
}

addEventListener('hashchange', moved);
addEventListener('radiarch-select-plan', (/** @type {any} */ e) => {
  e.preventDefault();
  location.hash = `/plans/${e.detail.planId}`;
});
addEventListener('radiarch-compare', (/** @type {any} */ e) => {
  e.preventDefault();
  location.hash = `/compare/${e.detail.planIds.join(',')}`;
});
addEventListener('radiarch-planned', (/** @type {any} */ e) => {
  location.hash = `/plans/${e.detail.planId}`;
});
live(api()).addEventListener('offline', () => {
  state.offline = true;
  paint();
});
live(api()).addEventListener('online', () => {
  state.offline = false;
  paint();
});
document.addEventListener('visibilitychange', ask);
moved();
ask();
setInterval(ask, INFO_MS);
