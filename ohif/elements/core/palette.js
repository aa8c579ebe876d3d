// The one palette for structures and plans, for curves and contours alike: after Okabe and Ito (2008) and Paul Tol,
// told apart with every kind of colour vision, and with a contrast of 3:1 at least on white and on the dark surface.

const WARM = ['#d55e00', '#c2447f', '#b8860b', '#a05000'];
const COOL = ['#0e7ab8', '#16967a', '#8263c9', '#8a6f3f', '#5b8f22', '#b5528f', '#3a8fb7', '#7a7f1e', '#5566cc', '#198f9c'];
const OUTLINE = '#7d8794';
const NAMED = {
  body: OUTLINE,
  external: OUTLINE,
  ptv: '#d55e00',
  ctv: '#c2447f',
  gtv: '#b8860b',
  itv: '#a05000',
  rectum: '#8a6f3f',
  bladder: '#0e7ab8',
  femurheadl: '#16967a',
  femurheadr: '#5b8f22',
  femoralheadl: '#16967a',
  femoralheadr: '#5b8f22',
  spinalcord: '#8263c9',
  heart: '#b5528f',
  lungl: '#3a8fb7',
  lungr: '#198f9c',
  brainstem: '#5566cc',
  prostate: '#b5528f',
  seminalvesicles: '#8263c9',
  bowel: '#7a7f1e',
  penilebulb: '#3a8fb7',
  parotidl: '#16967a',
  parotidr: '#5b8f22',
  kidneyl: '#0e7ab8',
  kidneyr: '#8263c9',
  liver: '#8a6f3f',
  esophagus: '#7a7f1e',
  larynx: '#198f9c',
};

/** The colour of plan number `i` on one axis; its dash tells it as well. */
export const PLAN_DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
export const PLAN_LETTERS = ['A', 'B', 'C', 'D'];

const plain = (name) =>
  name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^\p{Letter}\p{Number}]/gu, '');

function hash(text) {
  let value = 2166136261;
  for (const c of text) value = Math.imul(value ^ c.codePointAt(0), 16777619) >>> 0;
  return value;
}

export const isTarget = (name) => /^(ptv|ctv|gtv|itv)/.test(plain(name)) || /target$/.test(plain(name));

/** CSS colour of a structure by its name alone, the same on every page. */
export function structureColour(name) {
  const key = plain(name);
  if (NAMED[key]) return NAMED[key];
  const family = isTarget(name) ? WARM : COOL;
  return family[hash(key) % family.length];
}

/** [r, g, b], 0 to 255, for viewers. */
export function structureRgb(name) {
  const value = parseInt(structureColour(name).slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
