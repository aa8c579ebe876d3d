"""A cut as a picture for screens: PNG with contours, isodoses, legend, letters and position."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, features

from . import fonts
from .palette import Rgb, isodose_color
from .planes import LETTERS, Cut, Line
from .raster import rgb

WIDTH_PX, HEIGHT_PX = 900, 640
FIELD_PX = (680, 640)
"""The part at the left that shows the patient; the rest is the legend."""
_OVERSAMPLING = 2
"""Lines are drawn so many times larger, then averaged: smooth edges."""
_PANEL: Rgb = (24, 26, 30)
_TEXT: Rgb = (235, 237, 240)
_FAINT: Rgb = (150, 155, 162)


def png(cut: Cut) -> bytes:
    """The picture.

    Its text chunk ``Radiarch`` says where it shows what: plane, position, and the pixel in which a point lies,
    ``column = left_px + (u - u_min) / mm_per_px`` with u and v as in `planes`.
    """
    left, top, width, height = place(cut)
    canvas = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (0, 0, 0))
    canvas.paste(Image.fromarray(rgb(cut, width, height)), (left, top))
    canvas.paste(_PANEL, (FIELD_PX[0], 0, WIDTH_PX, HEIGHT_PX))
    _draw_lines(canvas, cut)
    _draw_letters(canvas, cut)
    _draw_legend(canvas, cut)
    info = PngImagePlugin.PngInfo()
    info.add_text("Radiarch", describe(cut))
    buffer = BytesIO()
    canvas.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def place(cut: Cut) -> tuple[int, int, int, int]:
    """Left, top, width and height of the patient in the picture, pixels; square pixels in mm."""
    mm_per_px = max(cut.window.width_mm / FIELD_PX[0], cut.window.height_mm / FIELD_PX[1])
    width = max(1, round(cut.window.width_mm / mm_per_px))
    height = max(1, round(cut.window.height_mm / mm_per_px))
    return (FIELD_PX[0] - width) // 2, (FIELD_PX[1] - height) // 2, width, height


def describe(cut: Cut) -> str:
    left, top, width, _ = place(cut)
    return (
        f"plane={cut.plane} position_mm={cut.position_mm:.3f} left_px={left} top_px={top} "
        f"mm_per_px={cut.window.width_mm / width:.6f} u_min_mm={cut.window.u_min:.3f} v_min_mm={cut.window.v_min:.3f}"
    )


def _draw_lines(canvas: Image.Image, cut: Cut) -> None:
    left, top, width, height = place(cut)
    scale = _OVERSAMPLING
    layer = Image.new("RGBA", (width * scale, height * scale), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    per_mm = np.array([width / cut.window.width_mm, height / cut.window.height_mm]) * scale
    start = np.array([cut.window.u_min, cut.window.v_min])

    def points(line: Line) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in (line - start) * per_mm]

    for isodose in cut.isodoses:
        for line in isodose.lines:
            draw.line(points(line), fill=(*isodose_color(isodose.percent), 255), width=2)
    for outline in reversed(cut.outlines):
        for line in outline.lines:
            for part in _dashed(points(line), tuple(2.4 * scale * d for d in outline.style.dash)):
                draw.line(part, fill=(*outline.style.color, 255), width=2 * scale, joint="curve")
    x, y = ((np.array(cut.center) - start) * per_mm).tolist()
    for dx, dy in ((9 * scale, 0), (0, 9 * scale)):
        draw.line([(x - dx, y - dy), (x + dx, y + dy)], fill=(255, 255, 255, 255), width=scale)
    canvas.paste(small := layer.reduce(scale), (left, top), small)


def _dashed(points: list[tuple[float, float]], dash: tuple[float, ...]) -> list[list[tuple[float, float]]]:
    """A line cut into its dashes, lengths in pixels."""
    if not dash or len(points) < 2:
        return [points]
    parts: list[list[tuple[float, float]]] = []
    on, left_px, which = True, dash[0], 0
    part = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        length = float(np.hypot(x1 - x0, y1 - y0))
        done = 0.0
        while length - done > left_px:
            done += left_px
            at = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if on:
                parts.append([*part, at])
            on, which, part = not on, (which + 1) % len(dash), [at]
            left_px = dash[which]
        left_px -= length - done
        part.append((x1, y1))
    if on:
        parts.append(part)
    return parts


def _draw_letters(canvas: Image.Image, cut: Cut) -> None:
    draw = ImageDraw.Draw(canvas)
    middle_x, middle_y = FIELD_PX[0] // 2, FIELD_PX[1] // 2
    places = ((14, middle_y), (FIELD_PX[0] - 14, middle_y), (middle_x, 16), (middle_x, FIELD_PX[1] - 16))
    for letter, at in zip(LETTERS[cut.plane], places, strict=True):
        _text(draw, at, letter, 18, _TEXT, bold=True, anchor="mm", halo=True)
    _text(draw, (10, FIELD_PX[1] - 12), cut.title, 13, _TEXT, anchor="ls", halo=True)
    _text(draw, (10, 10), "UNAPPROVED", 13, (255, 200, 90), bold=True, anchor="la", halo=True)


def _draw_legend(canvas: Image.Image, cut: Cut) -> None:
    draw = ImageDraw.Draw(canvas)
    left, right = FIELD_PX[0] + 14, WIDTH_PX - 12
    y = 14
    _text(draw, (left, y), "Isodoses", 14, _TEXT, bold=True, anchor="la")
    y += 26
    for isodose in cut.isodoses:
        draw.line([(left, y + 7), (left + 22, y + 7)], fill=isodose_color(isodose.percent), width=2)
        _text(draw, (left + 70, y), f"{isodose.percent:g} %", 13, _TEXT, anchor="ra")
        _text(draw, (right, y), f"{isodose.dose_gy:.1f} Gy", 13, _FAINT, anchor="ra")
        y += 20
    _text(draw, (left, y), f"highest here {cut.max_gy:.1f} Gy", 13, _FAINT, anchor="la")
    y += 36
    _text(draw, (left, y), "Structures", 14, _TEXT, bold=True, anchor="la")
    y += 26
    room = (HEIGHT_PX - 12 - y) // 20
    shown = cut.outlines if len(cut.outlines) <= room else cut.outlines[: room - 1]
    for outline in shown:
        for part in _dashed([(left, y + 7), (left + 22, y + 7)], tuple(2.0 * d for d in outline.style.dash)):
            draw.line(part, fill=outline.style.color, width=3)
        _text(draw, (left + 32, y), _fitted(outline.name, 13, right - left - 32), 13, _TEXT, anchor="la")
        y += 20
    if len(shown) < len(cut.outlines):
        _text(draw, (left, y), f"and {len(cut.outlines) - len(shown)} more", 13, _FAINT, anchor="la")


def _fitted(name: str, size: int, width_px: int) -> str:
    text = fonts.printable(name[:80])
    if _width(text, size) <= width_px:
        return text
    while text and _width(text + "…", size) > width_px:
        text = text[:-1]
    return text + "…"


@cache
def _font(name: str, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    found = fonts.face(name)
    assert found is not None
    # Raqm shapes Arabic and its like, at a hundred times the cost
    engine = ImageFont.Layout.RAQM if shaped and features.check("raqm") else ImageFont.Layout.BASIC
    return ImageFont.truetype(BytesIO(found.data), size, layout_engine=engine)


def _reading(run: fonts.Run) -> dict[str, str]:
    """A run's direction, as Raqm takes it."""
    return {"direction": "rtl"} if not run.rightwards and features.check("raqm") else {}


def _font_of(run: fonts.Run, size: int) -> ImageFont.FreeTypeFont:
    return _font(run.face.name, size, run.shaped)


def _width(text: str, size: int, bold: bool = False) -> float:
    return sum(float(_font_of(r, size).getlength(r.text, **_reading(r))) for r in fonts.runs(text, bold=bold))


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    color: Rgb,
    *,
    bold: bool = False,
    anchor: str = "la",
    halo: bool = False,
) -> None:
    x, y = at
    x -= {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * _width(text, size, bold)
    for run in fonts.runs(text, bold=bold):
        font = _font_of(run, size)
        draw.text(
            (x, y),
            run.text,
            font=font,
            fill=color,
            anchor="l" + anchor[1],
            stroke_width=2 if halo else 0,
            stroke_fill=(0, 0, 0) if halo else None,
            **_reading(run),
        )
        x += float(font.getlength(run.text, **_reading(run)))
