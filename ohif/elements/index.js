// Registers every element; README.md says what each takes and tells.
import './progress.js';
import './goals.js';
import './dvh.js';
import './pictures.js';
import './trace.js';
import './runs.js';
import './compare.js';
import './verdict.js';
import './plan-form.js';
import './check-form.js';

export { api, ohifUrl, uiUrl } from './core/api.js';
export { live, followPlan } from './core/live.js';
export { planName } from './core/format.js';
export { learnColors, structureColor } from './core/palette.js';
