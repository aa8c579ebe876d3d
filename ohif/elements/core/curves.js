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
