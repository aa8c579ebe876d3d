// <radiarch-viewer-profile>: the dose along a line that is drawn on the images, of one dose or of both that are shown.
import { html } from '/radiarch/elements/core/dom.js';
import { fixed } from '/radiarch/elements/core/format.js';
import { Note } from '/radiarch/elements/core/parts.js';
import { packageSheet } from '/radiarch/elements/core/styles.js';
import uPlot from '/radiarch/vendor/uPlot.esm.js';

import { profileOf } from '../lines.js';
import { session } from '../session.js';
import { keepBesideImages } from './beside.js';
import { Panel } from './panel.js';

const CHART_CSS = packageSheet('/radiarch/vendor/uPlot.min.css');
const POINTS = 400;
const LOOKS = [
  { stroke: '#ffb454', dash: [] },
  { stroke: '#7cc7ff', dash: [7, 4] },
  { stroke: '#e6ebf1', dash: [2, 3] },
];

/** What is drawn: each dose by itself, and what is made of the two. */
function linesOf(dose) {
  if (dose.status !== 'ready') return [];
  if (!dose.parts?.length) return [dose];
  const [chosen, other] = dose.parts;
  // as in the DVH: the other one is A
  const letters = dose.isSum ? ['', ''] : ['A · ', 'B · '];
  const both = [other, chosen].map((d, i) => ({ ...d, label: `${letters[i]}${d.label}` }));
  return session.isBeside ? both : [...both, dose];
}

class Profile extends Panel {
  static css = `
    :host { display: block; background: var(--surface); border-top: 1px solid var(--line); max-height: 34vh; overflow: auto; }
    :host([empty]) { display: none; }
    .root { padding: 5px 10px; }
    .top { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; }
    .top label { display: inline-flex; gap: 5px; align-items: center; font-size: 12px; color: var(--text-2); }
    .top input { width: 12em; color: var(--text); font: inherit; }
    .chart { height: 150px; min-width: 0; }
    @media (max-height: 800px) { .chart { height: 100px; } }
    .key span > * { margin-left: 4px; }
    .key { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12px; }
    .line { display: inline-block; width: 22px; height: 0; border-top: 2px solid; vertical-align: middle; margin-right: 5px; }
    .u-legend { display: none; }
  `;
  /** @type {uPlot | null} */
  #chart = null;
  #size = new ResizeObserver(() => this.#resize());
  #at = /** @type {number | null} */ (null);
  #drawn = /** @type {unknown[]} */ ([]);

  constructor() {
    super();
    this.place.adoptedStyleSheets = [CHART_CSS, ...this.place.adoptedStyleSheets];
  }

  ended() {
    this.#size.disconnect();
    this.#chart?.destroy();
    this.#chart = null;
    this.#drawn = [];
  }

  get sampled() {
    const lines = linesOf(session.dose);
    return { lines, ...profileOf(session.profile ?? [[0, 0, 0], [0, 0, 0]], lines.map((d) => d.grid), POINTS) }; // prettier-ignore
  }

  view() {
    const { profile, dose } = session;
    // while the first line is drawn the images keep their size
    const shown = profile && (!session.drawing || !this.hasAttribute('empty'));
    this.toggleAttribute('empty', !shown);
    if (!shown) return null;
    const lines = linesOf(dose);
    const end = (n, label) => html`<label>${label}
      <input aria-label=${`${label}, x y z in mm`} value=${profile[n].map((c) => fixed(c, 1)).join(' ')} onChange=${(e) => this.#move(n, e.target)} /></label>`;
    return html`<div class="top"><b>Dose profile</b> ${end(0, 'from')} ${end(1, 'to')} <span class="muted small">LPS, mm</span>
        <button class="button quiet accent" onClick=${() => this.#save()}>CSV</button>
        <button class="button quiet accent" onClick=${() => session.setDrawing(true)}>Draw another</button>
        <button class="button quiet accent" onClick=${() => session.setProfile(null)}>Close</button></div>
      ${dose.warning && html`<${Note} tone="warn">${dose.warning}<//>`}
      ${
        lines.length
          ? html`<div class="key">${lines.map(
              (
                d,
                i,
              ) => html`<span><span class="line" style=${{ borderColor: LOOKS[i].stroke, borderTopStyle: LOOKS[i].dash.length ? 'dashed' : 'solid' }}></span>${d.label}
            <span class="muted">${d.isDifference ? `difference of ${d.quantity}` : d.quantity}</span> <b class="value">${this.#value(i)}</b></span>`,
            )}
            <span class="muted">${this.#at === null ? '' : `at ${fixed(this.#at, 1)} mm`}</span></div>
            <div class="chart" role="img" aria-label=${this.#spoken()}></div>`
          : html`<p class="muted">There is no dose along this line.</p>`
      }`;
  }

  #spoken() {
    const { lines, distance_mm: distance, values } = this.sampled;
    const most = (v) => fixed(Math.max(0, ...v.filter((gy) => gy !== null)), 1);
    return `Dose along ${fixed(distance[distance.length - 1], 0)} mm. ${lines.map((d, i) => `${d.label}: up to ${most(values[i])} Gy`).join('. ')}.`;
  }

  #value(i) {
    const index = this.#chart?.cursor.idx;
    const gy = this.#at === null || index === null || index === undefined ? null : this.#chart?.data[i + 1]?.[index];
    return gy === null || gy === undefined ? '' : `${fixed(gy, 2)} Gy`;
  }

  #move(n, input) {
    const numbers = input.value.split(/[\s,;]+/).filter(Boolean).map((t) => Number(t.replace('−', '-'))); // prettier-ignore
    const valid = numbers.length === 3 && numbers.every(Number.isFinite);
    input.setAttribute('aria-invalid', String(!valid));
    if (!valid || !session.profile) return;
    const ends = /** @type {[number[], number[]]} */ ([...session.profile]);
    ends[n] = numbers;
    session.setProfile(ends);
  }

  #save() {
    const { lines, distance_mm: distance, world, values } = this.sampled;
    const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
    const head = ['distance_mm', 'x_mm', 'y_mm', 'z_mm', ...lines.map((d) => quoted(`${d.label}, Gy, ${d.quantity}`))];
    const rows = distance.map((d, k) => [d.toFixed(2), ...world[k].map((c) => c.toFixed(2)), ...values.map((v) => v[k]?.toFixed(4) ?? '')]);
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([[head, ...rows].map((r) => r.join(',')).join('\r\n')], { type: 'text/csv' }));
    link.download = 'dose-profile.csv';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  painted() {
    const place = this.place.querySelector('.chart');
    if (!place) return this.ended();
    const wanted = [session.profile, session.dose, place];
    if (this.#chart && wanted.every((w, i) => w === this.#drawn[i])) return undefined;
    this.#chart?.destroy();
    this.#drawn = wanted;
    this.#chart = this.#draw(place);
    this.#size.disconnect();
    this.#size.observe(this);
    return undefined;
  }

  #draw(place) {
    const { lines, distance_mm: distance, values } = this.sampled;
    const css = getComputedStyle(this);
    const color = (name) => css.getPropertyValue(name).trim();
    const font = `12px ${css.fontFamily}`;
    const axis = { stroke: color('--text-2'), font, labelFont: font, labelSize: 16, grid: { stroke: color('--line'), width: 1 }, ticks: { stroke: color('--line'), width: 1, size: 4 } }; // prettier-ignore
    return new uPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height: place.clientHeight,
        padding: [6, 12, 0, 0],
        scales: { x: { time: false } },
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        axes: [
          { ...axis, label: 'Distance (mm)', size: 24 },
          { ...axis, label: 'Dose (Gy)', size: 44 },
        ],
        series: [{}, ...lines.map((d, i) => ({ label: d.label, ...LOOKS[i], width: 1.8, points: { show: false }, spanGaps: false }))],
        hooks: { setCursor: [(u) => this.#hover(u)] },
      },
      [distance, ...values],
      place,
    );
  }

  #hover(u) {
    const inside = u.cursor.left >= 0 && u.cursor.idx !== null;
    const at = inside ? u.data[0][u.cursor.idx] : null;
    if (at === this.#at) return;
    this.#at = at;
    session.point(inside ? this.sampled.world[u.cursor.idx] : null, '');
    this.repaint();
  }

  #resize() {
    const place = this.place.querySelector('.chart');
    if (place && this.#chart && place.clientWidth > 50) this.#chart.setSize({ width: place.clientWidth, height: place.clientHeight });
  }
}

customElements.define('radiarch-viewer-profile', Profile);

/** Keep the profile below the images; returns how to stop. */
export const keepProfile = () => keepBesideImages('radiarch-viewer-profile', 'append');
