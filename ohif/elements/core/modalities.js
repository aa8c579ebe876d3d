// What pages and viewer draw of a modality: columns of the table of beams, and marks on the images. The rest never asks which it is.
import { fixed } from './format.js';

/**
 * @typedef {object} Drawing
 * @property {string} name
 * @property {(beam: any) => boolean} fits whether a beam, as the service answers it, is of this modality
 * @property {{head: string, cell: (beam: any) => string}[]} columns after name, gantry and couch
 * @property {(sight: Sight, beam: any) => void} [mark] more than the direction, over the images
 *
 * @typedef {object} Sight a picture on which a beam is drawn
 * @property {CanvasRenderingContext2D} context
 * @property {any} plane its `to` takes a patient position (mm) to pixels
 * @property {number[]} towardsSource unit vector, patient LPS
 */

/** @type {Drawing[]} */
const DRAWINGS = [];

/** A modality's drawing; the first that fits a beam is taken. */
export const register = (/** @type {Drawing} */ drawing) => DRAWINGS.push(drawing);

/** Of a beam whose modality is not known: what all beams have. @type {Drawing} */
const PLAIN = { name: 'beam', fits: () => true, columns: [] };

/** The drawing of a beam; of beams of a check nothing is known but their direction. */
export const drawingOf = (/** @type {any} */ beam) => DRAWINGS.find((d) => d.fits(beam)) ?? PLAIN;

register({
  name: 'proton',
  fits: (beam) => Number.isFinite(beam.spots),
  columns: [
    { head: 'Layers', cell: (b) => String(b.layers) },
    { head: 'Spots', cell: (b) => b.spots.toLocaleString('en') },
    { head: 'MeV', cell: (b) => `${fixed(b.energy_min_mev, 0)}–${fixed(b.energy_max_mev, 0)}` },
    { head: 'MU a fraction', cell: (b) => fixed(b.meterset_mu, 1) },
  ],
});

register({
  name: 'photon',
  fits: (beam) => Number.isFinite(beam.energy_mv),
  columns: [
    { head: 'Arc to', cell: (b) => (b.rotation ? `${b.rotation === 'clockwise' ? '↻' : '↺'} ${fixed(b.gantry_stop_deg, 1)}°` : '–') },
    { head: 'Collimator', cell: (b) => `${fixed(b.collimator_deg, b.collimator_deg % 1 ? 1 : 0)}°` },
    { head: 'MV', cell: (b) => `${b.energy_mv}${b.fluence === 'unflattened' ? ' FFF' : ''}` },
    { head: 'Control points', cell: (b) => b.control_points.toLocaleString('en') },
    { head: 'MU a fraction', cell: (b) => fixed(b.meterset_mu, 1) },
  ],
});
