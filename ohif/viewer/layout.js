// Which viewports there are: three planes of one dose, or two planes of two plans beside each other.
import { along, dot, minus } from './grid.js';
import { PROTOCOL_ID, STAGES } from './protocol.js';

/** Keep the layout as the session says; returns how to stop. What a user does to the layout stays until the next choice. */
export function keepLayout(session, { commandsManager, servicesManager }) {
  const { cornerstone } = window;
  const { hangingProtocolService } = servicesManager.services;
  /** @type {number} */
  let stage = STAGES.planes;
  const follow = () => {
    const { status } = session.dose;
    if (session.other && (status === 'loading' || status === 'none')) return; // it is not known yet whether they belong together
    const wanted = session.isBeside ? STAGES.beside : STAGES.planes;
    if (wanted === stage || hangingProtocolService.getState().protocolId !== PROTOCOL_ID) return;
    stage = wanted;
    session.place = placeOf(cornerstone.getRenderingEngines().flatMap((engine) => engine.getViewports()));
    commandsManager.run('setHangingProtocol', { protocolId: PROTOCOL_ID, stageIndex: wanted });
  };
  session.addEventListener('change', follow);
  return () => session.removeEventListener('change', follow);
}

/** The position that all planes go through, patient mm; null where there is none. */
function placeOf(viewports) {
  const cameras = viewports.filter((v) => v.type === 'orthographic' && v.getActors().length).map((v) => v.getCamera());
  if (!cameras.length) return null;
  return cameras.reduce(
    (place, { focalPoint, viewPlaneNormal: n }) => along(place, n, dot(minus(focalPoint, place), n)),
    [...cameras[0].focalPoint],
  );
}
