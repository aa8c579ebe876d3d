// Numbers, times and names as people read them; units are said where a number stands.

export const THIN = '\u202f';

/** A number with `digits` decimals and a true minus sign; '–' where there is none. */
export function fixed(value, digits = 1) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  return value.toFixed(digits).replace('-', '−');
}

export const gy = (value, digits = 1) => `${fixed(value, digits)}${THIN}Gy`;

export function withUnit(value, unit, digits) {
  if (value === null || value === undefined) return '–';
  const places = digits ?? (unit === '' ? 2 : 1);
  return unit === '%' ? `${fixed(value, places)}${THIN}%` : `${fixed(value, places)}${unit ? THIN + unit : ''}`;
}

export function signed(value, digits = 1) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  const text = fixed(Math.abs(value), digits);
  if (Number(text) === 0) return `±${text}`;
  return `${value < 0 ? '−' : '+'}${text}`;
}

export function seconds(s) {
  if (s === null || s === undefined) return '–';
  if (s < 10) return `${s.toFixed(1)}${THIN}s`;
  if (s < 90) return `${Math.round(s)}${THIN}s`;
  if (s < 5400) return `${Math.floor(s / 60)}${THIN}min ${String(Math.round(s % 60)).padStart(2, '0')}${THIN}s`;
  return `${Math.floor(s / 3600)}${THIN}h ${String(Math.round((s % 3600) / 60)).padStart(2, '0')}${THIN}min`;
}

/** Roughly, for a time that is still to come. */
export function eta(s) {
  if (s === null || s === undefined) return '';
  if (s < 10) return 'a few seconds left';
  if (s < 90) return `about ${Math.ceil(s / 5) * 5}${THIN}s left`;
  if (s < 5400) return `about ${Math.round(s / 60)}${THIN}min left`;
  return `about ${(s / 3600).toFixed(1)}${THIN}h left`;
}

export function took(plan) {
  if (!plan.started_at) return null;
  const end = plan.ended_at ? new Date(plan.ended_at) : new Date();
  return Math.max(0, (end.getTime() - new Date(plan.started_at).getTime()) / 1000);
}

const DAY = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: '2-digit' });
const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });

export const exactly = (iso) => (iso ? EXACT.format(new Date(iso)) : '');

/** Time of today, else the day with the time. */
export function when(iso) {
  if (!iso) return '–';
  const date = new Date(iso);
  const today = new Date().toDateString() === date.toDateString();
  return today ? TIME.format(date) : `${DAY.format(date)}, ${TIME.format(date)}`;
}

/** The end of a UID tells them apart; the whole belongs in the title. */
export const shortUid = (uid) => (uid && uid.length > 20 ? `…${uid.slice(-12)}` : uid || '–');
export const shortId = (id) => (id ? id.slice(0, 8) : '–');

/** What the service writes where nobody gave a label: it tells plans apart no better than none. */
export const DEFAULT_LABEL = 'RADIARCH';
export const given = (label) => (label && label !== DEFAULT_LABEL ? label : null);
export const planName = (plan) => given(plan.label) ?? plan.protocol_id ?? plan.workflow_id;

/**
 * A patient's name as people write it, of DICOM's Person Name: in the patient's own script where that is given.
 *
 * @param {string | null | undefined} name such as `Wang^XiaoDong=王^小東`
 */
export function personName(name) {
  const [alphabetic = '', ideographic = ''] = (name ?? '').split('=');
  const parts = (group) => group.split('^').map((part) => part.trim());
  const [family, given] = parts(alphabetic);
  const latin = [family, given].filter(Boolean).join(', ');
  // Chinese, Japanese and Korean names are written without a space
  const own = parts(ideographic)
    .slice(0, 2)
    .filter(Boolean)
    .join(/[\p{sc=Han}\p{sc=Hangul}\p{sc=Hira}\p{sc=Kana}]/u.test(ideographic) ? '' : ' ');
  return own && latin ? `${own} (${latin})` : own || latin;
}

/** `1` → 'next', `2` → '2nd in the queue'. */
export function queuePlace(position) {
  if (!position) return '';
  if (position === 1) return 'next in the queue';
  const ending = new Intl.PluralRules('en', { type: 'ordinal' }).select(position);
  return `${position}${{ one: 'st', two: 'nd', few: 'rd', other: 'th' }[ending]} in the queue`;
}

export const prescription = (p) =>
  p ? `${fixed(p.dose_gy, p.dose_gy % 1 ? 1 : 0)}${THIN}Gy in ${p.fractions} to ${p.target}` : 'no prescription';

/** Objectives as people call them. */
export const OBJECTIVES = {
  DMin: 'Minimum dose',
  DMax: 'Maximum dose',
  DUniform: 'Uniform dose',
  DMean: 'Mean dose',
  DMeanMax: 'Mean at most',
  DVHMin: 'Volume at least',
  DVHMax: 'Volume at most',
};

export const STAGES = {
  loading_data: 'Loading data',
  building_plan: 'Placing beams and spots',
  computing_beamlets: 'Computing beamlets',
  optimizing: 'Optimizing',
  final_dose: 'Final dose',
  exporting: 'Storing results',
};
export const stageName = (stage) => STAGES[stage] ?? words(stage ?? '');

/** `not_planned` → 'Not planned'. */
export function words(name) {
  const text = String(name).replaceAll('_', ' ').replaceAll('-', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
