// What is drawn over each viewport: contours, isodose lines, beams, the profile's line, a legend, and the dose under the pointer.

import { drawingOf } from '/radiarch/elements/core/modalities.js';

import { towardsSource } from './beams.js';
import { css, lineColors } from './colors.js';
import { along, dot, length, minus } from './grid.js';
import { crossings, levelLines, polygonsAt, sample } from './lines.js';
import { isOther } from './protocol.js';

const LATTICE_PX = 3;
const ON_PLANE_MM = 1;
const PROFILE = '#ff5fd2';

export class Overlay {
  #session;
  #viewport;
  #canvas = document.createElement('canvas');
  #legend = document.createElement('div');
  #readout = document.createElement('div');
  #cross = document.createElement('div');
  /** Where the pointer is, here or in another viewport, patient mm. */
  /** @type {number[] | null} */
  #pointed = null;
  /** @type {number[] | null} */
  #start = null;
  #drawn = '';
  /** @type {any} */
  #lattice = null;
  #controller = new AbortController();

  constructor(session, viewport, patientPosition) {
    this.#session = session;
    this.#viewport = viewport;
    this.patientPosition = patientPosition;
    this.#canvas.className = 'radiarch-lines';
    this.#canvas.style.cssText = 'position:absolute;inset:0;width:100%;height:100%;pointer-events:none';
    this.#legend.className = 'radiarch-legend';
    this.#legend.style.cssText =
      'position:absolute;right:22px;top:30px;pointer-events:none;text-align:right;color:#fff;' +
      'font:12px/1.45 Inter,system-ui,sans-serif;text-shadow:0 0 2px #000,0 0 3px #000;max-width:60%';
    this.#readout.className = 'radiarch-readout';
    this.#readout.setAttribute('aria-live', 'off');
    this.#readout.style.cssText =
      'position:absolute;left:50%;bottom:6px;transform:translateX(-50%);pointer-events:none;color:#fff;' +
      'font:12px/1.4 Inter,system-ui,sans-serif;font-variant-numeric:tabular-nums;text-shadow:0 0 2px #000,0 0 3px #000;' +
      'white-space:nowrap;background:#0009;padding:1px 8px;border-radius:3px;display:none';
    this.#cross.className = 'radiarch-cross';
    this.#cross.style.cssText =
      'position:absolute;width:21px;height:21px;margin:-10px 0 0 -10px;pointer-events:none;display:none;' +
      'background:linear-gradient(#fff,#fff) center/21px 1px no-repeat,linear-gradient(#fff,#fff) center/1px 21px no-repeat;' +
      'filter:drop-shadow(0 0 1px #000) drop-shadow(0 0 1px #000)';
    const inner = viewport.element.querySelector('.viewport-element') ?? viewport.element;
    inner.append(this.#canvas, this.#legend, this.#readout, this.#cross);
    const { signal } = this.#controller;
    viewport.element.addEventListener('pointermove', (e) => this.#point(e), { signal });
    viewport.element.addEventListener('pointerleave', () => this.#point(null), { signal });
    // before OHIF's tools, which listen to the mouse
    const early = { signal, capture: true };
    for (const name of ['pointerdown', 'mousedown', 'touchstart']) viewport.element.addEventListener(name, (e) => this.#begin(e), early);
    viewport.element.addEventListener('pointerup', (e) => this.#end(e), early);
  }

  get connected() {
    return this.#canvas.isConnected;
  }

  remove() {
    this.#controller.abort();
    this.#canvas.remove();
    this.#legend.remove();
    this.#readout.remove();
    this.#cross.remove();
  }

  /** Draw for the viewport's present plane; nothing happens where neither plane nor session have changed. */
  draw(revision) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height || this.#viewport.getActors().length === 0) return this.#clear();
    const plane = planeOf(this.#viewport, width, height);
    const key = JSON.stringify([revision, plane, width, height, devicePixelRatio]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    const context = this.#fresh(width, height);
    const session = this.#session;
    const shown = this.#doseShown();
    if (session.display.contours) this.#contours(context, plane);
    if (shown && session.display.lines) this.#isodoses(context, plane, width, height);
    if (session.display.beams) this.#beams(context, plane, width, height);
    if (session.profile) this.#profile(context, plane, session.profile);
    this.#describe(shown);
    this.#read();
  }

  #clear() {
    this.#drawn = '';
    this.#canvas.width = this.#canvas.width; // eslint-disable-line no-self-assign
    this.#legend.replaceChildren();
    this.#readout.style.display = this.#cross.style.display = 'none';
  }

  get #dose() {
    return this.#session.doseIn(this.#viewport.id);
  }

  #fresh(width, height) {
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext('2d'));
    context.scale(ratio, ratio);
    context.lineJoin = 'round';
    return context;
  }

  /** Whether the dose belongs to what this viewport shows. */
  #doseShown() {
    const dose = this.#dose;
    return dose.status === 'ready' && this.#viewport.getFrameOfReferenceUID() === dose.frameUid;
  }

  #contours(context, plane) {
    const frameUid = this.#viewport.getFrameOfReferenceUID();
    context.lineWidth = 1.5;
    const session = this.#session;
    for (const structure of session.structuresShown()) {
      if (structure.frameUid && structure.frameUid !== frameUid) continue;
      context.strokeStyle = session.structureColor(structure);
      context.beginPath();
      if (Math.abs(dot(structure.normal, plane.normal)) > 0.999) {
        for (const points of polygonsAt(structure, plane.origin)) {
          for (let i = 0; i < points.length; i += 3) {
            const [x, y] = plane.to([points[i], points[i + 1], points[i + 2]]);
            if (i === 0) context.moveTo(x, y);
            else context.lineTo(x, y);
          }
          context.closePath();
        }
      } else {
        for (const [p, q] of crossings(structure, { point: plane.origin, normal: plane.normal })) {
          context.moveTo(...plane.to(p));
          context.lineTo(...plane.to(q));
        }
      }
      context.stroke();
    }
  }

  #isodoses(context, plane, width, height) {
    const session = this.#session;
    const nx = Math.max(2, Math.ceil(width / LATTICE_PX));
    const ny = Math.max(2, Math.ceil(height / LATTICE_PX));
    const where = JSON.stringify([plane, nx, ny]);
    const { grid } = this.#dose;
    if (this.#lattice?.where !== where || this.#lattice.grid !== grid) this.#lattice = { where, grid, ...sample(grid, plane, nx, ny) };
    const [sx, sy] = [width / (nx - 1), height / (ny - 1)];
    for (const [gy, color] of lineColors(session)) {
      const segments = levelLines(this.#lattice, gy);
      if (!segments.length) continue;
      const path = new Path2D();
      for (let i = 0; i < segments.length; i += 4) {
        path.moveTo(segments[i] * sx, segments[i + 1] * sy);
        path.lineTo(segments[i + 2] * sx, segments[i + 3] * sy);
      }
      context.strokeStyle = 'rgb(0 0 0 / 0.75)';
      context.lineWidth = 3;
      context.stroke(path);
      context.strokeStyle = css(color);
      context.lineWidth = 1.5;
      context.stroke(path);
    }
  }

  /** Each beam as a ray from its source's side to the isocenter, with its name where it enters the picture. */
  #beams(context, plane, width, height) {
    const plan = this.#session.planIn(this.#viewport.id);
    if (!plan) return;
    // the plan's own: what is shown may be another scan of the patient, in another position
    const position = plan.provenance?.patient_position ?? this.patientPosition;
    context.font = '12px Inter, system-ui, sans-serif';
    for (const beam of plan.beams ?? []) {
      if (!beam.isocenter_mm) continue;
      const direction = towardsSource(beam, position);
      if (!direction) continue;
      drawingOf(beam).mark?.({ context, plane, towardsSource: direction }, beam);
      const iso = plane.to(beam.isocenter_mm);
      const end = plane.to(along(beam.isocenter_mm, direction, 2000));
      const [dx, dy] = [end[0] - iso[0], end[1] - iso[1]];
      const size = Math.hypot(dx, dy);
      const near = Math.abs(dot(minus(beam.isocenter_mm, plane.origin), plane.normal)) < 3;
      context.globalAlpha = near ? 1 : 0.75;
      context.strokeStyle = context.fillStyle = '#ffd23f';
      cross(context, iso, 6);
      // a beam along the line of sight is only a point here
      if (size > 0.2 * 2000 * plane.scale) {
        const [ux, uy] = [dx / size, dy / size];
        const reach = Math.min(edge(iso, [ux, uy], width, height) - 18, 400 * plane.scale);
        if (reach > 12) {
          const start = [iso[0] + ux * reach, iso[1] + uy * reach];
          context.lineWidth = 1.5;
          context.setLineDash([7, 4]);
          stroke(context, start, iso);
          context.setLineDash([]);
          arrow(context, [iso[0] + ux * 9, iso[1] + uy * 9], [-ux, -uy]);
          const text = beam.name || `G${Math.round(beam.gantry_deg)}`;
          context.textAlign = ux > 0.3 ? 'right' : ux < -0.3 ? 'left' : 'center';
          const place = [start[0], start[1] + (uy > 0.5 ? 14 : -5)];
          context.lineWidth = 3;
          context.strokeStyle = 'rgb(0 0 0 / 0.8)';
          context.strokeText(text, ...place);
          context.fillText(text, ...place);
        }
      }
      context.globalAlpha = 1;
    }
  }

  /** Which dose this is, and its levels with their colors. */
  #describe(shown) {
    const session = this.#session;
    const dose = this.#dose;
    const plan = session.planIn(this.#viewport.id);
    const letter = session.isBeside ? (isOther(this.#viewport.id) ? 'A · ' : 'B · ') : '';
    const lines = [];
    const line = (text, color, weight = 400) => {
      const div = document.createElement('div');
      div.textContent = text;
      div.style.fontWeight = String(weight);
      if (color) div.style.color = color;
      lines.push(div);
      return div;
    };
    if (dose.status === 'loading') line('Dose: loading…');
    else if (dose.status === 'pending') line('Dose: not computed yet');
    else if (dose.status === 'refused' || dose.status === 'error') line('Dose not drawn: see the panel Dose', '#ffb86b', 600);
    else if (dose.status === 'ready' && !shown) {
      line('Dose not drawn: it belongs to another frame of reference than these images', '#ffb86b', 600);
    } else if (shown) {
      line(letter + dose.label, null, 600);
      const roomy = this.#canvas.clientWidth > 420 && this.#canvas.clientHeight > 560; // once is enough: on the large plane
      if (dose.legend) line(roomy || !dose.isSum ? dose.legend : `sum of two plans, Gy, ${dose.quantity}`);
      if (session.isBeside) line(dose.quantity);
      if (plan && plan.workflow_id !== 'evaluation') line('UNAPPROVED', '#ffd9a8');
      if (plan?.superseded_at) line('Superseded', '#ffb86b', 600);
      if (roomy && session.display.lines) {
        const reference = session.reference;
        for (const [gy, color] of lineColors(session)) {
          const percent = reference && !session.isStoredDifference ? ` · ${trim((gy / reference.gy) * 100, 0)} %` : '';
          const row = line(`${trim(gy, session.isStoredDifference ? 2 : 1)} Gy${percent}`);
          const swatch = document.createElement('span');
          swatch.style.cssText = `display:inline-block;width:14px;height:3px;margin-left:6px;vertical-align:middle;background:${css(color)};box-shadow:0 0 0 1px #000a`;
          row.append(swatch);
        }
      }
    }
    this.#legend.replaceChildren(...lines);
  }

  #point(event) {
    const world = event === null ? null : this.#worldOf(event);
    this.#session.point(world, this.#viewport.id);
    if (this.#start && world) this.#session.setProfile([this.#start, world], true);
  }

  #worldOf(event) {
    const box = this.#canvas.getBoundingClientRect();
    return this.#plane().from([event.clientX - box.left, event.clientY - box.top]);
  }

  #plane() {
    return planeOf(this.#viewport, this.#canvas.clientWidth, this.#canvas.clientHeight);
  }

  /** A line is begun where one is waited for; no tool of OHIF sees it. */
  #begin(event) {
    if (!this.#session.drawing) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (event.type !== 'pointerdown') return;
    this.#start = this.#worldOf(event);
    this.#viewport.element.setPointerCapture(event.pointerId);
  }

  #end(event) {
    if (!this.#start) return;
    const line = [this.#start, this.#worldOf(event)];
    this.#start = null;
    if (length(minus(line[1], line[0])) >= ON_PLANE_MM) this.#session.setProfile(line);
  }

  /** The pointer is at a position, in this viewport or in another one that shows it as well; null: nowhere. */
  pointed(world, here) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const plane = world && width && height ? this.#plane() : null;
    const seen = plane && (here || Math.abs(dot(minus(world, plane.origin), plane.normal)) < ON_PLANE_MM);
    this.#pointed = seen ? world : null;
    this.#cross.style.display = seen && !here ? 'block' : 'none';
    if (seen && !here) {
      const [x, y] = plane.to(world);
      this.#cross.style.left = `${x}px`;
      this.#cross.style.top = `${y}px`;
    }
    this.#read();
  }

  #profile(context, plane, ends) {
    if (ends.some((p) => Math.abs(dot(minus(p, plane.origin), plane.normal)) > ON_PLANE_MM)) return;
    const [a, b] = ends.map((p) => plane.to(p));
    for (const [width, color] of [
      [4, 'rgb(0 0 0 / 0.75)'],
      [2, PROFILE],
    ]) {
      context.lineWidth = width;
      context.strokeStyle = color;
      stroke(context, a, b);
    }
    context.fillStyle = PROFILE;
    context.beginPath();
    context.arc(a[0], a[1], 4, 0, 2 * Math.PI); // where the distance is 0
    context.fill();
  }

  /** The dose under the pointer. */
  #read() {
    const readout = this.#readout;
    const dose = this.#dose;
    const { reference } = this.#session;
    const world = this.#pointed;
    if (world === null || !this.#doseShown()) {
      readout.style.display = 'none';
      readout.textContent = '';
      return;
    }
    const gy = dose.grid.at(world);
    const place = `x ${world
      .map((c) => trim(c, 1))
      .join('  y ')
      .replace(/ {2}y (?=[^y]*$)/, '  z ')} mm`;
    const percent = gy !== null && reference && !this.#session.isStoredDifference ? `  (${trim((gy / reference.gy) * 100, 1)} %)` : '';
    readout.textContent = gy === null ? `outside of the dose grid   ${place}` : `${trim(gy, 2)} Gy${percent}   ${place}`;
    readout.dataset.gy = gy === null ? '' : String(gy);
    readout.dataset.world = world.join(' ');
    readout.style.display = 'block';
  }
}

/** The plane that a viewport shows, and the ways between patient positions and CSS pixels of its canvas. */
function planeOf(viewport, width, height) {
  const origin = viewport.canvasToWorld([0, 0]);
  const u = minus(viewport.canvasToWorld([width, 0]), origin);
  const v = minus(viewport.canvasToWorld([0, height]), origin);
  const plane = { origin: [...origin], u, v, normal: [...viewport.getCamera().viewPlaneNormal] };
  const [uu, vv] = [dot(u, u), dot(v, v)];
  // not part of what is compared
  Object.defineProperties(plane, {
    to: {
      value: (p) => {
        const d = minus(p, plane.origin);
        return [(dot(d, u) / uu) * width, (dot(d, v) / vv) * height];
      },
    },
    from: { value: ([x, y]) => along(along(plane.origin, u, x / width), v, y / height) },
    scale: { value: width / length(u) },
  });
  return plane;
}

const trim = (value, digits) => (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits);

function stroke(context, a, b) {
  context.beginPath();
  context.moveTo(...a);
  context.lineTo(...b);
  context.stroke();
}

function cross(context, [x, y], r) {
  context.lineWidth = 1.5;
  stroke(context, [x - r, y], [x + r, y]);
  stroke(context, [x, y - r], [x, y + r]);
}

function arrow(context, [x, y], [ux, uy]) {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x - ux * 9 - uy * 4, y - uy * 9 + ux * 4);
  context.lineTo(x - ux * 9 + uy * 4, y - uy * 9 - ux * 4);
  context.fill();
}

/** How far from a point, along a direction, the edge of the canvas is. */
function edge([x, y], [ux, uy], width, height) {
  const reach = (p, d, size) => (d > 0 ? (size - p) / d : d < 0 ? -p / d : Infinity);
  return Math.min(reach(x, ux, width), reach(y, uy, height));
}
