"""Pixels of one CT image to HU; where the image lies is settled elsewhere."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import BoolVolume

from .attributes import Reader
from .codestream import declared_size
from .geometry import SlicePlane
from .limits import AIR_HU

_MAX_SLOPE, _MAX_INTERCEPT = 1e3, 1e6


@dataclass(frozen=True)
class SlicePixels:
    """Pixels of one slice as stored: rows and columns are not yet turned.

    Attributes
    ----------
    hu : (rows, columns) float32; padding is air
    padding : (rows, columns) bool, or None where there is none
    padding_hu : the highest HU that a padding pixel would have had, -inf where there is none
    lossy : whether values were compressed with loss
    """

    hu: npt.NDArray[np.float32]
    padding: BoolVolume | None
    padding_hu: float
    lossy: bool


def read_pixels(image: Reader, plane: SlicePlane) -> SlicePixels:
    """Decode one image and rescale it to HU.

    Raises
    ------
    InputRefusedError
        ``unreadable_image`` or ``unsupported_transfer_syntax``.
    """
    slope, intercept = _rescale(image)
    stored = _stored(image, plane)
    padding = _padding(image, stored)
    hu = stored.astype(np.float64) * slope + intercept
    padding_hu = -np.inf
    if padding is not None and not padding.any():
        padding = None
    if padding is not None:
        padding_hu = float(hu[padding].max())
        hu[padding] = AIR_HU
    lossy = image.text("LossyImageCompression") == "01"
    return SlicePixels(hu.astype(np.float32), padding, padding_hu, lossy)


def _rescale(image: Reader) -> tuple[float, float]:
    if image.value("ModalityLUTSequence") is not None:
        raise image.error("ModalityLUTSequence", "is present; a CT's values are rescaled by slope and intercept")
    (slope,), (intercept,) = image.floats("RescaleSlope", 1), image.floats("RescaleIntercept", 1)
    if not 0 < slope <= _MAX_SLOPE:
        raise image.error("RescaleSlope", f"is {slope:g}, expected a positive number")
    if abs(intercept) > _MAX_INTERCEPT:
        raise image.error("RescaleIntercept", f"is {intercept:g}")
    if (unit := image.text("RescaleType")) not in ("", "HU"):
        raise image.error("RescaleType", f"is {unit[:16]!r}, expected HU")
    return slope, intercept


def _stored(image: Reader, plane: SlicePlane) -> npt.NDArray[np.integer[Any]]:
    """The stored values, (rows, columns)."""
    if image.integer("SamplesPerPixel", 1, 4) != 1:
        raise image.error("SamplesPerPixel", "is not 1")
    if (photometric := image.text("PhotometricInterpretation")) not in ("MONOCHROME1", "MONOCHROME2"):
        raise image.error("PhotometricInterpretation", f"is {photometric[:16]!r}, expected MONOCHROME2")
    if image.value("NumberOfFrames") is not None and image.integer("NumberOfFrames", 0, 1 << 31) != 1:
        raise image.error("NumberOfFrames", "is not 1: one slice an image was expected")
    allocated = image.integer("BitsAllocated", 1, 64)
    if allocated not in (8, 16, 32):
        raise image.error("BitsAllocated", f"is {allocated}, expected 8, 16 or 32")
    bits = image.integer("BitsStored", 1, allocated)
    if image.value("HighBit") is not None and image.integer("HighBit", 0, 63) != bits - 1:
        raise image.error("HighBit", f"is not BitsStored - 1 ({bits - 1})")
    image.integer("PixelRepresentation", 0, 1)
    syntax = _check_syntax(image, plane)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as bytes behind the last pixel
            array = pixel_array(image.dataset, raw=True, correct_unused_bits=False)
    # Decoders raise nearly anything on broken data; their text may quote it, so only its type is shown.
    except Exception as e:
        raise image.error("PixelData", f"cannot be decoded ({syntax.name}, {type(e).__name__})") from e
    if array.shape != (plane.rows, plane.columns) or array.dtype.kind not in "iu":
        raise image.error("PixelData", f"has shape {array.shape}, expected {(plane.rows, plane.columns)}")
    return _used_bits(image, array, bits)


def _check_syntax(image: Reader, plane: SlicePlane) -> UID:
    """The transfer syntax; refuse what cannot be decoded, and a compressed image larger than the header says."""
    dataset = image.dataset
    meta = getattr(dataset, "file_meta", None)
    uid = UID(str(getattr(meta, "TransferSyntaxUID", "") or ""))
    if not uid:
        raise InputRefusedError(
            f"{image.what} has no (0002,0010) Transfer Syntax UID.",
            code=ErrorCode.UNREADABLE_IMAGE,
            remedy="Store the image as a DICOM file with a file meta header.",
        )
    if "PixelData" not in dataset:
        raise image.error("PixelData", "is missing")
    if uid.is_private or not uid.is_transfer_syntax:
        raise _unsupported_syntax(image, uid)
    if uid.is_encapsulated:
        try:
            available = get_decoder(uid).is_available
        except NotImplementedError:
            available = False
        if not available:
            raise _unsupported_syntax(image, uid)
        try:
            size = declared_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
        except Exception as e:
            raise image.error("PixelData", f"cannot be decoded ({uid.name}, {type(e).__name__})") from e
        # A codestream's own size decides what its decoder allocates.
        if size is not None and size != (plane.rows, plane.columns):
            raise image.error(
                "PixelData", f"holds {size[0]} x {size[1]} pixels, Rows x Columns is {plane.rows} x {plane.columns}"
            )
    return uid


def _unsupported_syntax(image: Reader, uid: UID) -> InputRefusedError:
    return InputRefusedError(
        f"{image.what} is stored in transfer syntax {uid.name}, which cannot be decoded here.",
        code=ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX,
        remedy="Send the CT uncompressed, or in JPEG lossless, JPEG-LS, JPEG 2000 or RLE.",
        transfer_syntax_uid=str(uid),
    )


def _used_bits(image: Reader, array: npt.NDArray[np.integer[Any]], bits: int) -> npt.NDArray[np.integer[Any]]:
    """Values of the stored bits; refuse where others hold something that is neither sign nor a declared overlay."""
    unused = array.dtype.itemsize * 8 - bits
    if unused <= 0:
        return array
    # Shifting up and down again leaves the stored bits with their sign.
    corrected: npt.NDArray[np.integer[Any]] = np.right_shift(np.left_shift(array, unused), unused)
    different = corrected != array
    if array.dtype.kind == "i":
        # Some systems leave the unused bits of negative values at zero.
        different &= (array >> bits) != 0
    if different.any() and not _embedded_overlay(image):
        raise image.error(
            "BitsStored", f"is {bits}, but {int(different.sum())} pixel values need more: which is right is not known"
        )
    return corrected


def _embedded_overlay(image: Reader) -> bool:
    """Whether a (retired) overlay in the unused bits is declared: (60xx,0102) Overlay Bit Position is not 0."""
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x0102) in image.dataset and image.dataset[group, 0x0102].value not in (0, None, ""):
            return True
    return False


def _padding(image: Reader, stored: npt.NDArray[np.integer[Any]]) -> BoolVolume | None:
    """Which pixels are padding: PixelPaddingValue, or the range between it and PixelPaddingRangeLimit."""
    low = _stored_value(image, "PixelPaddingValue", stored.dtype)
    if low is None:
        return None
    high = _stored_value(image, "PixelPaddingRangeLimit", stored.dtype)
    if high is None:
        return np.asarray(stored == low)
    low, high = min(low, high), max(low, high)
    return np.asarray((stored >= low) & (stored <= high))


def _stored_value(image: Reader, keyword: str, dtype: np.dtype[np.integer[Any]]) -> int | None:
    """A stored value, whether written as signed or unsigned: 63536 in a signed image means -2000."""
    value = image.value(keyword)
    if value is None:
        return None
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    elif not isinstance(value, int):
        raise image.error(keyword, "is no single whole number")
    info = np.iinfo(dtype)
    if info.min <= value <= info.max:
        return int(value)
    wrapped = value % (1 << dtype.itemsize * 8)
    return wrapped - (1 << dtype.itemsize * 8) if wrapped > info.max else wrapped
