// How the planning mode hangs a study: the CT in three planes, the axial one large; or two plans beside each other.

export const PROTOCOL_ID = '@radiarch/planning';

/** The stages of the protocol below, by what they are for. */
export const STAGES = Object.freeze({ planes: 0, beside: 1 });

const OTHER = '-other';
/** Whether a viewport is of the other one of two plans that are beside each other. */
export const isOther = (viewportId) => viewportId.startsWith('radiarch-') && viewportId.endsWith(OTHER);

const linked = (type, id, options = {}) => ({ type, id, source: true, target: true, options });

const view = (name, further = []) => ({
  viewportOptions: {
    viewportId: `radiarch-${name}`,
    toolGroupId: 'mpr',
    viewportType: 'volume',
    orientation: name.split('-')[0],
    initialImageOptions: { preset: 'middle' },
    syncGroups: [linked('voi', 'radiarch', { syncColormap: false }), ...further],
  },
  displaySets: [{ id: 'ct' }],
});

/** Two viewports of one plane, which are moved, scrolled and zoomed together. */
const pair = (name) => [`${name}${OTHER}`, `${name}-chosen`].map((n) => view(n, [linked('cameraPosition', `radiarch-${name}`)]));

export const protocol = {
  id: PROTOCOL_ID,
  name: 'Treatment planning',
  locked: true,
  isPreset: true,
  icon: 'layout-advanced-axial-primary',
  availableTo: {},
  editableBy: {},
  // without a rule none is chosen
  protocolMatchingRules: [{ id: 'ct', weight: 100, attribute: 'ModalitiesInStudy', constraint: { contains: ['CT'] } }],
  imageLoadStrategy: 'interleaveCenter',
  numberOfPriorsReferenced: 0,
  // the first series is the first of images (app-config.js): they hang before structure sets, of which Orthanc writes
  // all contours as JSON, are there
  hpInitiationCriteria: { minSeriesLoaded: 1 },
  callbacks: {},
  displaySetSelectors: {
    ct: {
      seriesMatchingRules: [
        { weight: 10, attribute: 'isReconstructable', constraint: { equals: { value: true } }, required: true },
        { weight: 1, attribute: 'Modality', constraint: { equals: { value: 'CT' } }, required: true },
      ],
    },
  },
  stages: [
    {
      name: 'Three planes',
      viewportStructure: {
        layoutType: 'grid',
        properties: {
          rows: 2,
          columns: 2,
          layoutOptions: [
            { x: 0, y: 0, width: 0.6, height: 1 },
            { x: 0.6, y: 0, width: 0.4, height: 0.5 },
            { x: 0.6, y: 0.5, width: 0.4, height: 0.5 },
          ],
        },
      },
      viewports: [view('axial'), view('sagittal'), view('coronal')],
    },
    {
      name: 'Two plans',
      viewportStructure: { layoutType: 'grid', properties: { rows: 2, columns: 2 } },
      viewports: [...pair('axial'), ...pair('coronal')],
    },
  ],
};
