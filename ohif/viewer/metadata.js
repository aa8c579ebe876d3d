// What OHIF's own display of an RT Dose (a thumbnail dragged into a viewport) gets wrong, put right: place and scale.
//
// 3.13.2 draws every frame of a multi-frame dose on one plane, and leaves out the scaling where it came as text. This
// provider answers before OHIF's; a dose that cannot be placed gets no position at all, so that it is not drawn.

import { RefusedDose, along, doseGeometry } from './grid.js';

const PRIORITY = 100000;

export function addDoseMetadata() {
  const { metaData } = window.cornerstone;
  const { MetadataModules } = window.cornerstone.Enums;
  let asking = false; // OHIF's provider is asked for the instance, and so are we

  const instanceOf = (imageId) => {
    asking = true;
    try {
      return metaData.get(MetadataModules.INSTANCE ?? 'instance', imageId);
    } finally {
      asking = false;
    }
  };

  const provider = (type, imageId) => {
    if (asking || typeof imageId !== 'string' || (type !== 'imagePlaneModule' && type !== 'scalingModule')) return undefined;
    const instance = instanceOf(imageId);
    if (instance?.Modality !== 'RTDOSE') return undefined;
    return type === 'scalingModule' ? scaling(instance) : plane(instance, frameOf(imageId, instance));
  };

  metaData.addProvider(provider, PRIORITY);
}

const numbers = (value) => (value === undefined || value === null ? [] : [value].flat().map(Number));

function scaling(instance) {
  return {
    DoseGridScaling: Number(instance.DoseGridScaling),
    DoseSummation: instance.DoseSummationType,
    DoseType: instance.DoseType,
    DoseUnit: instance.DoseUnits,
  };
}

function frameOf(imageId, instance) {
  const found = /\/frames\/(\d+)|[?&]frame=(\d+)/.exec(imageId);
  return found ? Number(found[1] ?? found[2]) : (instance.frameNumber ?? 1);
}

const told = new Set();

function plane(instance, frame) {
  const orientation = numbers(instance.ImageOrientationPatient);
  // the first frame's position, whatever OHIF has made of the one that was asked for
  const parent = instance._parentInstance ?? instance;
  const offsets = numbers(instance.GridFrameOffsetVector);
  const spacing = numbers(instance.PixelSpacing);
  try {
    const { axes } = doseGeometry({
      rows: Number(instance.Rows),
      columns: Number(instance.Columns),
      frames: Number(instance.NumberOfFrames ?? 1),
      pixelSpacing: spacing,
      position: numbers(parent.ImagePositionPatient),
      orientation,
      offsets,
    });
    return {
      frameOfReferenceUID: instance.FrameOfReferenceUID,
      rows: Number(instance.Rows),
      columns: Number(instance.Columns),
      imageOrientationPatient: orientation,
      rowCosines: axes[0],
      columnCosines: axes[1],
      imagePositionPatient: along(numbers(parent.ImagePositionPatient), axes[2], offsets[frame - 1] - offsets[0]),
      sliceThickness: Math.abs(offsets[1] - offsets[0]),
      sliceLocation: offsets[frame - 1],
      pixelSpacing: spacing,
      rowPixelSpacing: spacing[0],
      columnPixelSpacing: spacing[1],
      usingDefaultValues: false,
    };
  } catch (e) {
    if (!(e instanceof RefusedDose)) throw e;
    if (!told.has(instance.SOPInstanceUID)) console.warn(`Radiarch: ${e.message}. ${e.remedy}`);
    told.add(instance.SOPInstanceUID);
    return { frameOfReferenceUID: undefined, imagePositionPatient: undefined, imageOrientationPatient: undefined };
  }
}
