// What a plan's Gy are: physical or RBE-weighted dose. As the service tells them apart (radiarch_plugin.web.comparing).
import { PLAN_LETTERS } from './palette.js';

/** True for RBE-weighted, false for physical dose, null where nothing says so. */
export function isWeighted(plan) {
  if (plan.dose_quantity) return plan.dose_quantity === 'RBE_WEIGHTED';
  if (plan.dose) return plan.dose.dose_type === 'EFFECTIVE';
  const rbe = plan.provenance?.rbe;
  return typeof rbe === 'number' ? rbe !== 1 : null;
}

const known = (plans) => [...new Set(plans.map(isWeighted))].filter((w) => w !== null);

/** Whether Gy of all plans may be subtracted from each other as they are. */
export const alike = (plans) => known(plans).length < 2;

/** What the Gy of all plans are, for an axis; just 'Dose' where that is not known, or not the same. */
export function quantityOf(plans) {
  if (plans.some((p) => isWeighted(p) === null) || !alike(plans)) return 'Dose';
  return isWeighted(plans[0]) ? 'RBE-weighted dose' : 'Physical dose';
}

/** What is wrong with curves of these plans on one axis; null where nothing is. */
export function mixture(plans) {
  if (alike(plans)) return null;
  const letters = (weighted) =>
    plans
      .map((p, i) => (isWeighted(p) === weighted ? PLAN_LETTERS[i] : ''))
      .filter(Boolean)
      .join(', ');
  return `${letters(true)} is RBE-weighted and ${letters(false)} physical dose: their Gy are not the same. These curves and values are not to be compared.`;
}

export const MIXED = 'One dose is RBE-weighted and the other is physical: their Gy are not the same, and these values are not subtracted.';
