// Beam directions in patient coordinates, from the angles of a plan. IEC 61217, patient LPS, any position of who lies.

const RADIANS = Math.PI / 180;

// IEC fixed axes (X to the right of one facing the gantry, Y towards the gantry, Z up) in patient LPS
const FIXED = {
  HFS: [
    [1, 0, 0],
    [0, 0, 1],
    [0, -1, 0],
  ],
  HFP: [
    [-1, 0, 0],
    [0, 0, 1],
    [0, 1, 0],
  ],
  HFDR: [
    [0, 1, 0],
    [0, 0, 1],
    [1, 0, 0],
  ], // the right side is down
  HFDL: [
    [0, -1, 0],
    [0, 0, 1],
    [-1, 0, 0],
  ],
  FFS: [
    [-1, 0, 0],
    [0, 0, -1],
    [0, -1, 0],
  ],
  FFP: [
    [1, 0, 0],
    [0, 0, -1],
    [0, 1, 0],
  ],
  FFDR: [
    [0, -1, 0],
    [0, 0, -1],
    [1, 0, 0],
  ],
  FFDL: [
    [0, 1, 0],
    [0, 0, -1],
    [-1, 0, 0],
  ],
};

/**
 * Where a beam comes from.
 *
 * @returns unit vector (patient LPS) from the isocenter to the source, or null for positions that are not handled
 */
export function towardsSource({ gantry_deg: gantry, couch_deg: couch }, patientPosition) {
  const axes = FIXED[patientPosition];
  if (!axes) return null;
  const [sg, cg] = [Math.sin(gantry * RADIANS), Math.cos(gantry * RADIANS)];
  const [sc, cc] = [Math.sin(couch * RADIANS), Math.cos(couch * RADIANS)];
  // fixed system: the source at gantry angle g; the couch turns the patient by c about Z, so the beam turns by -c in it
  const [x, y, z] = [sg * cc, -sg * sc, cg];
  return [0, 1, 2].map((i) => x * axes[0][i] + y * axes[1][i] + z * axes[2][i]);
}
