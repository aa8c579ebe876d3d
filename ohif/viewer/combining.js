// Two doses together: their difference, their sum, or both beside each other. Pure; what is chosen is the session's.
import { shortId } from '/radiarch/elements/core/format.js';

import { RefusedDose, addable, alike, difference, divided, sum } from './grid.js';

/**
 * @typedef {'minus' | 'plus' | 'beside'} How
 * @typedef {{object: any, label: string, legend?: string, plan?: any}} Source where a dose comes from
 */

const QUANTITIES = { EFFECTIVE: 'RBE-weighted dose', PHYSICAL: 'physical dose', ERROR: 'difference of doses' };

/**
 * A dose alone, as the session has it.
 *
 * @param {Source} source
 * @param {any} dose as `readDose` gives it
 */
export function single(source, dose) {
  const isDifference = dose.type === 'ERROR';
  return {
    status: 'ready',
    key: keyOf(source),
    sopUid: source.object.sopUid,
    frameUid: dose.frameUid,
    summation: dose.summation,
    grid: dose.grid,
    largestGy: dose.grid.maxGy,
    label: source.label,
    isDifference,
    type: dose.type,
    quantity: QUANTITIES[dose.type] ?? 'dose of an unknown type',
    legend: isDifference ? source.legend : null,
  };
}

/**
 * Two doses together, the first being the chosen one.
 *
 * @param {How} how
 * @throws {RefusedDose} where they do not belong together, or are not one quantity
 */
export function together(how, [one, a], [two, b]) {
  const [first, second] = one.label === two.label ? [withId(one), withId(two)] : [one, two];
  if (a.frameUid !== b.frameUid) {
    throw new RefusedDose(
      'the two doses belong to different frames of reference: their points are not the same points of the patient',
      'Choose two doses of one CT.',
    );
  }
  const parts = [single(first, a), single(second, b)];
  const common = { ...parts[0], key: keyOf(first, second, how), parts };
  if (how === 'beside') return { ...common, beside: parts[1], warning: besides(a, b) };
  if (how === 'plus') return { ...common, ...added(first, second, a, b) };
  const { by, quantity } = alike(a, b);
  const [minuend, subtrahend] = [divided(a.grid, by[0]), divided(b.grid, by[1])];
  return {
    ...common,
    grid: difference(minuend, subtrahend),
    largestGy: Math.max(minuend.maxGy, subtrahend.maxGy),
    label: `${first.label} − ${second.label}`,
    isDifference: true,
    type: a.type === b.type ? a.type : 'PHYSICAL',
    quantity,
    legend: `difference, Gy, ${quantity}`,
    parts: a.type === b.type ? parts : [], // as they are stored their Gy are not the same
  };
}

/** Of two plans with one name, which is which. */
const withId = (source) => ({ ...source, label: source.plan ? `${source.label} ${shortId(source.plan.id)}` : source.label });

function added(first, second, a, b) {
  if (first.object.sopUid === second.object.sopUid) {
    throw new RefusedDose('this is the same dose twice: added to itself it would count double', 'Choose the dose of another plan.');
  }
  const { quantity } = addable(a, b);
  const grid = sum(a.grid, b.grid);
  const same = a.grid.sameGridAs(b.grid);
  const how = same
    ? 'on their common grid'
    : `on the grid of ${first.label}, interpolated linearly; nothing is added outside of either grid`;
  return {
    grid,
    largestGy: grid.maxGy,
    label: `${first.label} + ${second.label}`,
    isSum: true,
    quantity,
    legend: `sum of two plans, Gy, ${quantity}, computed in the viewer ${how}`,
  };
}

/** What must be known of two pictures with one scale of colors; null where nothing. */
function besides(a, b) {
  if (a.type === b.type) return null;
  const name = ({ type }) => QUANTITIES[type] ?? 'of an unknown type';
  return `A is ${name(b)} and B is ${name(a)}: their Gy are not the same, though they have the same colors.`;
}

/** @type {(a: any, b?: any, how?: string) => string} */
export const keyOf = (a, b = null, how = '') => `${a.object.sopUid}-${b?.object.sopUid ?? ''}-${b ? how : ''}`;
