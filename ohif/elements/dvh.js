// <radiarch-dvh>: cumulative DVHs of one plan or several on one axis, drawn by uPlot.
import uPlot from '../vendor/uPlot.esm.js';
import { doseAt, lastDose, resample, volumeAt } from './core/curves.js';
import { html } from './core/dom.js';
import { define } from './core/element.js';
import { fixed, gy, planName, shortId } from './core/format.js';
import { PLAN_DASHES, PLAN_LETTERS, isTarget, learnColors, structureColor } from './core/palette.js';
import { Bones, Empty, NoResult, Note, Problem } from './core/parts.js';
import { mixture, quantityOf } from './core/quantity.js';
import { packageSheet } from './core/styles.js';
import { PlanList } from './goals.js';

const POINTS = 600;
const MARKS = [98, 95, 2];
const PREVIEW_MS = 2500;
const CHART_CSS = packageSheet(new URL('../vendor/uPlot.min.css', import.meta.url));

class Dvh extends PlanList {
  static looks = ['hidden-structures', 'relative'];
  static css = `
    .frame { display: grid; grid-template-columns: minmax(0, 1fr) minmax(190px, 330px); gap: 8px 18px; align-items: start; }
    .root.narrow .frame { grid-template-columns: minmax(0, 1fr); }
    .tools { grid-column: 1 / -1; }
    .said { padding-bottom: 8px; }
    .chart { height: var(--rad-dvh-height, 340px); min-width: 0; position: relative; }
    .chart:focus-visible { outline-offset: 0; }
    .key { max-height: var(--rad-dvh-height, 340px); overflow: auto; }
    .key th, .key td { padding: 3px 10px 3px 0; border-bottom: 0; }
    .key thead th { position: sticky; top: 0; background: var(--surface); border-bottom: 1px solid var(--line); }
    .toggle { display: flex; align-items: center; gap: 7px; border: 0; background: none; padding: 1px 2px; max-width: 190px; text-align: left; color: inherit; }
    .toggle[aria-pressed="false"] { color: var(--text-2); text-decoration: line-through; }
    .toggle[aria-pressed="false"] .swatch { background: transparent !important; box-shadow: inset 0 0 0 1.5px var(--line-2); }
    tr.focus td { background: var(--surface-2); }
    .dash { width: 26px; height: 8px; color: var(--text); }
    .u-legend { display: none; }
    .u-wrap, .uplot { font: inherit; }
    .one { table-layout: fixed; } .one .num { width: 44px; padding-left: 2px; padding-right: 4px; } .one .at { width: 58px; }
    .one .toggle { max-width: 100%; } .one td:first-child { overflow: hidden; }
    .one .clip { white-space: normal; overflow-wrap: anywhere; }
    sub { font-size: 10px; }
  `;
  /** @type {uPlot | null} */
  #chart = null;
  #drawn = '';
  #hidden = new Set();
  #previewing = new Set();
  #size = new ResizeObserver(() => this.#resize());
  #dark = matchMedia('(prefers-color-scheme: dark)');
  #recolor = () => this.looked();

  constructor() {
    super();
    this.place.adoptedStyleSheets = [CHART_CSS, ...this.place.adoptedStyleSheets];
  }

  connectedCallback() {
    this.#dark.addEventListener('change', this.#recolor);
    super.connectedCallback();
  }

  disconnectedCallback() {
    this.#dark.removeEventListener('change', this.#recolor);
    super.disconnectedCallback();
  }

  initial() {
    return { ...super.initial(), curves: {}, at: null, focus: null, relative: this.hasAttribute('relative') };
  }

  ended() {
    this.#size.disconnect();
    this.#chart?.destroy();
    this.#chart = null;
    this.#drawn = '';
  }

  looked(name) {
    if (name === 'relative') this.set(this.scope, { relative: this.hasAttribute('relative') });
    if (name === 'hidden-structures') {
      const text = this.getAttribute('hidden-structures') ?? '';
      this.#hidden = new Set(text.split(',').filter(Boolean).map(decodeURIComponent));
    }
    this.#drawn = '';
    this.repaint();
  }

  restart() {
    this.#hidden = new Set((this.getAttribute('hidden-structures') ?? '').split(',').filter(Boolean).map(decodeURIComponent));
    super.restart();
  }

  async arrived(scope, plan) {
    if (plan.state === 'running') this.#preview(scope, plan);
    if (plan.state !== 'succeeded' || (this.state.curves[plan.id] && !this.state.curves[plan.id].preview)) return;
    try {
      const colors = learnColors(this.api, plan.rtstruct_sop_instance_uid); // first: curves do not change theirs once they are seen
      const [found] = await Promise.all([this.api.get(`/plans/${plan.id}/dvh`, { signal: scope.signal }), colors]);
      this.set(scope, { curves: { ...this.state.curves, [plan.id]: found } });
    } catch (e) {
      if (e.name !== 'AbortError') this.set(scope, { errors: { ...this.state.errors, [plan.id]: e } });
    }
  }

  /** While a plan runs, the curves of its optimized beamlets, if it tells them; asked for again and again. */
  async #preview(scope, plan) {
    if (this.#previewing.has(plan.id)) return;
    this.#previewing.add(plan.id);
    try {
      while (scope.alive && this.state.plans[plan.id]?.state === 'running') {
        if (document.visibilityState === 'visible') {
          const job = await this.api.get(`/jobs/${plan.id}`, { signal: scope.signal });
          const curves = job.solver?.dvh;
          if (Array.isArray(curves) && this.state.plans[plan.id]?.state === 'running') {
            if (JSON.stringify(curves) !== JSON.stringify(this.state.curves[plan.id]?.curves)) this.#drawn = '';
            this.set(scope, { curves: { ...this.state.curves, [plan.id]: { curves, preview: true } } });
          }
        }
        await new Promise((resolve) => setTimeout(resolve, PREVIEW_MS));
      }
    } catch {
      // a preview is not needed; the next state of the plan brings another try
    } finally {
      this.#previewing.delete(plan.id);
    }
  }

  /** One line for each structure of each plan, in the order in which they are listed. */
  get lines() {
    const lines = [];
    this.plans?.forEach((plan, number) => {
      const found = this.state.curves[plan.id];
      for (const curve of found?.curves ?? []) lines.push({ plan, number, curve, dash: PLAN_DASHES[number], reference: false });
      for (const curve of found?.reference_curves ?? []) lines.push({ plan, number, curve, dash: [2, 3], reference: true });
    });
    return lines;
  }

  get relative() {
    return this.state.relative && this.plans?.every((p) => p.prescription);
  }

  view() {
    if (!this.planIds.length) return html`<${Empty} title="No plan is chosen">Its dose-volume histogram appears here.<//>`;
    if (this.firstError) return html`<${Problem} error=${this.firstError} />`;
    const plans = this.plans;
    if (!plans) return html`<${Bones} lines="8" />`;
    const preview = plans.find((p) => p.state === 'running' && this.state.curves[p.id]?.preview);
    const open = plans.find((p) => p.state !== 'succeeded' && p !== preview);
    if (open) return html`<${NoResult} plan=${open} what="dose-volume histogram" />`;
    if (!plans.every((p) => this.state.curves[p.id])) return html`<${Bones} lines="8" />`;
    if (!this.lines.length) return html`<${Empty} title="No curves">The plan's result has no dose-volume histogram.<//>`;
    const mixed = mixture(plans);
    return html`${mixed && html`<div class="said"><${Note} tone="warn">${mixed}<//></div>`}
    ${preview && html`<div class="said"><${Note}><b>Preview</b> from the optimized beamlets. The final dose is still computed, and will differ.<//></div>`}
    <div class="frame">
      <div class="row spread tools">
        <div class="segmented" role="group" aria-label="Dose axis">
          <button aria-pressed=${String(!this.relative)} onClick=${() => this.#setRelative(false)}>Gy</button>
          <button aria-pressed=${String(Boolean(this.relative))} disabled=${!plans.every((p) => p.prescription)}
            onClick=${() => this.#setRelative(true)}>% of prescription</button>
        </div>
        <div class="row">
          ${plans.length > 1 && plans.map((p, i) => html`<span class="row nowrap small" style="gap:5px"><${Dash} dash=${PLAN_DASHES[i]} /><b>${PLAN_LETTERS[i]}</b> <span class="muted">${planName(p)} ${shortId(p.id)}</span></span>`)}
          ${this.lines.some((l) => this.#band(l)) && html`<span class="row nowrap small" style="gap:5px"><span class="swatch" style="opacity:.4;width:22px"></span>all scenarios</span>`}
          ${this.lines.some((l) => l.reference) && html`<span class="row nowrap small" style="gap:5px"><${Dash} dash=${[2, 3]} />reference dose</span>`}
          ${plans.length === 1 && plans[0].state === 'succeeded' && html`<a class="small" href=${this.api.url(`/plans/${plans[0].id}/dvh`, { format: 'csv' })} download>CSV</a>`}
        </div>
      </div>
      <div class="chart" tabindex="0" role="img" aria-label=${this.#spoken()} onKeyDown=${(e) => this.#key(e)}></div>
      <div class="key">${this.#keyTable(plans)}</div>
    </div>`;
  }

  #spoken() {
    const targets = this.lines.filter((l) => isTarget(l.curve.structure) && !l.reference).slice(0, 4);
    const said = targets.map((l) => `${l.curve.structure}: D95 ${gy(doseAt(l.curve, 95))}, D2 ${gy(doseAt(l.curve, 2))}`);
    return `Dose-volume histogram. ${said.join('. ')}. Left and right arrows read values.`;
  }

  #keyTable(plans) {
    const names = [...new Set(this.lines.map((l) => l.curve.structure))];
    const at = this.state.at;
    const heads = plans.length > 1 ? plans.map((_, i) => PLAN_LETTERS[i]) : this.lines.some((l) => l.reference) ? ['', 'Ref.'] : [''];
    if (heads.length === 1) return this.#keyOfOne(names, at);
    const unit = this.relative ? '%' : 'Gy';
    return html`<table>
      <thead><tr><th scope="col">Structure</th>
        ${heads.map((head) => html`<th scope="col" class="num">${head} ${at === null ? html`D95 <span class="small">${unit}</span>` : html`V(${fixed(at, 1)}\u202f${unit})`}</th>`)}
      </tr></thead>
      <tbody>${names.map(
        (name) => html`<tr class=${this.state.focus === name ? 'focus' : ''}
          onMouseEnter=${() => this.#focus(name)} onMouseLeave=${() => this.#focus(null)}>
        <td>${this.#name(name)}</td>
        ${heads.map((_, i) => {
          const line = this.lines.find(
            (l) => l.curve.structure === name && (plans.length > 1 ? l.number === i : l.reference === (i === 1)),
          );
          return html`<td class="num">${line ? this.#value(line, at) : '–'}</td>`;
        })}</tr>`,
      )}</tbody>
    </table>`;
  }

  /** One plan has room for the doses that are marked on its curves, and for the volume under the pointer. */
  #keyOfOne(names, at) {
    const unit = this.relative ? '%' : 'Gy';
    const dose = (line, percent) => fixed(this.#shown(doseAt(line.curve, percent), line), 1);
    return html`<table class="one">
      <thead><tr><th scope="col">Structure <span class="small">${unit}</span></th>
        ${MARKS.map((percent) => html`<th scope="col" class="num" title=${`Dose, ${unit}, that ${percent} % of the volume gets at least`}>D${percent}</th>`)}
        <th scope="col" class="num at">${at === null ? '' : html`V<sub>${fixed(at, 1)}</sub>`}</th></tr></thead>
      <tbody>${names.map((name) => {
        const line = this.lines.find((l) => l.curve.structure === name);
        return html`<tr class=${this.state.focus === name ? 'focus' : ''} onMouseEnter=${() => this.#focus(name)} onMouseLeave=${() => this.#focus(null)}>
          <td>${this.#name(name)}</td>${MARKS.map((percent) => html`<td class="num">${dose(line, percent)}</td>`)}
          <td class="num at">${at === null ? '' : this.#value(line, at)}</td></tr>`;
      })}</tbody>
    </table>`;
  }

  #name(name) {
    return html`<button class="toggle" aria-pressed=${String(!this.#hidden.has(name))} onClick=${() => this.#toggle(name)}
      title=${`${name}: ${fixed(this.lines.find((l) => l.curve.structure === name).curve.volume_cc, 1)} cm³. Click to hide or show.`}>
      <span class="swatch" style=${{ background: structureColor(name, this.lines.find((l) => l.curve.structure === name)?.plan) }}></span><span class="clip">${name}</span></button>`;
  }

  #shown(doseGy, line) {
    return this.relative ? (100 * doseGy) / line.plan.prescription.dose_gy : doseGy;
  }

  #value(line, at) {
    if (at === null) {
      return fixed(this.#shown(doseAt(line.curve, 95), line), 1);
    }
    return `${fixed(volumeAt(line.curve, this.relative ? (at * line.plan.prescription.dose_gy) / 100 : at), 1)}\u202f%`;
  }

  #setRelative(relative) {
    this.#drawn = '';
    this.set(this.scope, { relative, at: null });
  }

  #toggle(structure) {
    const visible = this.#hidden.delete(structure);
    if (!visible) this.#hidden.add(structure);
    this.tell('radiarch-structure-visibility', { structure, visible });
    this.lines.forEach((l, i) => l.curve.structure === structure && this.#chart?.setSeries(i + 1, { show: visible }));
    this.repaint();
  }

  #focus(structure) {
    if (this.state.focus === structure) return;
    this.set(this.scope, { focus: structure });
    this.#chart?.redraw(false);
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.#chart) return;
    event.preventDefault();
    const x = this.#chart.data[0];
    const now = this.#chart.cursor.idx ?? 0;
    const idx = Math.min(x.length - 1, Math.max(0, now + step * (event.shiftKey ? 30 : 6)));
    this.#chart.setCursor({ left: this.#chart.valToPos(x[idx], 'x'), top: 10 });
  }

  painted() {
    const place = this.place.querySelector('.chart');
    this.place.querySelector('.root')?.classList.toggle('narrow', this.clientWidth > 0 && this.clientWidth < 620);
    if (!place) {
      this.ended();
      return;
    }
    const wanted = `${this.planIds.map((id) => `${id}${this.state.curves[id]?.preview ? '?' : ''}`).join()} ${this.relative} ${this.getAttribute('theme')} ${this.#dark.matches}`;
    if (wanted === this.#drawn && this.#chart?.root.parentNode === place) return;
    this.#chart?.destroy();
    this.#chart = this.#draw(place);
    performance.mark('radiarch-dvh');
    this.#drawn = wanted;
    this.#size.disconnect();
    this.#size.observe(this);
  }

  #resize() {
    const place = this.place.querySelector('.chart');
    this.place.querySelector('.root')?.classList.toggle('narrow', this.clientWidth < 620);
    if (place && this.#chart && place.clientWidth > 50) this.#chart.setSize({ width: place.clientWidth, height: place.clientHeight });
  }

  #draw(place) {
    const lines = this.lines;
    const css = getComputedStyle(this);
    const color = (name) => css.getPropertyValue(name).trim();
    const [text, faint, grid] = [color('--text'), color('--text-2'), color('--line')];
    const scaled = lines.map((l) => {
      if (!this.relative) return l.curve;
      return { ...l.curve, dose_gy: l.curve.dose_gy.map((d) => (100 * d) / l.plan.prescription.dose_gy) };
    });
    const end = Math.max(lastDose(scaled) * 1.03, 1);
    const x = Array.from({ length: POINTS + 1 }, (_, i) => (end * i) / POINTS);
    const font = `12px ${css.fontFamily}`;
    const axis = {
      stroke: faint,
      font,
      labelFont: font,
      labelSize: 18,
      grid: { stroke: grid, width: 1 },
      ticks: { stroke: grid, width: 1, size: 4 },
    };
    const unit = this.relative ? '% of prescription' : 'Gy, total';
    const chart = new uPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height: Math.max(place.clientHeight, 160),
        padding: [8, 12, 0, 0],
        scales: { x: { time: false, range: [0, end] }, y: { range: [0, 102] } },
        legend: { show: false },
        cursor: { points: { size: 6 }, drag: { x: false, y: false }, focus: { prox: 14 } },
        focus: { alpha: 0.35 },
        axes: [
          { ...axis, label: `${quantityOf(this.plans ?? [])} (${unit})`, size: 28 },
          { ...axis, label: 'Volume (%)', size: 42 },
        ],
        series: [
          {},
          ...lines.map((l) => ({
            label: l.curve.structure,
            stroke: structureColor(l.curve.structure, l.plan),
            width: isTarget(l.curve.structure) ? 2.2 : 1.6,
            dash: l.dash,
            points: { show: false },
            show: !this.#hidden.has(l.curve.structure),
          })),
        ],
        hooks: {
          drawAxes: [(u) => this.#bands(u, lines)],
          draw: [(u) => this.#marks(u, lines, scaled, text)],
          setCursor: [(u) => this.#hover(u)],
          setSeries: [(u, i) => i !== null && u.cursor.focus && this.#focusLine(lines[i - 1])],
        },
      },
      [x, ...scaled.map((curve) => resample(curve, end, POINTS))],
      place,
    );
    return chart;
  }

  #focusLine(line) {
    const structure = line && !this.#hidden.has(line.curve.structure) ? line.curve.structure : null;
    if (this.state.focus !== structure) this.set(this.scope, { focus: structure });
  }

  #hover(u) {
    const at = u.cursor.left >= 0 && u.cursor.idx !== null ? u.data[0][u.cursor.idx] : null;
    if (at !== this.state.at) this.set(this.scope, { at: at ?? null });
  }

  /** What the scenarios of a robust plan span: between the lowest and the highest curve. */
  #bands(u, lines) {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    lines.forEach((l) => {
      const band = l.reference ? null : this.#band(l);
      if (!band || this.#hidden.has(l.curve.structure)) return;
      const dose = this.relative ? band.dose_gy.map((d) => (100 * d) / l.plan.prescription.dose_gy) : band.dose_gy;
      ctx.beginPath();
      dose.forEach((d, k) => ctx.lineTo(u.valToPos(d, 'x', true), u.valToPos(band.high_percent[k], 'y', true)));
      for (let k = dose.length - 1; k >= 0; k -= 1) ctx.lineTo(u.valToPos(dose[k], 'x', true), u.valToPos(band.low_percent[k], 'y', true));
      ctx.closePath();
      ctx.globalAlpha = 0.16;
      ctx.fillStyle = structureColor(l.curve.structure, l.plan);
      ctx.fill();
    });
    ctx.restore();
  }

  /** Where the scenarios of a robust plan have a structure's curve; null where it was not evaluated. */
  #band({ plan, curve }) {
    return (this.state.curves[plan.id]?.bands ?? []).find((b) => b.structure === curve.structure) ?? null;
  }

  /** D98, D95 and D2 of the targets, and of the structure that is pointed at. */
  #marks(u, lines, scaled, text) {
    const { ctx } = u;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * ratio}px sans-serif`;
    lines.forEach((l, i) => {
      const pointed = this.state.focus === l.curve.structure;
      if (this.#hidden.has(l.curve.structure) || l.reference || !(pointed || (isTarget(l.curve.structure) && l.number === 0))) return;
      for (const percent of MARKS) {
        const dose = doseAt(scaled[i], percent);
        const px = u.valToPos(dose, 'x', true);
        const py = u.valToPos(percent, 'y', true);
        ctx.beginPath();
        ctx.arc(px, py, 3 * ratio, 0, 2 * Math.PI);
        ctx.fillStyle = structureColor(l.curve.structure, l.plan);
        ctx.fill();
        if (!pointed) continue;
        ctx.fillStyle = text;
        ctx.textAlign = 'right';
        const label = `D${percent} ${fixed(dose, 1)}`;
        ctx.fillText(label, px - 7 * ratio, py + (percent === 98 ? -3 : percent === 95 ? 12 : -5) * ratio);
      }
    });
    ctx.restore();
  }
}

const Dash = ({ dash }) =>
  html`<svg class="dash" viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4H26" stroke="currentColor" stroke-width="1.8" stroke-dasharray=${dash.join(' ')} /></svg>`;

define('radiarch-dvh', Dvh);
