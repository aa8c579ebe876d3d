// How the planning mode hangs a study: the CT in three planes, the axial one large.

export const PROTOCOL_ID = '@radiarch/planning';

const view = (name) => ({
  viewportOptions: {
    viewportId: `radiarch-${name}`,
    toolGroupId: 'mpr',
    viewportType: 'volume',
    orientation: name,
    initialImageOptions: { preset: 'middle' },
    syncGroups: [{ type: 'voi', id: 'radiarch', source: true, target: true, options: { syncColormap: false } }],
  },
  displaySets: [{ id: 'ct' }],
});

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
  ],
};
