// Lines on a plane: a field's values sampled on it, its level lines, and where contours of other planes cross it. Pure.

import { along, dot, length, minus } from './grid.js';

/**
 * A field sampled on a lattice.
 *
 * @param grid anything with `at(world)` that gives a number or null
 * @param plane `{origin, u, v}`, a corner, and the vectors (mm) across the whole plane to the right and downwards
 * @returns {{nx, ny, values}} Float32Array, NaN outside of the grid
 */
export function sample(grid, plane, nx, ny) {
  const values = new Float32Array(nx * ny);
  const start = grid.index(plane.origin);
  const right = minus(grid.index(along(plane.origin, plane.u, 1 / (nx - 1))), start);
  const down = minus(grid.index(along(plane.origin, plane.v, 1 / (ny - 1))), start);
  let o = 0;
  for (let j = 0; j < ny; j++) {
    let x = start[0] + down[0] * j;
    let y = start[1] + down[1] * j;
    let z = start[2] + down[2] * j;
    for (let i = 0; i < nx; i++, o++) {
      const value = grid.atIndex(x, y, z);
      values[o] = value === null ? NaN : value;
      x += right[0];
      y += right[1];
      z += right[2];
    }
  }
  return { nx, ny, values };
}

/**
 * Doses along a line, at points that are evenly spaced; both ends are points.
 *
 * @param ends two positions, patient mm
 * @param grids what has `at(world)`
 * @returns {{distance_mm: number[], world: number[][], values: (number | null)[][]}} null outside of a grid
 */
export function profileOf([from, to], grids, points) {
  const way = minus(to, from);
  const shares = Array.from({ length: points + 1 }, (_, i) => i / points);
  const world = shares.map((t) => along(from, way, t));
  return { distance_mm: shares.map((t) => t * length(way)), world, values: grids.map((grid) => world.map((p) => grid.at(p))) };
}

/**
 * Level lines by marching squares, as segments in lattice coordinates [x0, y0, x1, y1, …].
 *
 * A cell with a value outside of the grid has none. Ambiguous cells are decided by the mean of their corners.
 */
export function levelLines({ nx, ny, values }, level) {
  const out = [];
  for (let j = 0; j < ny - 1; j++) {
    for (let i = 0; i < nx - 1; i++) {
      const o = j * nx + i;
      const a = values[o] - level;
      const b = values[o + 1] - level;
      const c = values[o + nx + 1] - level;
      const d = values[o + nx] - level;
      const sum = a + b + c + d;
      if (sum !== sum) continue; // NaN: outside
      const code = (a >= 0 ? 1 : 0) | (b >= 0 ? 2 : 0) | (c >= 0 ? 4 : 0) | (d >= 0 ? 8 : 0);
      if (code === 0 || code === 15) continue;
      const top = [i + a / (a - b), j];
      const right = [i + 1, j + b / (b - c)];
      const bottom = [i + d / (d - c), j + 1];
      const left = [i, j + a / (a - d)];
      const line = (p, q) => out.push(p[0], p[1], q[0], q[1]);
      switch (code) {
        case 1:
        case 14:
          line(left, top);
          break;
        case 2:
        case 13:
          line(top, right);
          break;
        case 3:
        case 12:
          line(left, right);
          break;
        case 4:
        case 11:
          line(right, bottom);
          break;
        case 6:
        case 9:
          line(top, bottom);
          break;
        case 7:
        case 8:
          line(left, bottom);
          break;
        case 5:
          if (sum >= 0) {
            line(left, bottom);
            line(top, right);
          } else {
            line(left, top);
            line(right, bottom);
          }
          break;
        default: // 10
          if (sum >= 0) {
            line(left, top);
            line(right, bottom);
          } else {
            line(left, bottom);
            line(top, right);
          }
      }
    }
  }
  return out;
}

/**
 * The polygons of a structure that lie on a plane: those of the nearest contour plane, if it is nearer than half of the
 * distance between contour planes.
 *
 * @param structure `{planes: [{z, polygons}], normal, spacing}`; `z` is the distance along `normal`
 * @param point any point of the plane
 */
export function polygonsAt(structure, point) {
  const z = dot(point, structure.normal);
  /** @type {any} */
  let best = null;
  for (const plane of structure.planes) {
    if (best === null || Math.abs(plane.z - z) < Math.abs(best.z - z)) best = plane;
  }
  return best !== null && Math.abs(best.z - z) <= structure.spacing / 2 + 0.01 ? best.polygons : [];
}

/**
 * Where a plane across the contour planes cuts a structure: its outline as segments of two positions each.
 *
 * Each contour plane stands for a slab of the distance between contour planes, so that the outline is that of the
 * steps: the sides of the slabs, and their ends where the neighbour is not as wide.
 *
 * @param plane `{point, normal}`, not parallel to the contour planes
 */
export function crossings(structure, plane) {
  const { normal: axis, spacing } = structure;
  // the line that the two planes share
  const d = [
    axis[1] * plane.normal[2] - axis[2] * plane.normal[1],
    axis[2] * plane.normal[0] - axis[0] * plane.normal[2],
    axis[0] * plane.normal[1] - axis[1] * plane.normal[0],
  ];
  const size = length(d);
  if (size < 0.05) return [];
  const direction = d.map((c) => c / size);
  const upright = minus(
    axis,
    plane.normal.map((c) => c * dot(axis, plane.normal)),
  );
  const rise = upright.map((c) => c / dot(upright, axis)); // one mm along the contour normal, within the plane
  const position = (t, z, base) => along(along(base, rise, z - dot(base, axis)), direction, t);
  const base = along(plane.point, direction, -dot(plane.point, direction));
  const spans = structure.planes.map(({ z, polygons }) => {
    const at = along(base, rise, z - dot(base, axis));
    return { z, inside: insideSpans(polygons, plane.normal, dot(at, plane.normal), direction) };
  });
  const out = [];
  const push = (t0, z0, t1, z1) => out.push([position(t0, z0, base), position(t1, z1, base)]);
  spans.forEach(({ z, inside }, n) => {
    const half = spacing / 2;
    const above = spans[n + 1] && spans[n + 1].z - z < spacing * 1.5 ? spans[n + 1].inside : [];
    const below = spans[n - 1] && z - spans[n - 1].z < spacing * 1.5 ? spans[n - 1].inside : [];
    for (const [t0, t1] of inside) {
      push(t0, z - half, t0, z + half);
      push(t1, z - half, t1, z + half);
    }
    for (const [t0, t1] of onlyOne(inside, below)) push(t0, z - half, t1, z - half);
    if (above.length === 0) for (const [t0, t1] of inside) push(t0, z + half, t1, z + half);
  });
  return out;
}

/** Where a line runs inside polygons (even-odd), as sorted spans along `direction`. */
function insideSpans(polygons, normal, offset, direction) {
  const hits = [];
  for (const points of polygons) {
    const n = points.length / 3;
    for (let i = 0; i < n; i++) {
      const j = (i + 1) % n;
      const p = [points[3 * i], points[3 * i + 1], points[3 * i + 2]];
      const q = [points[3 * j], points[3 * j + 1], points[3 * j + 2]];
      const a = dot(p, normal) - offset;
      const b = dot(q, normal) - offset;
      if (a >= 0 !== b >= 0) hits.push(dot(along(p, minus(q, p), a / (a - b)), direction));
    }
  }
  hits.sort((a, b) => a - b);
  const spans = [];
  for (let i = 0; i + 1 < hits.length; i += 2) spans.push([hits[i], hits[i + 1]]);
  return spans;
}

/** What is in exactly one of two sets of spans. */
function onlyOne(a, b) {
  const ends = [...a.flat(), ...b.flat()].sort((p, q) => p - q);
  const spans = [];
  for (let i = 0; i + 1 < ends.length; i += 2) if (ends[i + 1] > ends[i]) spans.push([ends[i], ends[i + 1]]);
  return spans;
}
