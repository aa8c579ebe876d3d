// A dose on its grid, in patient coordinates: geometry, sampling, differences. Pure; how it is read or drawn is elsewhere.
//
// Positions are patient LPS in mm, doses Gy. `values` is a Float32Array in the order of DICOM's frames: x fastest, then
// y (rows), then z (frames). `axes` are the unit vectors of columns, rows and frames (PS3.3 C.7.6.2.1.1, C.8.8.3.2).

/** What is wrong with a dose, and what to do about it; said to the user as it is. */
export class RefusedDose extends Error {
  constructor(message, remedy) {
    super(message);
    this.remedy = remedy;
  }
}

const TOLERANCE_MM = 0.01;

export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const along = (p, d, t) => [p[0] + d[0] * t, p[1] + d[1] * t, p[2] + d[2] * t];
export const length = (a) => Math.hypot(a[0], a[1], a[2]);

/**
 * Where frame k of an RT Dose lies, from its attributes.
 *
 * GridFrameOffsetVector is either relative to ImagePositionPatient (it starts at 0), or, for axial grids only, holds
 * the patient z of each frame (it starts at the z of ImagePositionPatient); PS3.3 C.8.8.3.2.
 *
 * @returns {{dimensions, spacing, origin, axes, reversed}} `origin` is the center of voxel (0, 0, 0); `reversed`: the
 *   frames have to be taken in the opposite order.
 */
export function doseGeometry({ rows, columns, frames, pixelSpacing, position, orientation, offsets }) {
  const numbers = [rows, columns, frames, ...pixelSpacing, ...position, ...orientation, ...offsets];
  if (pixelSpacing.length !== 2 || position.length !== 3 || orientation.length !== 6 || !numbers.every(Number.isFinite)) {
    throw new RefusedDose(
      'this dose does not say where it lies: position, orientation or spacing is missing',
      'Export it again with its geometry (ImagePositionPatient, ImageOrientationPatient, PixelSpacing).',
    );
  }
  const [x, y] = [orientation.slice(0, 3), orientation.slice(3)];
  if (Math.abs(length(x) - 1) > 1e-3 || Math.abs(length(y) - 1) > 1e-3 || Math.abs(dot(x, y)) > 1e-3) {
    throw new RefusedDose('the axes of this dose are not at right angles', 'Export it again on a plain grid.');
  }
  if (!(pixelSpacing[0] > 0 && pixelSpacing[1] > 0)) {
    throw new RefusedDose('the pixel spacing of this dose is not positive', 'Export it again.');
  }
  if (frames < 2 || offsets.length !== frames) {
    throw new RefusedDose(
      `this dose has ${frames} frames and ${offsets.length} frame offsets; at least two of each, as many of one as of the other, are needed`,
      'Export it again as one multi-frame RT Dose with its GridFrameOffsetVector.',
    );
  }
  const normal = cross(x, y);
  const axial = Math.abs(normal[2] - 1) < 1e-4 && Math.abs(x[0] - 1) < 1e-4;
  const relative = Math.abs(offsets[0]) < TOLERANCE_MM;
  if (!relative && !(axial && Math.abs(offsets[0] - position[2]) < TOLERANCE_MM)) {
    throw new RefusedDose(
      `the frame offsets of this dose start at ${offsets[0]} mm, which is neither 0 nor the position of its first frame`,
      'Export it again; where its frames lie cannot be known.',
    );
  }
  const step = (offsets[frames - 1] - offsets[0]) / (frames - 1);
  const irregular = offsets.findIndex((o, k) => Math.abs(o - (offsets[0] + k * step)) > TOLERANCE_MM);
  if (irregular >= 0 || Math.abs(step) < TOLERANCE_MM) {
    throw new RefusedDose(
      irregular >= 0
        ? `the frames of this dose are not evenly spaced: frame ${irregular + 1} lies at ${offsets[irregular]} mm, expected ${(offsets[0] + irregular * step).toFixed(2)} mm`
        : 'the frames of this dose lie on one plane',
      'Export it again on a grid with one spacing; drawn as it is, it would be in the wrong place.',
    );
  }
  const reversed = step < 0;
  return {
    dimensions: [columns, rows, frames],
    spacing: [pixelSpacing[1], pixelSpacing[0], Math.abs(step)],
    origin: reversed ? along(position, normal, step * (frames - 1)) : [...position],
    axes: [x, y, normal],
    reversed,
  };
}

/** A dose on a grid. */
export class DoseGrid {
  constructor({ dimensions, spacing, origin, axes }, values) {
    if (values.length !== dimensions[0] * dimensions[1] * dimensions[2]) {
      throw new RefusedDose(
        `this dose has ${values.length} values for a grid of ${dimensions.join(' × ')}`,
        'Send it again; it is not complete.',
      );
    }
    this.dimensions = dimensions;
    this.spacing = spacing;
    this.origin = origin;
    this.axes = axes;
    this.values = values;
    let max = 0;
    let min = 0;
    for (const v of values) {
      if (v > max) max = v;
      else if (v < min) min = v;
    }
    this.maxGy = max;
    this.minGy = min;
  }

  /** Continuous voxel coordinates of a position. */
  index(world) {
    const d = minus(world, this.origin);
    return [0, 1, 2].map((i) => dot(d, this.axes[i]) / this.spacing[i]);
  }

  world(index) {
    return index.reduce((p, n, i) => along(p, this.axes[i], n * this.spacing[i]), this.origin);
  }

  /** Dose at a position, trilinear; null outside of the outermost voxel centers. */
  at(world) {
    return this.atIndex(...this.index(world));
  }

  atIndex(x, y, z) {
    const [nx, ny, nz] = this.dimensions;
    const e = 1e-4; // a position computed back and forth must not fall off the edge
    if (!(x >= -e && y >= -e && z >= -e && x <= nx - 1 + e && y <= ny - 1 + e && z <= nz - 1 + e)) return null;
    const i = Math.min(Math.max(Math.floor(x), 0), nx - 2);
    const j = Math.min(Math.max(Math.floor(y), 0), ny - 2);
    const k = Math.min(Math.max(Math.floor(z), 0), nz - 2);
    const fx = Math.min(Math.max(x - i, 0), 1);
    const fy = Math.min(Math.max(y - j, 0), 1);
    const fz = Math.min(Math.max(z - k, 0), 1);
    const v = this.values;
    const row = nx;
    const slice = nx * ny;
    const o = i + j * row + k * slice;
    const a = v[o] + (v[o + 1] - v[o]) * fx;
    const b = v[o + row] + (v[o + row + 1] - v[o + row]) * fx;
    const c = v[o + slice] + (v[o + slice + 1] - v[o + slice]) * fx;
    const d = v[o + slice + row] + (v[o + slice + row + 1] - v[o + slice + row]) * fx;
    const near = a + (b - a) * fy;
    const far = c + (d - c) * fy;
    return near + (far - near) * fz;
  }

  sameGridAs(other) {
    const close = (a, b) => a.every((v, i) => Math.abs(v - b[i]) < TOLERANCE_MM);
    return (
      close(this.dimensions, other.dimensions) &&
      close(this.origin, other.origin) &&
      close(this.spacing, other.spacing) &&
      this.axes.every((axis, i) => close(axis, other.axes[i]))
    );
  }
}

/** A dose divided by a constant. */
export function divided(grid, by) {
  return by === 1
    ? grid
    : new DoseGrid(
        grid,
        grid.values.map((v) => v / by),
      );
}

/**
 * By what two doses are divided before one is taken off the other, so that both are one quantity.
 *
 * @param a, b {type, summation, rbe} as `readDose` gives them
 * @returns {{by: [number, number], quantity}} `quantity`: 'RBE-weighted dose' or 'physical dose', of what is subtracted
 * @throws {RefusedDose} where they are not, and cannot be made, the same quantity
 */
export function alike(a, b) {
  for (const { type } of [a, b]) {
    if (type === 'ERROR') throw new RefusedDose('one of the two is a difference of doses, and no dose', 'Choose two doses.');
    if (type !== 'PHYSICAL' && type !== 'EFFECTIVE') {
      throw new RefusedDose(
        'one of the two doses does not say whether it is physical or RBE-weighted',
        'Export it with its Dose Type (3004,0004).',
      );
    }
  }
  const extent = ({ summation }) => (/^(PLAN|MULTI_PLAN|PLAN_OVERVIEW)$/.test(summation) ? 'whole plans' : summation || 'unknown');
  if (extent(a) !== extent(b)) {
    throw new RefusedDose(
      `one dose is of ${extent(a)} and the other of ${extent(b)} (Dose Summation Type): they are not doses of the same`,
      'Choose two doses of whole plans, or two of the same part.',
    );
  }
  if (a.type === b.type) return { by: [1, 1], quantity: a.type === 'EFFECTIVE' ? 'RBE-weighted dose' : 'physical dose' };
  const divisor = ({ type, rbe }) => (type === 'EFFECTIVE' ? rbe : 1);
  /** @type {[number, number]} */
  const by = [divisor(a), divisor(b)];
  if (by.some((v) => !v)) {
    throw new RefusedDose(
      'one dose is RBE-weighted and the other is physical, and the weighted one does not say by which constant RBE: their Gy are not the same',
      'Choose two doses of one Dose Type (3004,0004).',
    );
  }
  return { by, quantity: `physical dose (RBE-weighted divided by ${Math.max(...by)})` };
}

/**
 * Whether two doses may be added to each other.
 *
 * @param a, b {type, summation} as `readDose` gives them
 * @returns {{quantity: string}} of the sum
 * @throws {RefusedDose} where they are not the same quantity: nothing is converted, as a sum is used like a dose
 */
export function addable(a, b) {
  const { quantity } = alike(a, b);
  if (a.type !== b.type) {
    throw new RefusedDose(
      'one dose is RBE-weighted and the other is physical (Dose Type (3004,0004)): they are not added, as no Gy would be of one kind',
      'Choose two doses of one Dose Type.',
    );
  }
  if (!/^(PLAN|MULTI_PLAN|PLAN_OVERVIEW)$/.test(a.summation)) {
    throw new RefusedDose(
      `these doses are of ${a.summation} (Dose Summation Type (3004,000A)): a plan sum is of whole plans`,
      'Choose two doses of whole plans.',
    );
  }
  return { quantity };
}

/** `a` minus `b` on the grid of `a`; `b` counts as zero outside of its own grid. */
export const difference = (a, b) => combined(a, b, -1);

const LOST_SHARE = 0.01;

/**
 * `a` plus `b` on the grid of `a`; `b` counts as zero outside of its own grid.
 *
 * @throws {RefusedDose} where the grid of `a` leaves out more than 1 % of the maximum of `b` (as the service does)
 */
export function sum(a, b) {
  const lostGy = a.sameGridAs(b) ? 0 : largestOutside(b, a);
  if (lostGy > LOST_SHARE * b.maxGy) {
    throw new RefusedDose(
      `up to ${lostGy.toFixed(1)} Gy of the second dose lie outside of the grid of the first: the sum would be too low there`,
      'Choose the dose with the larger grid first.',
    );
  }
  return combined(a, b, 1);
}

/** The largest value of a dose outside of the outermost points of another one. */
function largestOutside(dose, grid) {
  const [nx, ny, nz] = dose.dimensions;
  let most = 0;
  let o = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, o++) if (dose.values[o] > most && grid.at(dose.world([i, j, k])) === null) most = dose.values[o];
  return most;
}

function combined(a, b, factor) {
  const values = new Float32Array(a.values.length);
  if (a.sameGridAs(b)) {
    for (let i = 0; i < values.length; i++) values[i] = a.values[i] + factor * b.values[i];
    return new DoseGrid(a, values);
  }
  // an index of a, as one of b, is affine: walk it instead of going through positions voxel by voxel
  const start = b.index(a.origin);
  const steps = a.axes.map((axis, i) => minus(b.index(along(a.origin, axis, a.spacing[i])), start));
  const [nx, ny, nz] = a.dimensions;
  let o = 0;
  for (let k = 0; k < nz; k++) {
    for (let j = 0; j < ny; j++) {
      const row = along(along(start, steps[2], k), steps[1], j);
      for (let i = 0; i < nx; i++, o++) {
        const p = along(row, steps[0], i);
        values[o] = a.values[o] + factor * (b.atIndex(p[0], p[1], p[2]) ?? 0);
      }
    }
  }
  return new DoseGrid(a, values);
}
