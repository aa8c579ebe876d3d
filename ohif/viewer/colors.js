// Colors of doses: maps from 0 to 1, and what a dose looks like on them. Structures have theirs from elements/core/palette.

// viridis (Matplotlib, CC0) has the same order for every kind of color vision; rainbow is what clinics know
const MAPS = {
  viridis: ['#440154', '#482878', '#3e4989', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6ece58', '#b5de2b', '#fde725'],
  plasma: ['#0d0887', '#46039f', '#7201a8', '#9c179e', '#bd3786', '#d8576b', '#ed7953', '#fb9f3a', '#fdca26', '#f0f921'],
  rainbow: ['#0000ff', '#0080ff', '#00c8ff', '#00e0a0', '#00c000', '#a0e000', '#ffe000', '#ff9000', '#ff3000', '#c00000'],
};
// less dose blue, more dose orange, and the brighter the more: on dark images a map that is white at zero shows noise first
const DIFFERENCE = ['#b9e2ff', '#6fbcf2', '#2b8fd8', '#0f5fa8', '#3d3a3a', '#a04a0c', '#dd7a22', '#f7ab5c', '#ffdcae'];

export const MAP_NAMES = { viridis: 'Viridis (color-blind safe)', plasma: 'Plasma (color-blind safe)', rainbow: 'Rainbow' };

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function at(stops, t) {
  const x = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(x), stops.length - 2);
  const [a, b] = [rgb(stops[i]), rgb(stops[i + 1])];
  return a.map((c, k) => c + (b[k] - c) * (x - i));
}

/**
 * How a dose is colored.
 *
 * @returns {{low: number, high: number, stops: string[], color: (gy: number) => number[]}} the Gy at the ends of the map, and [r, g, b] (0 to 255) of a dose in Gy
 */
export function scale(session) {
  const [low, high, stops] = session.isSigned
    ? [-session.spanGy, session.spanGy, DIFFERENCE]
    : [0, (session.reference?.gy ?? 1) * 1.1, MAPS[session.display.map] ?? MAPS.viridis];
  return { low, high, stops, color: (gy) => at(stops, (gy - low) / (high - low)) };
}

/**
 * The color of each isodose line, by its level in Gy.
 *
 * By rank, not by dose: the levels that matter lie between 90 and 110 %, where a map over the whole dose hardly differs.
 */
export function lineColors(session) {
  const { stops, color } = scale(session);
  const levels = session.levelsGy; // highest first
  if (session.isSigned) return new Map(levels.map((gy) => [gy, color(gy)]));
  return new Map(levels.map((gy, i) => [gy, at(stops, levels.length > 1 ? 1 - (0.92 * i) / (levels.length - 1) : 1)]));
}

export const css = (color) => `rgb(${color.map(Math.round).join(' ')})`;

/** Doses below this (for a difference: nearer to zero) are not colored. */
export function thresholdGy(session) {
  const whole = session.isSigned ? session.spanGy : (session.reference?.gy ?? 0);
  return Math.max((whole * session.display.threshold) / 100, 1e-6);
}
