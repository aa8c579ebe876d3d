// Keeps every viewport of the page as the session says: color wash and overlays, added again where OHIF has put up others.

import { along, dot, minus } from './grid.js';
import { Overlay } from './overlay.js';
import { isOther } from './protocol.js';
import { Wash, fits } from './wash.js';

/** Start; returns how to stop. */
export function keepViewports(session, servicesManager) {
  const { cornerstone } = window;
  const { Events } = cornerstone.Enums;
  const washes = [new Wash(session, () => session.dose), new Wash(session, () => session.dose.beside ?? {})];
  const washOf = (viewport) => washes[Number(session.isBeside && isOther(viewport.id))];
  const overlays = new Map();
  let revision = 0;
  let waiting = false;
  const centered = new WeakSet(); // viewports, for the study that is open
  let drawn = { dose: null, on: new Set(), told: false }; // which viewports have shown a picture with the present dose
  const stop = new AbortController();
  const { signal } = stop;

  const viewports = () => cornerstone.getRenderingEngines().flatMap((engine) => engine.getViewports());

  const keep = (viewport) => {
    if (!isFlat(viewport)) return;
    const old = overlays.get(viewport.id);
    if (!old || !old.connected || old.viewport !== viewport) {
      old?.overlay.remove();
      const overlay = new Overlay(session, viewport, null);
      overlays.set(viewport.id, {
        overlay,
        viewport,
        get connected() {
          return overlay.connected;
        },
      });
    }
    const { overlay } = overlays.get(viewport.id);
    overlay.patientPosition = patientPosition(viewport, servicesManager);
    washOf(viewport)
      .sync(viewport)
      .catch((e) => console.error('Radiarch: the dose could not be added to a viewport', e));
    if (!centered.has(viewport) && fits(viewport, session.doseIn(viewport.id))) {
      centered.add(viewport);
      const place = session.place ?? session.center;
      if (place) goTo(viewport, place);
    }
    overlay.draw(revision);
  };

  const all = () => {
    waiting = false;
    revision += 1;
    const present = viewports();
    for (const wash of washes) wash.follow();
    for (const viewport of present) keep(viewport);
    for (const viewport of present.filter(isFlat)) washOf(viewport).restyle([viewport]);
    for (const [id, { overlay, viewport }] of overlays) {
      if (present.includes(viewport)) continue;
      overlay.remove();
      overlays.delete(id);
    }
  };

  const rendered = ({ detail }) => {
    const viewport = cornerstone.getRenderingEngine(detail.renderingEngineId)?.getViewport(detail.viewportId);
    if (!viewport) return;
    if (washOf(viewport).isSeen(viewport)) tellDrawn(viewport.id); // before the next line changes anything
    keep(viewport);
  };
  const tellDrawn = (id) => {
    if (drawn.dose !== session.dose) drawn = { dose: session.dose, on: new Set(), told: false };
    drawn.on.add(id);
    if (drawn.told || !viewports().every((v) => drawn.on.has(v.id))) return;
    drawn.told = true;
    session.dispatchEvent(new Event('drawn'));
  };
  const enabled = ({ detail }) => detail.element.addEventListener(Events.IMAGE_RENDERED, rendered, { signal });

  cornerstone.eventTarget.addEventListener(Events.ELEMENT_ENABLED, enabled);
  for (const viewport of viewports()) viewport.element.addEventListener(Events.IMAGE_RENDERED, rendered, { signal });
  // what belonged to another choice goes in the same turn; what is only styled waits for the next frame
  let shown = session.dose;
  const changed = () => {
    if (session.dose !== shown) {
      shown = session.dose;
      all();
    } else if (!waiting) {
      waiting = true;
      requestAnimationFrame(() => !signal.aborted && all());
    }
  };
  session.addEventListener('change', changed, { signal });
  session.addEventListener(
    'go',
    ({ detail }) =>
      viewports()
        .filter((v) => fits(v, session.doseIn(v.id)))
        .forEach((v) => goTo(v, detail)),
    { signal },
  );
  session.addEventListener(
    'point',
    ({ detail: { world, viewportId } }) => {
      for (const [id, { overlay }] of overlays) overlay.pointed(world, id === viewportId);
    },
    { signal },
  );
  all();

  return () => {
    stop.abort();
    cornerstone.eventTarget.removeEventListener(Events.ELEMENT_ENABLED, enabled);
    for (const { overlay } of overlays.values()) overlay.remove();
    overlays.clear();
  };
}

/** Move the plane of a viewport along its normal until it goes through a position. */
function goTo(viewport, world) {
  const { focalPoint, position, viewPlaneNormal } = viewport.getCamera();
  const distance = dot(minus(world, focalPoint), viewPlaneNormal);
  viewport.setCamera({ focalPoint: along(focalPoint, viewPlaneNormal, distance), position: along(position, viewPlaneNormal, distance) });
  viewport.render();
}

const isFlat = (viewport) => ['orthographic', 'stack'].includes(viewport.type);

function patientPosition(viewport, servicesManager) {
  const { viewportGridService, displaySetService } = servicesManager.services;
  const uids = viewportGridService.getDisplaySetsUIDsForViewport(viewport.id) ?? [];
  const first = uids.map((uid) => displaySetService.getDisplaySetByUID(uid)).find((set) => set?.instances?.length);
  return first?.instances[0].PatientPosition ?? null;
}
