// OHIF's extension: panels, hanging protocol, and the dose on the images. Loaded at run time; OHIF itself is not changed.
import { keepBanner } from './panels/banner.js';
import './panels/dose.js';
import './panels/plan.js';
import { keepProfile } from './panels/profile.js';
import './panels/results.js';

import { keepLayout } from './layout.js';
import { structureSetsLast } from './loading.js';
import { addDoseMetadata } from './metadata.js';
import { panelComponent } from './panels/panel.js';
import { PROTOCOL_ID, protocol } from './protocol.js';
import { session } from './session.js';
import { keepViewports } from './viewports.js';

export const ID = '@radiarch/extension-planning';

const PANELS = [
  ['dose', 'Dose', 'icon-color-lut'],
  ['runs', 'Runs', 'ListView'],
  ['dvh', 'DVH', 'tab-4d'],
  ['goals', 'Goals', 'CheckBoxChecked'],
  ['plan', 'Plan', 'Pencil'],
];

// OHIF's tabs have icons of its own set only, which say nothing of doses: ours are named
const TABS = PANELS.map(
  ([name, label]) => `
  [data-cy="${name}-btn"] { width: auto !important; min-width: 44px; }
  [data-cy="${name}-btn"] svg { display: none; }
  [data-cy="${name}-btn"] > div::after { content: "${label}"; padding: 0 8px; font: 500 12px/1 Inter, system-ui, sans-serif; color: #fff; }`,
).join('');

function nameTabs() {
  const style = document.createElement('style');
  style.textContent = TABS;
  document.head.append(style);
}

const parameters = () => new URLSearchParams(location.search);

/** The study that the address names; the first, if it names several. */
function studyOfAddress() {
  for (const [name, value] of parameters()) {
    if (name.toLowerCase() === 'studyinstanceuids' && /^[0-9.]{1,64}/.test(value)) return value.split(',')[0];
  }
  return null;
}

/** What of the study the address names: a plan by its id, or a dose or any result of a plan by its SOP Instance UID. */
function choiceOfAddress() {
  const [plan, object] = ['plan', 'object'].map((name) => parameters().get(name));
  if (plan) return { kind: 'plan', id: plan };
  return object && /^[0-9.]{1,64}$/.test(object) ? { kind: 'dose', id: object } : null;
}

const open = () => session.open(studyOfAddress(), choiceOfAddress());

// while OHIF is still starting: its dose is fetched beside the images, not after them
if (location.pathname.startsWith('/ohif/radiarch')) open();

/** @type {(() => void) | null} */
let stop = null;

/** The planning mode begins. */
export function enter({ commandsManager, servicesManager, extensionManager }) {
  stop?.();
  open();
  const stops = [
    structureSetsLast(session, extensionManager),
    keepViewports(session, servicesManager),
    keepLayout(session, { commandsManager, servicesManager }),
    keepBanner(),
    keepProfile(),
  ];
  stop = () => stops.forEach((end) => end());
}

/** The planning mode ends: nothing of this patient stays. */
export function leave() {
  stop?.();
  stop = null;
  session.close();
}

export default {
  id: ID,
  preRegistration: nameTabs,
  onModeEnter() {
    addDoseMetadata();
  },
  getPanelModule: () =>
    PANELS.map(([name, label, iconName]) => ({
      name,
      label,
      iconLabel: label,
      iconName,
      component: panelComponent(`radiarch-viewer-${name}`),
    })),
  getHangingProtocolModule: () => [{ name: PROTOCOL_ID, protocol }],
};
