// DICOM objects as the viewer needs them: found by QIDO-RS, fetched by WADO-RS, read with dicom-parser. Nothing is drawn.

import { DoseGrid, RefusedDose, cross, doseGeometry, dot, length, minus } from './grid.js';

const ROOT = '/dicom-web';
const RTDOSE = '1.2.840.10008.5.1.4.1.1.481.2';
const MAX_VALUES = 400e6;

/** @type {Promise<any> | null} */
let parser = null;

/** dicom-parser is made for pages without modules: it is loaded as a script, once. */
function dicomParser() {
  parser ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = '/ohif/extension/vendor/dicomParser.min.js';
    script.onload = () => resolve(window.dicomParser);
    script.onerror = () => {
      parser = null;
      reject(new Error('dicom-parser could not be loaded'));
    };
    document.head.append(script);
  });
  return parser;
}

const value = (item, tag, i = 0) => item[tag]?.Value?.[i];

/**
 * @param {string} path
 * @param {{signal?: AbortSignal, accept: string}} options
 */
async function ask(path, { signal, accept }) {
  const answer = await fetch(ROOT + path, { signal, headers: { Accept: accept }, credentials: 'same-origin' });
  if (answer.ok) return answer;
  const error = /** @type {Error & {remedy?: string}} */ (new Error(`Orthanc answered ${answer.status} when it was asked for images`));
  error.remedy = answer.status === 404 ? 'It may have been deleted; load the page again.' : "See Orthanc's log.";
  throw error;
}

/**
 * The RT Dose, RT Structure Set and RT Plan objects of a study, newest first.
 *
 * @param {string} studyUid
 * @param {{signal?: AbortSignal}} [options]
 */
export async function findObjects(studyUid, { signal } = {}) {
  const fields = [
    'SeriesDescription',
    'FrameOfReferenceUID',
    'DoseSummationType',
    'DoseType',
    'Manufacturer',
    'StructureSetLabel',
    'StudyDescription',
  ];
  const query = ['Modality=RTDOSE,RTSTRUCT,RTPLAN', ...fields.map((f) => `includefield=${f}`), 'limit=1000'].join('&');
  const path = `/studies/${encodeURIComponent(studyUid)}/instances?${query}`;
  const answer = await ask(path, { signal, accept: 'application/dicom+json' });
  if (answer.status === 204) return [];
  const items = await answer.json();
  return items
    .map((item) => ({
      modality: value(item, '00080060'),
      studyUid,
      seriesUid: value(item, '0020000E'),
      sopUid: value(item, '00080018'),
      description: value(item, '0008103E') ?? '',
      manufacturer: value(item, '00080070') ?? '',
      summation: value(item, '3004000A') ?? '',
      doseType: value(item, '30040004') ?? '',
      created: `${value(item, '00080012') ?? ''}${value(item, '00080013') ?? ''}`,
      frameUid: value(item, '00200052') ?? '',
      study: value(item, '00081030') ?? '',
    }))
    .sort((a, b) => (a.created < b.created ? 1 : -1));
}

/**
 * One object, parsed; in Explicit VR Little Endian whatever it was stored as.
 *
 * @param {{studyUid: string, seriesUid: string, sopUid: string}} object
 * @param {{signal?: AbortSignal}} [options]
 */
async function fetchObject({ studyUid, seriesUid, sopUid }, { signal } = {}) {
  const path = `/studies/${studyUid}/series/${seriesUid}/instances/${sopUid}`;
  const [library, answer] = await Promise.all([
    dicomParser(),
    ask(path, { signal, accept: 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1' }),
  ]);
  const bytes = onlyPart(new Uint8Array(await answer.arrayBuffer()), answer.headers.get('Content-Type') ?? '');
  return library.parseDicom(bytes);
}

/** The body of a multipart answer's only part (RFC 2046). */
export function onlyPart(bytes, contentType) {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (!boundary) throw new Error('Orthanc answered without a boundary between parts');
  const ascii = (text) => [...text].map((c) => c.charCodeAt(0));
  const start = indexOf(bytes, ascii('\r\n\r\n'), 0) + 4;
  const end = lastIndexOf(bytes, ascii(`\r\n--${boundary}`));
  if (start < 4 || end < start) throw new Error('Orthanc answered with an incomplete object');
  return bytes.subarray(start, end);
}

function matches(bytes, wanted, at) {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

function indexOf(bytes, wanted, from) {
  for (let at = from; at <= bytes.length - wanted.length; at++) if (matches(bytes, wanted, at)) return at;
  return -1;
}

function lastIndexOf(bytes, wanted) {
  for (let at = bytes.length - wanted.length; at >= 0; at--) if (matches(bytes, wanted, at)) return at;
  return -1;
}

const numbers = (set, tag) =>
  (set.string(tag) ?? '')
    .split('\\')
    .filter((t) => t.trim())
    .map(Number);

/**
 * An RT Dose in Gy.
 *
 * @returns {Promise<{grid: DoseGrid, frameUid, summation, type, rbe, planUids}>} `rbe`: the constant that is in an
 *   RBE-weighted dose, where the object says it; else null
 * @throws {RefusedDose} where it cannot be drawn truthfully
 */
export async function fetchDose(source, options) {
  return readDose(await fetchObject(source, options));
}

export function readDose(set) {
  if (set.string('x00080016') !== RTDOSE) {
    throw new RefusedDose('this object is no RT Dose', 'Choose another dose.');
  }
  const units = set.string('x30040002') ?? '';
  if (units !== 'GY') {
    throw new RefusedDose(`this dose is in ${units || 'unknown units'}, not in Gy`, 'Export it with DoseUnits GY.');
  }
  const [rows, columns] = [set.uint16('x00280010'), set.uint16('x00280011')];
  const frames = Number(set.string('x00280008') ?? 1);
  const orientation = numbers(set, 'x00200037');
  const geometry = doseGeometry({
    rows,
    columns,
    frames,
    pixelSpacing: numbers(set, 'x00280030'),
    position: numbers(set, 'x00200032'),
    orientation,
    offsets: numbers(set, 'x3004000c'),
  });
  const scaling = Number(set.string('x3004000e') ?? NaN);
  if (!(scaling > 0)) {
    throw new RefusedDose('this dose has no DoseGridScaling above 0', 'Export it again; its values cannot be known.');
  }
  const type = set.string('x30040004') ?? '';
  const values = scaled(stored(set, rows * columns * frames), scaling);
  if (type !== 'ERROR' && set.uint16('x00280103') === 1 && values.some((v) => v < 0)) {
    throw new RefusedDose(
      `this object has values below 0 and says that it is ${type ? `a dose of type ${type}` : 'a dose without a type'}`,
      'Export it again: a difference of doses has the Dose Type ERROR (3004,0004).',
    );
  }
  if (geometry.reversed) reverseFrames(values, rows * columns, frames);
  return {
    grid: new DoseGrid(geometry, values),
    frameUid: set.string('x00200052') ?? '',
    summation: set.string('x3004000a') ?? '',
    type,
    rbe: weighting(set),
    planUids: (set.elements.x300c0002?.items ?? []).map((i) => i.dataSet.string('x00081155')),
  };
}

/** The constant RBE that one of our own doses says it was weighted by, in the provenance that the worker writes. */
function weighting(set) {
  const creator = Object.keys(set.elements).find((tag) => /^x009900[1-9a-f][0-9a-f]$/.test(tag) && set.string(tag)?.trim() === 'RADIARCH');
  const element = creator && set.elements[`x0099${creator.slice(7)}01`];
  if (!element) return null;
  const bytes = set.byteArray.subarray(element.dataOffset, element.dataOffset + element.length);
  try {
    const { rbe } = JSON.parse(new TextDecoder().decode(bytes).replace(/[\0 ]+$/, ''));
    return typeof rbe === 'number' && rbe > 0 ? rbe : null;
  } catch {
    return null; // written by something else under our name
  }
}

/**
 * What an RT Plan prescribes, total over all fractions; null where it says nothing, or has several fraction groups.
 *
 * @returns {Promise<{gy: number, several: boolean, fractions: number | null, roiNumber: number | null} | null>}
 */
export async function fetchPrescription(source, options) {
  return readPrescription(await fetchObject(source, options));
}

/** Of several Target Prescription Doses (300A,0026) the highest, which is said to be that. */
export function readPrescription(set) {
  const items = (tag) => set.elements[tag]?.items?.map((i) => i.dataSet) ?? [];
  const number = (item, tag) => {
    const found = Number.parseFloat(item.string(tag) ?? '');
    return Number.isFinite(found) ? found : null;
  };
  const targets = items('x300a0010')
    .filter((item) => item.string('x300a0020') === 'TARGET')
    .map((item) => ({ gy: number(item, 'x300a0026') ?? 0, roiNumber: number(item, 'x30060084') }))
    .filter(({ gy }) => gy > 0)
    .sort((a, b) => b.gy - a.gy);
  const groups = items('x300a0070');
  // of several fraction groups each may have a part of it
  if (!targets.length || groups.length > 1) return null;
  const several = targets.some(({ gy }) => gy !== targets[0].gy);
  return { ...targets[0], several, fractions: groups.length ? number(groups[0], 'x300a0078') : null };
}

/** The stored values, unsigned or (error doses) signed, 16 or 32 bit. */
function stored(set, count) {
  const [allocated, bits] = [set.uint16('x00280100'), set.uint16('x00280101')];
  const signed = set.uint16('x00280103') === 1;
  const element = set.elements.x7fe00010;
  if (!element || element.encapsulatedPixelData || ![16, 32].includes(allocated) || bits !== allocated) {
    throw new RefusedDose(
      `this dose has pixels of ${bits} in ${allocated} bits, which is not a form of an RT Dose`,
      'Export it with 16 or 32 bits, not compressed.',
    );
  }
  if (count > MAX_VALUES || element.length < (count * allocated) / 8) {
    throw new RefusedDose('this dose has not as many values as its grid has points', 'Send it again; it is not complete.');
  }
  const at = set.byteArray.byteOffset + element.dataOffset;
  const size = (count * allocated) / 8;
  const buffer = set.byteArray.buffer.slice(at, at + size); // aligned
  if (allocated === 32) return signed ? new Int32Array(buffer) : new Uint32Array(buffer);
  return signed ? new Int16Array(buffer) : new Uint16Array(buffer);
}

function scaled(values, scaling) {
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = values[i] * scaling;
  return out;
}

function reverseFrames(values, size, frames) {
  for (let k = 0; k < frames >> 1; k++) {
    const a = values.slice(k * size, (k + 1) * size);
    values.copyWithin(k * size, (frames - 1 - k) * size, (frames - k) * size);
    values.set(a, (frames - 1 - k) * size);
  }
}

/**
 * The structures of an RT Structure Set.
 *
 * @returns {Promise<{label: string, sopUid: string, structures: any[]}>} see `lines.js`
 */
export async function fetchStructures(source, options) {
  return readStructures(await fetchObject(source, options));
}

export function readStructures(set) {
  const text = decoder(set.string('x00080005') ?? '');
  const label = (item, tag) => {
    const element = item.elements[tag];
    if (!element) return '';
    const bytes = item.byteArray.subarray(element.dataOffset, element.dataOffset + element.length);
    return text
      .decode(bytes)
      .replace(/[\0 ]+$/, '')
      .trim();
  };
  const items = (tag) => set.elements[tag]?.items?.map((i) => i.dataSet) ?? [];
  const rois = new Map(
    items('x30060020').map((roi) => [
      Number(roi.string('x30060022')),
      { name: label(roi, 'x30060026'), frameUid: roi.string('x30060024') ?? '' },
    ]),
  );
  const structures = [];
  for (const item of items('x30060039')) {
    const number = Number(item.string('x30060084'));
    const polygons = [];
    for (const contour of item.elements.x30060040?.items ?? []) {
      const kind = contour.dataSet.string('x30060042');
      const points = Float64Array.from(numbers(contour.dataSet, 'x30060050'));
      if (/^CLOSED/.test(kind) && points.length >= 9 && points.length % 3 === 0 && points.every(Number.isFinite)) {
        polygons.push(points);
      }
    }
    const roi = rois.get(number);
    if (roi && polygons.length) structures.push({ number, ...roi, ...onPlanes(polygons) });
  }
  return { label: label(set, 'x30060002'), sopUid: set.string('x00080018') ?? '', structures };
}

/** Polygons gathered by the plane that they lie on. */
function onPlanes(polygons) {
  const normal = normalOf(polygons);
  const planes = new Map();
  for (const points of polygons) {
    const z = dot([points[0], points[1], points[2]], normal);
    const key = Math.round(z * 20);
    if (!planes.has(key)) planes.set(key, { z, polygons: [] });
    planes.get(key).polygons.push(points);
  }
  const sorted = [...planes.values()].sort((a, b) => a.z - b.z);
  const gaps = sorted
    .slice(1)
    .map((p, i) => p.z - sorted[i].z)
    .sort((a, b) => a - b);
  return { planes: sorted, normal, spacing: gaps.length ? gaps[gaps.length >> 1] : 1 };
}

/** Unit normal of the largest polygon's plane, pointing to the head where it has a say. */
function normalOf(polygons) {
  const points = polygons.reduce((a, b) => (b.length > a.length ? b : a));
  const first = [points[0], points[1], points[2]];
  let sum = [0, 0, 0];
  for (let i = 3; i + 5 < points.length; i += 3) {
    const a = minus([points[i], points[i + 1], points[i + 2]], first);
    const b = minus([points[i + 3], points[i + 4], points[i + 5]], first);
    sum = sum.map((s, k) => s + cross(a, b)[k]);
  }
  const size = length(sum);
  if (!(size > 0)) return [0, 0, 1];
  const unit = sum.map((c) => c / size);
  return unit[2] < 0 ? unit.map((c) => -c || 0) : unit;
}

function decoder(characterSet) {
  const names = { 'ISO_IR 192': 'utf-8', GB18030: 'gb18030', GBK: 'gbk', 'ISO_IR 13': 'shift_jis' };
  const part = { 100: 1, 101: 2, 109: 3, 110: 4, 144: 5, 127: 6, 126: 7, 138: 8, 148: 9 };
  const first = characterSet.split('\\').pop().trim();
  const latin = part[/IR (\d+)/.exec(first)?.[1]];
  return new TextDecoder(names[first] ?? (latin ? `iso-8859-${latin}` : 'utf-8'));
}
