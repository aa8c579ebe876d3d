// <radiarch-trace>: the optimizer's objective value by iteration; <radiarch-log>: a plan's log. Both live.
import uPlot from '../vendor/uPlot.esm.js';
import { html } from './core/dom.js';
import { RadiarchElement, define } from './core/element.js';
import { learnColors, structureColor } from './core/palette.js';
import { Bones, Empty, Problem } from './core/parts.js';
import { packageSheet } from './core/styles.js';

const ENDED = ['succeeded', 'failed', 'cancelled'];
const CHART_CSS = packageSheet(new URL('../vendor/uPlot.min.css', import.meta.url));
const LOOK_MS = 2000;

/** Ask again and again while the page is visible, until `ask` says that there is no more to come. */
async function poll(scope, ask) {
  for (;;) {
    if (!scope.alive) return;
    if (document.visibilityState === 'visible' && (await ask())) return;
    await /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = setTimeout(resolve, LOOK_MS);
        scope.onEnd(() => {
          clearTimeout(timer);
          resolve();
        });
      })
    );
  }
}

class Trace extends RadiarchElement {
  static subjects = ['plan-id'];
  static css = `.chart { height: var(--rad-trace-height, 220px); } .u-legend { display: none; }`;
  /** @type {uPlot | null} */
  #chart = null;
  #points = 0;
  #shown = '';
  #size = new ResizeObserver(() => this.#resize());

  constructor() {
    super();
    this.place.adoptedStyleSheets = [CHART_CSS, ...this.place.adoptedStyleSheets];
  }

  initial() {
    return { iterations: [], plan: null, read: false };
  }

  ended() {
    this.#size.disconnect();
    this.#chart?.destroy();
    this.#chart = null;
    this.#points = 0;
  }

  looked() {
    this.ended();
    this.repaint();
  }

  async start(scope) {
    const id = this.getAttribute('plan-id');
    if (!id) return;
    let following = false;
    this.follow(scope, id, (plan) => {
      if (!following) learnColors(this.api, plan.rtstruct_sop_instance_uid).then((learned) => learned && scope.alive && this.looked());
      if (plan.state === 'succeeded') this.#whole(scope, id);
      else if (plan.state === 'running' && !following) {
        following = true;
        poll(scope, () => this.#latest(scope, id));
      }
    });
  }

  async #whole(scope, id) {
    if (this.state.read) return;
    try {
      const found = await this.api.get(`/plans/${id}/trace`, { signal: scope.signal });
      this.set(scope, { iterations: found.iterations, read: true });
    } catch (e) {
      if (e.name !== 'AbortError') this.set(scope, { error: e });
    }
  }

  /** While it runs the job tells the latest iterations; what was seen before is kept. */
  async #latest(scope, id) {
    if (ENDED.includes(this.state.plan?.state)) return true;
    const job = await this.api.get(`/jobs/${id}`, { signal: scope.signal }).catch(() => null);
    const news = job?.solver?.trace ?? (job?.solver?.iteration ? [job.solver] : []);
    if (news.length && !this.state.read) {
      // another attempt begins anew; else what overlaps is the same
      const before = this.state.iterations.filter((i) => i.iteration < news[0].iteration);
      if (news.at(-1).iteration !== this.state.iterations.at(-1)?.iteration) this.set(scope, { iterations: [...before, ...news] });
    }
    return Boolean(job && ENDED.includes(job.state));
  }

  view() {
    const { plan, error, iterations } = this.state;
    if (!this.getAttribute('plan-id')) return html`<${Empty} title="No plan is chosen">The optimizer's course appears here.<//>`;
    if (error) return html`<${Problem} error=${error} />`;
    if (!plan || (plan.state === 'succeeded' && !this.state.read)) return html`<${Bones} lines="4" />`;
    if (!iterations.length) {
      const title = ENDED.includes(plan.state) ? 'No optimization' : 'Not optimizing yet';
      return html`<${Empty} title=${title}>${ENDED.includes(plan.state) ? 'This plan has no solver trace.' : 'The objective value appears here, iteration by iteration.'}<//>`;
    }
    const last = iterations.at(-1);
    const terms = this.#terms;
    return html`<div class="row spread"><span class="muted">Objective value by iteration</span>
        <span>${last.iteration} iterations, ${scientific(last.objective)}</span></div>
      <div class="chart" role="img" aria-label=${`Objective value, from ${scientific(iterations[0].objective)} to ${scientific(last.objective)} in ${last.iteration} iterations`}></div>
      ${
        terms.length > 0 &&
        html`<div class="row small" style="gap:4px 16px"><span class="row" style="gap:5px"><span class="swatch" style="background:var(--text)"></span>All</span>
        ${terms.map((name) => html`<span class="row" style="gap:5px"><span class="swatch" style=${{ background: structureColor(name, this.state.plan) }}></span>${name} <span class="muted">${scientific(last.terms[name])}</span></span>`)}</div>`
      }`;
  }

  /** The structures that add most to the objective value at the end. */
  get #terms() {
    const last = this.state.iterations.at(-1)?.terms ?? {};
    return Object.keys(last)
      .sort((a, b) => last[b] - last[a])
      .slice(0, 8);
  }

  painted() {
    const place = this.place.querySelector('.chart');
    if (!place) return this.ended();
    const { iterations } = this.state;
    const positive = (v) => (v > 0 ? v : null);
    const terms = this.#terms;
    const data = [
      iterations.map((i) => i.iteration),
      ...terms.map((name) => iterations.map((i) => positive(i.terms?.[name]))),
      iterations.map((i) => positive(i.objective)),
    ];
    if (this.#chart?.root.parentNode === place && this.#shown === terms.join()) {
      if (this.#points !== iterations.length) this.#chart.setData(data);
    } else {
      this.#chart?.destroy();
      this.#chart = this.#draw(place, data, terms);
      this.#shown = terms.join();
      this.#size.observe(this);
    }
    this.#points = iterations.length;
    return undefined;
  }

  #resize() {
    const place = this.place.querySelector('.chart');
    if (place && place.clientWidth > 50) this.#chart?.setSize({ width: place.clientWidth, height: place.clientHeight });
  }

  #draw(place, data, terms) {
    const css = getComputedStyle(this);
    const color = (name) => css.getPropertyValue(name).trim();
    const font = `12px ${css.fontFamily}`;
    const axis = {
      stroke: color('--text-2'),
      font,
      labelFont: font,
      grid: { stroke: color('--line'), width: 1 },
      ticks: { stroke: color('--line'), width: 1, size: 4 },
    };
    return new uPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height: Math.max(place.clientHeight, 120),
        padding: [8, 12, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: { x: { time: false }, y: { distr: 3 } },
        axes: [
          { ...axis, size: 30 },
          { ...axis, size: 56, values: (u, ticks) => ticks.map((t) => (t === null ? '' : scientific(t))) },
        ],
        series: [
          {},
          ...terms.map((name) => ({ stroke: structureColor(name, this.state.plan), width: 1.2, points: { show: false } })),
          { stroke: color('--text'), width: 2, points: { show: data[0].length < 3 } },
        ],
      },
      data,
      place,
    );
  }
}

function scientific(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0 || (Math.abs(value) >= 0.01 && Math.abs(value) < 10000)) return String(Number(value.toPrecision(3))).replace('-', '−');
  const [factor, power] = value.toExponential(1).split('e');
  const raised = [...String(Number(power))].map((c) => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(c)]).join('');
  return `${Number(factor) === 1 ? '' : `${factor.replace('-', '−')}·`}10${raised}`;
}

class Log extends RadiarchElement {
  static subjects = ['plan-id'];
  static css = `
    pre { margin: 0; max-height: var(--rad-log-height, 320px); overflow: auto; padding: 10px 12px; background: var(--surface-2); border-radius: 6px;
      font: 12px/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 2; }
  `;
  #atEnd = true;

  initial() {
    return { lines: [], offset: 0, complete: false, read: false };
  }

  async start(scope) {
    const id = this.getAttribute('plan-id');
    if (!id) return;
    this.#atEnd = true;
    await poll(scope, async () => {
      let found;
      do {
        try {
          found = await this.api.get(`/jobs/${id}/log`, { params: { offset: this.state.offset, limit: 5000 }, signal: scope.signal });
        } catch (e) {
          if (e.name === 'AbortError') return true;
          this.set(scope, { error: e });
          return e.code === 'not_found';
        }
        const lines = [...this.state.lines, ...found.lines].slice(-20000);
        this.set(scope, { error: null, lines, offset: found.next_offset, complete: found.complete, read: true });
      } while (scope.alive && found.lines.length === 5000);
      return found.complete;
    });
  }

  view() {
    const { error, lines, read, complete } = this.state;
    if (!this.getAttribute('plan-id')) return html`<${Empty} title="No plan is chosen">Its log appears here.<//>`;
    if (error && !lines.length) return html`<${Problem} error=${error} />`;
    if (!read) return html`<${Bones} lines="6" />`;
    if (!lines.length)
      return html`<${Empty} title="Nothing logged${complete ? '' : ' yet'}">${complete ? '' : 'Lines appear here as they are written.'}<//>`;
    return html`<pre tabindex="0" aria-label="Log" onScroll=${(e) => {
      this.#atEnd = e.target.scrollHeight - e.target.scrollTop - e.target.clientHeight < 8;
    }}>${lines.join('\n')}</pre>`;
  }

  painted() {
    const pre = this.place.querySelector('pre');
    if (pre && this.#atEnd) pre.scrollTop = pre.scrollHeight;
  }
}

define('radiarch-trace', Trace);
define('radiarch-log', Log);
