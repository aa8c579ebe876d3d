// Arithmetic on DVH curves: values between points, on one axis; nothing is drawn here.

/** Volume (%) with at least `dose`, linear between the curve's points; before the first 100 %, after the last 0 %. */
export function volumeAt(curve, dose) {
  const { dose_gy: d, volume_percent: v } = curve;
  if (!d.length) return null;
  if (dose <= d[0]) return v[0];
  if (dose > d[d.length - 1]) return 0;
  let low = 0;
  let high = d.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (d[middle] <= dose) low = middle;
    else high = middle;
  }
  const t = d[high] === d[low] ? 0 : (dose - d[low]) / (d[high] - d[low]);
  return v[low] + t * (v[high] - v[low]);
}

/** Least dose (Gy) to the hottest `percent` of the volume: D95 is `doseAt(curve, 95)`. */
export function doseAt(curve, percent) {
  const { dose_gy: d, volume_percent: v } = curve;
  if (!d.length) return null;
  for (let i = d.length - 1; i >= 0; i -= 1) {
    if (v[i] >= percent) {
      if (i === d.length - 1 || v[i] === v[i + 1]) return d[i];
      return d[i] + ((v[i] - percent) / (v[i] - v[i + 1])) * (d[i + 1] - d[i]);
    }
  }
  return d[0];
}

/** Where the last of some curves comes down to nothing. */
export function lastDose(curves) {
  let last = 0;
  for (const { dose_gy: d, volume_percent: v } of curves) {
    for (let i = d.length - 1; i >= 0; i -= 1) {
      if (v[i] > 0.01) {
        last = Math.max(last, d[Math.min(i + 1, d.length - 1)]);
        break;
      }
    }
  }
  return last;
}

/** Curves resampled on `points + 1` doses from 0 to `end`; linear between, so that nothing is made up. */
export function resample(curve, end, points) {
  return Array.from({ length: points + 1 }, (_, i) => volumeAt(curve, (end * i) / points));
}

/** Mean dose (Gy): the area below the curve, linear between its points. */
export function meanDose({ dose_gy: d, volume_percent: v }) {
  let sum = d.length ? (d[0] * v[0]) / 100 : 0;
  for (let i = 1; i < d.length; i += 1) sum += ((d[i] - d[i - 1]) * (v[i] + v[i - 1])) / 200;
  return sum;
}

/**
 * A metric read from a curve, linear between its points; null where it does not exist.
 *
 * @param {{dose_gy: number[], volume_percent: number[], volume_cc: number}} curve
 * @param {{kind: string, argument: number | null, unit: string}} metric as `parseMetric` gives it
 * @param {number | null} prescribedGy what `V95%` is a percentage of
 */
export function metricOf(curve, { kind, argument, unit }, prescribedGy) {
  if (kind === 'V') {
    if (unit === '%' && !prescribedGy) return null;
    return volumeAt(curve, unit === '%' ? ((argument ?? 0) * (prescribedGy ?? 0)) / 100 : (argument ?? 0));
  }
  if (kind === 'Dmean') return meanDose(curve);
  if (kind === 'Dmin') return doseAt(curve, 100);
  if (kind === 'Dmax' && argument === null) return lastDose([curve]);
  const percent = unit === 'cc' ? (100 * (argument ?? 0)) / curve.volume_cc : (argument ?? 0);
  return percent > 100 ? null : doseAt(curve, percent);
}
