"""Headers of RT objects, as far as decisions need them; pixels and contours are the workers' business."""
