// The color wash: the dose as a second volume beside the CT in each viewport that shows its frame of reference.

import { scale, thresholdGy } from './colors.js';

export const ACTOR = 'radiarch-dose';
let number = 0;

export class Wash {
  #session;
  #dose;
  /** @type {string | null} */
  #volumeId = null;
  #grid = null;
  #adding = new Set();
  #added = new Set();

  /** @param dose gives the dose of the viewports that this one is for */
  constructor(session, dose) {
    this.#session = session;
    this.#dose = dose;
  }

  /** Make a viewport show what the session says; cheap when it does already. */
  async sync(viewport) {
    const { cornerstone } = window;
    this.follow();
    const wanted = this.#volumeId !== null && this.#session.display.wash && fits(viewport, this.#dose());
    const present = viewport.getActors().find((entry) => entry.uid === ACTOR);
    if (present && (!wanted || present.referencedId !== this.#volumeId)) {
      viewport.removeActors([ACTOR]);
      viewport.render();
      this.#added.delete(viewport.id);
    } else if (present) {
      // the first picture that any viewport draws of a volume only brings its values to the graphics card, and shows none
      if (this.#added.delete(viewport.id)) viewport.render();
      return;
    }
    if (!wanted || this.#adding.has(viewport.id)) return;
    this.#adding.add(viewport.id);
    const volumeId = this.#volumeId;
    try {
      // the plane is a slab of 0.1 mm: composited, its opacity would follow that thickness; the maximum in it is the dose
      const blendMode = cornerstone.Enums.BlendModes.MAXIMUM_INTENSITY_BLEND;
      const actor = await cornerstone.createVolumeActor({ volumeId, blendMode }, viewport.element, viewport.id, true);
      // meanwhile another dose may have been chosen, or the viewport been given other volumes, or be gone
      if (volumeId === this.#volumeId && isThere(viewport) && viewport.getActors().length && !viewport.getActor(ACTOR)) {
        this.#color(actor);
        addCut(viewport, { uid: ACTOR, actor, referencedId: volumeId });
        this.#added.add(viewport.id);
        viewport.render();
      }
    } finally {
      this.#adding.delete(viewport.id);
    }
  }

  /** Whether a picture of this viewport that is drawn now has the dose in it. */
  isSeen(viewport) {
    return Boolean(viewport.getActor(ACTOR)) && !this.#added.has(viewport.id);
  }

  /** Colors, opacity or threshold have changed. */
  restyle(viewports) {
    for (const viewport of viewports) {
      const entry = viewport.getActors().find((e) => e.uid === ACTOR);
      if (!entry) continue;
      this.#color(entry.actor);
      viewport.render();
    }
  }

  /** The volume of the session's dose; that of the one before is given back. */
  follow() {
    const grid = this.#dose().grid ?? null;
    if (grid === this.#grid) return;
    const { cornerstone } = window;
    const old = this.#volumeId;
    this.#grid = grid;
    this.#volumeId = null;
    if (grid) {
      this.#volumeId = `derived:${ACTOR}-${(number += 1)}`;
      const [nx, ny, nz] = grid.dimensions;
      cornerstone.volumeLoader.createLocalVolume(this.#volumeId, {
        dimensions: [nx, ny, nz],
        spacing: [...grid.spacing],
        origin: [...grid.origin],
        direction: grid.axes.flat(),
        scalarData: grid.values,
        metadata: {
          BitsAllocated: 32,
          BitsStored: 32,
          SamplesPerPixel: 1,
          HighBit: 31,
          PixelRepresentation: 0,
          Modality: 'RTDOSE',
          PhotometricInterpretation: 'MONOCHROME2',
          FrameOfReferenceUID: this.#dose().frameUid,
          ImageOrientationPatient: grid.axes.slice(0, 2).flat(),
          PixelSpacing: [grid.spacing[1], grid.spacing[0]],
          Columns: nx,
          Rows: ny,
        },
      });
    }
    if (old) {
      // after the viewports have let go of it
      setTimeout(() => {
        const volume = cornerstone.cache.getVolume(old);
        const images = volume?.imageIds ?? [];
        if (volume) cornerstone.cache.removeVolumeLoadObject(old);
        for (const id of images) if (cornerstone.cache.getImageLoadObject(id)) cornerstone.cache.removeImageLoadObject(id);
      }, 1000);
    }
  }

  #color(actor) {
    const { low, high, stops, color } = scale(this.#session);
    const { opacity } = this.#session.display;
    const threshold = thresholdGy(this.#session);
    const property = actor.getProperty();
    const colors = property.getRGBTransferFunction(0);
    colors.removeAllPoints();
    for (let i = 0; i < stops.length; i++) {
      const gy = low + ((high - low) * i) / (stops.length - 1);
      colors.addRGBPoint(gy, ...color(gy).map((c) => c / 255));
    }
    colors.setMappingRange(low, high);
    const shares = property.getScalarOpacity(0);
    const edge = (high - low) * 1e-4;
    shares.removeAllPoints();
    for (const [gy, share] of steps(threshold, edge, opacity, this.#session.isSigned)) shares.addPoint(gy, share);
    property.setInterpolationTypeToLinear();
    property.setScalarOpacityUnitDistance?.(0, actor.getMapper().getSampleDistance());
    actor.modified();
  }
}

/** Opacity over dose: none below the threshold (for a difference: nearer to zero), and one and the same from there on. */
function steps(threshold, edge, opacity, isDifference) {
  const above = [
    [threshold, 0],
    [threshold + edge, opacity],
  ];
  return isDifference ? [[-threshold - edge, opacity], [-threshold, 0], ...above] : above;
}

/**
 * Add an actor that is cut by the viewport's plane, and leave the view as it was.
 *
 * cornerstone gives an actor its two clipping planes in resetCamera only; without them the whole volume is projected.
 */
function addCut(viewport, entry) {
  const { focalPoint, position, viewUp, viewPlaneNormal, parallelScale } = viewport.getCamera();
  viewport.addActor(entry);
  viewport.resetCamera({
    resetPan: false,
    resetZoom: false,
    resetRotation: false,
    resetToCenter: false,
    resetOrientation: false,
    resetAspectRatio: false,
    suppressEvents: true,
  });
  viewport.setCameraNoEvent({ focalPoint, position, viewUp, viewPlaneNormal, parallelScale });
  viewport.updateCameraClippingPlanesAndRange();
  if (entry.actor.getMapper().getClippingPlanes().length < 2) {
    viewport.removeActors([entry.uid]);
    throw new Error('the dose cannot be cut by the plane of this viewport; it is not drawn');
  }
}

const isThere = (viewport) => window.cornerstone.getRenderingEngines().some((engine) => engine.getViewport(viewport.id) === viewport);

/** A viewport that cuts a volume of the dose's frame of reference. */
export function fits(viewport, dose) {
  return (
    dose.status === 'ready' &&
    viewport.type === 'orthographic' &&
    viewport.getActors().length > 0 &&
    viewport.getFrameOfReferenceUID() === dose.frameUid
  );
}
