// What a plan's Gy are: physical or RBE-weighted dose. As the service tells them apart (radiarch_plugin.comparing).

/** True for RBE-weighted, false for physical dose, null where nothing says so. */
export function isWeighted(plan) {
  if (plan.dose) return plan.dose.dose_type === 'EFFECTIVE';
  const rbe = plan.provenance?.rbe;
  return typeof rbe === 'number' ? rbe !== 1 : null;
}

/** Whether Gy of all plans may be subtracted from each other as they are. */
export const alike = (plans) => new Set(plans.map(isWeighted).filter((w) => w !== null)).size < 2;

export const MIXED = 'One dose is RBE-weighted and the other is physical: their Gy are not the same, and these values are not subtracted.';
