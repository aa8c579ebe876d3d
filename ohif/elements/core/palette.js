// Colors of structures: those that the service says for a structure set (radiarch_contract.structure_colors), else by name, after
// Okabe and Ito (2008) and Paul Tol; with a contrast of 3:1 at least on white and on the dark surface.

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

/** The color of plan number `i` on one axis; its dash tells it as well. */
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

/** Color of a structure by its name alone: where no structure set is known, or it is none of its ROIs. */
function byName(name) {
  const key = plain(name);
  if (NAMED[key]) return NAMED[key];
  const family = isTarget(name) ? WARM : COOL;
  return family[hash(key) % family.length];
}

/** Of each structure set that was asked for: colors by ROI number and by name. @type {Map<string, {numbers: Map<number, string>, names: Map<string, string>}>} */
const LEARNED = new Map();

/** Questions under way, and those that were answered. @type {Map<string, Promise<boolean>>} */
const ASKED = new Map();

/**
 * Learn the colors that the service draws a structure set's ROIs with; whether they are known now.
 *
 * @param {import('./api.js').Api} api
 * @param {string} setUid SOP Instance UID
 */
export function learnColors(api, setUid) {
  const asked =
    ASKED.get(setUid) ??
    api.get(`/structure-sets/${setUid}`).then(
      (set) => {
        learn(setUid, set.structures);
        return true;
      },
      () => {
        ASKED.delete(setUid); // deleted since, or no answer: colors go by names
        return false;
      },
    );
  ASKED.set(setUid, asked);
  return asked;
}

/**
 * @param {string} setUid
 * @param {Array<import('../../types/service').RoiAnswer>} structures
 */
export function learn(setUid, structures) {
  LEARNED.set(setUid, {
    numbers: new Map(structures.map((s) => [s.number, s.color])),
    names: new Map(structures.map((s) => [s.name, s.color])),
  });
}

/**
 * CSS color of a structure, the same on every page, in the viewer and in reports.
 *
 * @param {string} name
 * @param {{rtstruct_sop_instance_uid: string, structures?: Array<{name: string, roi_number: number}>} | null} [plan]
 *   whose structure it is; its `structures` say which ROI a name stands for
 */
export function structureColor(name, plan = null) {
  const known = plan && LEARNED.get(plan.rtstruct_sop_instance_uid);
  if (!known) return byName(name);
  const meant = plan.structures?.find((s) => s.name === name)?.roi_number;
  return (meant !== undefined && known.numbers.get(meant)) || known.names.get(name) || byName(name);
}
