// What OHIF reads of a study, and when: nothing that is not drawn takes time from what is.

const LATEST_MS = 5000;

/**
 * Structure sets after the pictures; returns how to stop.
 *
 * Orthanc writes all contours of a structure set as JSON, some megabytes, and OHIF asks for that to list the series. Our
 * contours are read from the DICOM object itself, so it can wait until the dose is drawn.
 */
export function structureSetsLast(session, extensionManager) {
  const series = extensionManager.getActiveDataSource()[0]?.retrieve?.series;
  if (!series?.metadata) return () => {};
  const { metadata } = series;
  series.metadata = async (asked) => {
    const found = await metadata(asked);
    if (asked?.returnPromises && Array.isArray(found)) {
      for (const one of found.filter((p) => p.metadata?.Modality === 'RTSTRUCT')) {
        const { start } = one;
        one.start = () => drawn(session).then(start);
      }
    }
    return found;
  };
  return () => {
    series.metadata = metadata;
  };
}

/** When the dose is on the images, or after a while: there may be none. */
function drawn(session) {
  return new Promise((resolve) => {
    setTimeout(resolve, LATEST_MS);
    session.addEventListener('drawn', resolve, { once: true });
  });
}
