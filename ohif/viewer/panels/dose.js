// <radiarch-viewer-dose>: which dose is drawn on the images, and how; the structures that are drawn with it.
import { html } from '/radiarch/elements/core/dom.js';
import { fixed } from '/radiarch/elements/core/format.js';
import { Bones, Empty, Problem, sentence } from '/radiarch/elements/core/parts.js';
import { planName } from '/radiarch/elements/index.js';

import { MAP_NAMES, css, lineColors, scale } from '../colors.js';
import { doseLabel, session } from '../session.js';
import { PANEL_CSS, Panel, refused, superseded } from './panel.js';

const time = (text) => new Date(text).toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'short' });
const encode = (choice) => (choice ? `${choice.kind}:${choice.id}` : '');
const decode = (text) => (text ? { kind: text.slice(0, text.indexOf(':')), id: text.slice(text.indexOf(':') + 1) } : null);

const HOWS = { minus: 'Difference', plus: 'Sum', beside: 'Side by side' };
const doseOption = (d) => html`<option value=${`dose:${d.sopUid}`}>${doseLabel(d)}</option>`;

class Dose extends Panel {
  static css = `${PANEL_CSS}
    .bar { height: 10px; border-radius: 3px; }
    .ends { display: flex; justify-content: space-between; font-size: 11px; color: var(--text-2); }
    .pair { display: grid; grid-template-columns: 1fr auto; gap: 8px; align-items: center; }
    ul { list-style: none; margin: 0; padding: 0; display: grid; grid-template-columns: minmax(0, 1fr); }
    .swatch { width: 12px; height: 12px; border-radius: 3px; flex: none; }
    li label { padding: 1px 0; }
    .tight { justify-self: start; }
    .tight button { padding: 4px 6px; font-size: 12px; white-space: nowrap; }
  `;

  view() {
    if (!session.studyUid) return html`<${Empty} title="No study is open">Open one from the study list.<//>`;
    const { objects, plans } = session;
    if (objects.status === 'loading') return html`<${Bones} lines="5" />`;
    return [
      objects.status === 'error' && html`<${Problem} error=${objects} />`,
      plans.status === 'error' && html`<${Problem} error=${plans} />`,
      this.choice(),
      this.state_(),
      session.dose.status === 'ready' && this.look(),
      this.structures(),
    ];
  }

  options() {
    const plans = session.plans.items ?? [];
    const group = (label, items) => items.length > 0 && html`<optgroup label=${label}>${items}</optgroup>`;
    return [
      group(
        'Plans',
        plans.map(
          (p) =>
            html`<option value=${`plan:${p.id}`}>${planName(p)} · ${time(p.created_at)}${
              p.state === 'succeeded' ? '' : ` · ${p.state}`
            }${p.superseded_at ? ' · superseded' : ''}</option>`,
        ),
      ),
      // whose they are the service's records say
      group(session.plans.status === 'ready' ? 'Doses of other systems' : 'Doses', session.otherDoses.map(doseOption)),
    ];
  }

  /** What is no dose to judge or to subtract. */
  differences() {
    const label = (d) => (session.ownerOf(d.sopUid) ? `${planName(this.planOf(d))}: computed minus reference` : doseLabel(d));
    const options = session.differences.map((d) => html`<option value=${`dose:${d.sopUid}`}>${label(d)}</option>`);
    return options.length > 0 && html`<optgroup label="Differences of doses">${options}</optgroup>`;
  }

  planOf(dose) {
    const planId = session.ownerOf(dose.sopUid)?.planId;
    return session.plans.items.find((p) => p.id === planId);
  }

  choice() {
    const options = this.options();
    const differences = this.differences();
    if (![...options, differences].some(Boolean)) {
      return html`<${Empty} title="This study has no dose yet">Ask for a plan in the panel Plan; it is drawn here when it is there.<//>`;
    }
    return html`
      <label class="field">Dose
        <select id="choice" value=${encode(session.choice)} onChange=${(e) => session.choose(decode(e.target.value))}>
          <option value="">none</option>${options}${differences}
        </select></label>
      ${
        session.choice &&
        !session.isStoredDifference &&
        html`<label class="field">With
        <select id="other" value=${encode(session.other)} onChange=${(e) => session.combine(session.how, decode(e.target.value))}>
          <option value="">nothing (the dose itself)</option>${options}
        </select></label>`
      }
      ${
        session.other &&
        html`<div class="segmented tight" role="group" aria-label="What is shown of the two doses">
        ${Object.entries(HOWS).map(
          ([how, text]) => html`<button aria-pressed=${String(session.how === how)}
          onClick=${() => session.combine(how, session.other)}>${text}</button>`,
        )}</div>`
      }`;
  }

  state_() {
    const { dose, plan } = session;
    return [
      superseded(plan),
      (dose.status === 'refused' || dose.status === 'error') &&
        html`<${Problem} error=${dose} tone=${dose.status === 'refused' ? 'warn' : 'bad'} />`,
      dose.status === 'loading' && html`<div role="status"><p class="muted small">Loading the dose…</p><${Bones} lines="3" /></div>`,
      dose.status === 'pending' && html`<radiarch-progress theme="dark" plan-id=${dose.plan.id}></radiarch-progress>`,
    ];
  }

  look() {
    const { display, dose, reference } = session;
    if (!reference) return null;
    const { low, high, stops } = scale(session);
    const stored = session.isStoredDifference;
    const bar = `linear-gradient(to right, ${stops.join(', ')})`;
    const range = (name, label, min, max, step, text) => html`<label class="field">
      <span class="row spread"><span>${label}</span><span>${text}</span></span>
      <input type="range" name=${name} min=${min} max=${max} step=${step} value=${display[name]}
        onInput=${(e) => session.set({ [name]: Number(e.target.value) })} /></label>`;
    const check = (name, label) => html`<label class="check"><input type="checkbox" name=${name} checked=${display[name]}
      onChange=${(e) => session.set({ [name]: e.target.checked })} />${label}</label>`;
    return html`
      <div class="small muted">${sentence(dose.legend ?? dose.quantity).slice(0, -1)}, ${
        dose.isDifference ? 'from' : 'up to'
      } <b>${dose.isDifference ? `${fixed(dose.grid.minGy, 2)} to ${fixed(dose.grid.maxGy, 2)}` : dose.grid.maxGy.toFixed(2)} Gy</b>;
        grid ${dose.grid.spacing.map((s) => Number(s.toFixed(2))).join(' × ')} mm</div>
      <div class="row small" style="gap:4px"><span class="muted">Go to</span>
        ${session.isocenter && html`<button class="button quiet accent" onClick=${() => session.goTo(session.center)}>isocenter</button>`}
        <button class="button quiet accent" onClick=${() => session.goTo(session.hottest)}>${dose.isDifference ? 'largest difference' : 'hottest point'}</button>
      </div>
      <div class="row small"><button class="button" aria-pressed=${String(session.drawing)} onClick=${() => session.setDrawing(!session.drawing)}>${
        session.drawing ? 'Draw the line on an image…' : session.profile ? 'Draw another profile' : 'Dose profile along a line'
      }</button></div>
      ${
        stored
          ? html`<label class="field">Ends of the colors (± Gy)
            <input type="number" name="span" min="0.001" step="0.1" value=${Number(session.spanGy.toPrecision(3))}
              onChange=${(e) => Number(e.target.value) > 0 && session.set({ span: Number(e.target.value), storedLevels: null })} /></label>`
          : html`<label class="field">100 % is (Gy) – ${reference.name}
            <input type="number" name="reference" min="0.01" step="0.1" value=${Number(reference.gy.toFixed(3))}
              onChange=${(e) => Number(e.target.value) > 0 && session.setReference(Number(e.target.value))} /></label>`
      }
      <fieldset><legend>Color wash</legend>
        ${check('wash', 'shown')}
        <div><div class="bar" style=${{ background: bar }}></div>
          <div class="ends"><span>${fixed(low, stored ? 2 : 1)} Gy</span>${dose.isDifference && html`<span>0</span>`}<span>${fixed(high, stored ? 2 : 1)} Gy</span></div></div>
        ${
          !dose.isDifference &&
          html`<label class="field">Colors<select name="map" value=${display.map}
          onChange=${(e) => session.set({ map: e.target.value })}>
          ${Object.entries(MAP_NAMES).map(([value, text]) => html`<option value=${value}>${text}</option>`)}</select></label>`
        }
        ${range('opacity', 'Opacity', 0.05, 1, 0.05, `${Math.round(display.opacity * 100)} %`)}
        ${range(
          'threshold',
          'Threshold',
          0,
          100,
          1,
          dose.isDifference
            ? `± ${((session.spanGy * display.threshold) / 100).toFixed(2)} Gy`
            : `${display.threshold} % · ${((reference.gy * display.threshold) / 100).toFixed(1)} Gy`,
        )}
      </fieldset>
      <fieldset><legend>Isodose lines</legend>
        <div class="pair">${check('lines', 'shown')}
          ${
            !stored &&
            html`<div class="segmented" role="group" aria-label="Unit of the levels">
            ${[
              ['percent', '%'],
              ['gy', 'Gy'],
            ].map(
              ([unit, text]) => html`<button aria-pressed=${String(display.unit === unit)}
              onClick=${() => this.unit(unit)}>${text}</button>`,
            )}</div>`
          }</div>
        <label class="field">Levels (${session.levelsUnit === 'percent' ? '% of the 100 % dose' : 'Gy'})
          <input type="text" name="levels" value=${session.levelsText} spellcheck=${false}
            onChange=${(e) => session.set({ [session.levelsName]: e.target.value })} /></label>
        <ul aria-label="Colors of the levels">${[...lineColors(session)].map(
          ([gy, color]) => html`<li class="row small">
          <span class="swatch" style=${{ background: css(color), height: '4px', width: '18px' }}></span>
          ${fixed(gy, 2)} Gy ${!stored && html`<span class="muted">${fixed((gy / reference.gy) * 100)} %</span>`}</li>`,
        )}</ul>
      </fieldset>
      <fieldset><legend>Beams</legend>${check('beams', 'directions shown')}</fieldset>`;
  }

  /** The same levels in the other unit. */
  unit(unit) {
    if (unit === session.display.unit || !session.reference) return;
    const { gy } = session.reference;
    const inUnit = (text) =>
      text
        .split(/[\s;,]+/)
        .filter(Boolean)
        .map((t) => Number(t.replace('%', '').replace('−', '-')))
        .filter(Number.isFinite)
        .map((v) => Number((unit === 'gy' ? (v * gy) / 100 : (v / gy) * 100).toFixed(2)))
        .join(', ');
    const { levels, differenceLevels } = session.display;
    session.set({ unit, levels: inUnit(levels), differenceLevels: inUnit(differenceLevels) });
  }

  structures() {
    const { structures, structureSets } = session;
    const name = (set) => `${set.description || 'Structure set'}${set.created ? ` · ${set.created.slice(0, 8)}` : ''}`;
    return html`<fieldset><legend>Structures</legend>
      ${
        structureSets.length > 1 &&
        html`<label class="field">Structure set<select id="structure-set" value=${session.structureSetUid ?? ''}
        onChange=${(e) => session.chooseStructureSet(e.target.value)}>
        ${structureSets.map((s) => html`<option value=${s.sopUid}>${name(s)}</option>`)}</select></label>`
      }
      ${refused()}
      ${structures.status === 'none' && html`<p class="muted small">This study has no structure set.</p>`}
      ${structures.status === 'loading' && html`<${Bones} lines="4" />`}
      ${(structures.status === 'error' || structures.status === 'refused') && html`<${Problem} error=${structures} />`}
      ${
        structures.status === 'ready' &&
        html`
        <label class="check"><input type="checkbox" checked=${session.display.contours}
          onChange=${(e) => session.set({ contours: e.target.checked })} />contours shown</label>
        <ul>${structures.items.map(
          (s) => html`<li key=${s.number}><label class="check">
          <input type="checkbox" checked=${!session.hidden.has(s.name)} disabled=${!session.display.contours}
            onChange=${(e) => session.toggleStructure(s.name, e.target.checked)} />
          <span class="swatch" style=${{ background: session.structureColor(s) }}></span><span class="clip" title=${s.name}>${s.name}</span>
        </label></li>`,
        )}</ul>`
      }
    </fieldset>`;
  }
}

customElements.define('radiarch-viewer-dose', Dose);
