// OHIF's configuration, read before the viewer starts: the data are this Orthanc's, and nothing comes from elsewhere.

// the address that OHIF's users know opens in the planning mode
if (location.pathname === '/ohif/viewer') {
  history.replaceState(null, '', '/ohif/radiarch' + location.search + location.hash);
}

// while the browser still reads OHIF's 17 MB: our modules are fetched, and the study's plans and dose after them
import('/ohif/extension/extension.js').catch(() => {}); // OHIF imports it as well, and says what went wrong

/** Images first, in the order of their series; what is drawn over them comes after them. */
function imagesFirst(a, b) {
  const late = ({ Modality }) => (/^(RT|SEG|SR|PR|KO|DOC)/.test(Modality ?? '') ? 1 : 0);
  return late(a) - late(b) || (Number(a.SeriesNumber) || 0) - (Number(b.SeriesNumber) || 0);
}

window.config = {
  name: 'radiarch',
  routerBasename: '/ohif',
  extensions: ['/ohif/extension/extension.js'],
  modes: ['/ohif/extension/mode.js'],
  customizationService: [{ sortingCriteria: { $set: imagesFirst } }],
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  groupEnabledModesFirst: true,
  investigationalUseDialog: { option: 'never' },
  // Orthanc answers over HTTP/1.1 with a limited number of threads; a browser opens six connections
  maxNumRequests: { interaction: 20, thumbnail: 5, prefetch: 10 },
  showErrorDetails: 'always',
  defaultDataSourceName: 'orthanc',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'orthanc',
      configuration: {
        friendlyName: 'Orthanc',
        name: 'orthanc',
        wadoUriRoot: '/dicom-web',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        qidoSupportsIncludeField: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        dicomUploadEnabled: false,
        singlepart: 'bulkdata,pdf,video',
        bulkDataURI: { enabled: true },
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
};
