"""Bounds on what is read and tolerances of geometry, each with its reason; constants only."""

from __future__ import annotations

# A hostile or broken object must be refused before memory is asked for.
MAX_SLICES = 2_000
MAX_ROWS_COLUMNS = 2_048
MAX_VOXELS = 200_000_000  # 0.8 GB as float32; a whole-body CT of 512 x 512 x 700 has 184 million
MAX_ROIS = 4_000
MAX_CONTOURS = 500_000
MAX_POINTS = 20_000_000
MAX_ROI_NAME = 256  # LO allows 64; some systems write more
MAX_CONTOURS_ON_PLANE = 2_000  # of one structure
MAX_OVERLAPS_ON_PLANE = 2_000  # pairs of contours whose boxes overlap, of one structure
MAX_CROSSINGS = 50_000_000  # of contours' edges with rows of voxels, per structure
MAX_REGION_VOXELS = 400_000_000  # of the box round one structure, part of which may lie off the image
MAX_MASK_VOXELS = 4_000_000_000  # of the boxes round all structures together

# Planning CTs have pixels of 0.5-2 mm and slices of 0.5-5 mm; coarser ones place a range too badly to plan on.
MIN_SPACING_MM, MAX_SPACING_MM = 0.05, 10.0
MIN_SLICES = 3
MAX_COORDINATE_MM = 100_000.0

# Scanners round positions to 0.01-0.1 mm; 0.1 mm of water is nothing beside the range uncertainty.
POSITION_TOLERANCE_MM = 0.1
# Direction cosines: 0.001 moves a point at 300 mm by 0.3 mm.
DIRECTION_TOLERANCE = 1e-3
SPACING_TOLERANCE_MM = 1e-4
MAX_TILT_DEG = 0.1
# A contour within this of a slice's plane was drawn on that slice.
PLANE_TOLERANCE_MM = 0.15
# Outlines on one slice that nowhere part by more than this are one, stored twice: systems round coordinates to 0.01 to
# 1 mm, and thin out points by as much. No wall is drawn so thin: a pixel of a planning CT is wider.
SAME_OUTLINE_MM = 0.75
# From here on a nested outline is a hole (a rectum's wall has 2 to 4 mm); between the two it may be either.
MIN_WALL_MM = 1.9
# Of a structure, and of one slice of it, that contours crossing each other enclose both: a hole or not is not known.
MAX_CROSSING_FRACTION = 0.01
MAX_CROSSING_FRACTION_OF_SLICE = 0.1
# An outline that encloses so much less than its own winding says goes round more than once.
MIN_ENCLOSED_FRACTION = 0.7

AIR_HU = -1000.0
# Below this a voxel is air: lung is above it.
AIR_LIKE_HU = -900.0
# Of a structure's volume; less than this off the image is an outline drawn along the image's edge.
MAX_OUTSIDE_FRACTION = 0.01
# Of the patient's outline on the CT's slices: an arm or a side may lie outside of the field of view, not more.
MAX_OUTLINE_BESIDE_FRACTION = 0.1
# Padding inside BODY that stands for air that was scanned (bowel gas clipped at -1024) is little.
MAX_PADDING_IN_BODY_CC = 10.0
