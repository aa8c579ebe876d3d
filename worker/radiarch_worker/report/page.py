"""Drawing on pages of A4 in millimetres from the top left: text in any script, lines, pictures; no contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from . import fonts
from .palette import Rgb

MM = 72 / 25.4
PAGE_WIDTH_MM, PAGE_HEIGHT_MM = A4[0] / MM, A4[1] / MM
INK: Rgb = (25, 28, 33)
FAINT: Rgb = (105, 110, 118)
RULE: Rgb = (205, 209, 214)

_LONGEST_LINE = 400
"""More characters do not fit on a line of A4 in any size that is used."""
_LONGEST_TEXT = 4000

Align = Literal["left", "right", "center"]


@dataclass
class Pages:
    """A document that is being drawn.

    Attributes
    ----------
    decorate : draws what every page has, given its number and how many there are
    unprintable : characters of the printed text that no font has
    """

    title: str
    created_at: datetime
    decorate: Callable[[Pages, int, int], None]
    unprintable: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._buffer = BytesIO()
        self._canvas = _FixedCanvas(self._buffer, self.created_at)
        self._canvas.setTitle(self.title)
        self._canvas.setAuthor("Radiarch")
        self._canvas.setCreator("Radiarch")
        self._canvas.setSubject("Radiotherapy treatment plan report; not approved for treatment")
        self._finished: list[dict[str, Any]] = []

    def next_page(self) -> None:
        self._canvas.keep_page(self._finished)

    def done(self) -> bytes:
        """The document; each page is decorated now that their number is known."""
        self._canvas.keep_page(self._finished)
        for number, state in enumerate(self._finished, start=1):
            self._canvas.take_page(state)
            self.decorate(self, number, len(self._finished))
            self._canvas.end_page()
        self._canvas.save()
        return self._buffer.getvalue()

    def width_mm(self, text: str, size_pt: float, *, bold: bool = False) -> float:
        return sum(_advance(run, size_pt) for run in fonts.runs(text, bold=bold)) / MM

    def text(
        self,
        x_mm: float,
        y_mm: float,
        text: str,
        size_pt: float = 8.5,
        *,
        bold: bool = False,
        color: Rgb = INK,
        align: Align = "left",
        width_mm: float | None = None,
    ) -> None:
        """One line whose baseline is at y; cut with an ellipsis where it is wider than ``width_mm``."""
        if not text:
            return
        self.unprintable.update(dict.fromkeys(fonts.missing(text, bold=bold)))
        if width_mm is not None:
            text = self.fitted(text, size_pt, width_mm, bold=bold)
        total = self.width_mm(text, size_pt, bold=bold)
        x = (x_mm - {"left": 0.0, "center": 0.5, "right": 1.0}[align] * total) * MM
        y = (PAGE_HEIGHT_MM - y_mm) * MM
        self._canvas.setFillColorRGB(*(v / 255 for v in color))
        for run in fonts.runs(text, bold=bold):
            if run.shaped:
                _draw_shaped(self._canvas, run, x, y, size_pt)
            else:
                self._canvas.setFont(_registered(run.face), size_pt)
                self._canvas.drawString(x, y, run.text)
            x += _advance(run, size_pt)

    def fitted(self, text: str, size_pt: float, width_mm: float, *, bold: bool = False) -> str:
        """The text, or its beginning with an ellipsis where it is wider than that."""
        text = text[:_LONGEST_LINE]
        if self.width_mm(text, size_pt, bold=bold) <= width_mm:
            return text
        room = width_mm - self.width_mm("…", size_pt, bold=bold)
        return text[: self._fitting(text, size_pt, room, bold=bold)].rstrip() + "…"

    def _fitting(self, text: str, size_pt: float, width_mm: float, *, bold: bool = False) -> int:
        """How many characters of a text fit, at least one."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.width_mm(text[:middle], size_pt, bold=bold) <= width_mm
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def wrapped(self, text: str, size_pt: float, width_mm: float) -> list[str]:
        """A text as lines; words wider than a line (UIDs, hashes) are broken."""
        lines: list[str] = []
        line = ""
        for word in fonts.clean(text[:_LONGEST_TEXT]).split(" "):
            trial = f"{line} {word}".strip()
            if self.width_mm(trial, size_pt) <= width_mm:
                line = trial
                continue
            if line:
                lines.append(line)
            while len(word) > 1 and self.width_mm(word[:_LONGEST_LINE], size_pt) > width_mm:
                n = self._fitting(word[:_LONGEST_LINE], size_pt, width_mm)
                lines.append(word[:n])
                word = word[n:]
            line = word
        return [*lines, line] if line or not lines else lines

    def rule(self, x0_mm: float, y_mm: float, x1_mm: float, *, width_pt: float = 0.5, color: Rgb = RULE) -> None:
        self.line([(x0_mm, y_mm), (x1_mm, y_mm)], width_pt=width_pt, color=color)

    def line(
        self,
        points: Sequence[tuple[float, float]] | npt.NDArray[np.float64],
        *,
        width_pt: float = 0.6,
        color: Rgb = INK,
        dash: tuple[float, ...] = (),
        closed: bool = False,
        round_joins: bool = True,
    ) -> None:
        """A line through points in mm; ``dash`` in line widths."""
        self._canvas.setStrokeColorRGB(*(v / 255 for v in color))
        self._canvas.setLineWidth(width_pt)
        self._canvas.setLineJoin(1 if round_joins else 0)
        self._canvas.setLineCap(0)
        self._canvas.setDash([d * width_pt for d in dash] if dash else [])
        self._canvas.drawPath(self._path(points, closed), stroke=1, fill=0)
        self._canvas.setDash([])

    def area(self, points: Sequence[tuple[float, float]] | npt.NDArray[np.float64], color: Rgb, alpha: float) -> None:
        """A filled shape."""
        self._canvas.saveState()
        self._canvas.setFillColorRGB(*(v / 255 for v in color))
        self._canvas.setFillAlpha(alpha)
        self._canvas.drawPath(self._path(points, closed=True), stroke=0, fill=1)
        self._canvas.restoreState()

    def _path(self, points: Sequence[tuple[float, float]] | npt.NDArray[np.float64], closed: bool) -> Any:
        path = self._canvas.beginPath()
        for n, (x, y) in enumerate(np.round(np.asarray(points, float), 3).tolist()):
            (path.lineTo if n else path.moveTo)(x * MM, (PAGE_HEIGHT_MM - y) * MM)
        if closed:
            path.close()
        return path

    def box(self, x_mm: float, y_mm: float, width_mm: float, height_mm: float, fill: Rgb, radius_mm: float = 0) -> None:
        self._canvas.setFillColorRGB(*(v / 255 for v in fill))
        bottom = (PAGE_HEIGHT_MM - y_mm - height_mm) * MM
        self._canvas.roundRect(x_mm * MM, bottom, width_mm * MM, height_mm * MM, radius_mm * MM, stroke=0, fill=1)

    def picture(self, data: bytes, x_mm: float, y_mm: float, width_mm: float, height_mm: float) -> None:
        """A JPEG or PNG."""
        bottom = (PAGE_HEIGHT_MM - y_mm - height_mm) * MM
        self._canvas.drawImage(ImageReader(BytesIO(data)), x_mm * MM, bottom, width_mm * MM, height_mm * MM)

    def clip(self, x_mm: float, y_mm: float, width_mm: float, height_mm: float) -> None:
        """Nothing is drawn outside from here to `unclip`."""
        self._canvas.saveState()
        path = self._canvas.beginPath()
        path.rect(x_mm * MM, (PAGE_HEIGHT_MM - y_mm - height_mm) * MM, width_mm * MM, height_mm * MM)
        self._canvas.clipPath(path, stroke=0, fill=0)

    def unclip(self) -> None:
        self._canvas.restoreState()


class _FixedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """A canvas whose document depends on nothing but what is drawn and the moment that it is given."""

    def __init__(self, buffer: BytesIO, created_at: datetime) -> None:
        # as bytes: ASCII would be a quarter larger, and slow to make
        rl_config.useA85 = 0
        super().__init__(buffer, pagesize=A4, pageCompression=1, invariant=1)
        # invariant alone would date every document to the year 2000
        stamp = self._doc._timeStamp
        stamp.t, stamp.lt = created_at.timestamp(), created_at.utctimetuple()
        stamp.YMDhms = tuple(stamp.lt)[:6]

    def keep_page(self, pages: list[dict[str, Any]]) -> None:
        """Put the page aside until the number of pages is known."""
        pages.append(dict(self.__dict__))
        self._startPage()

    def take_page(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def end_page(self) -> None:
        self.showPage()


def _registered(face: fonts.Face) -> str:
    if face.name not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(face.name, BytesIO(face.data)))
    return face.name


def _advance(run: fonts.Run, size_pt: float) -> float:
    if not run.shaped:
        return float(pdfmetrics.stringWidth(run.text, _registered(run.face), size_pt))
    return sum(glyph.advance for glyph in _shape(run)) * size_pt


@dataclass(frozen=True)
class _Glyph:
    """A shaped glyph, lengths in em."""

    number: int
    x: float
    y: float
    advance: float


_SHAPERS: dict[str, Any] = {}


def _shaper(face: fonts.Face) -> Any:
    import uharfbuzz

    if face.name not in _SHAPERS:
        _SHAPERS[face.name] = uharfbuzz.Font(uharfbuzz.Face(face.data))
    return _SHAPERS[face.name]


def _shape(run: fonts.Run) -> list[_Glyph]:
    """Glyphs of a run from the left, by HarfBuzz: letters joined and ordered as the script has it."""
    import uharfbuzz

    shaper = _shaper(run.face)
    buffer = uharfbuzz.Buffer()
    buffer.add_str(run.text)
    buffer.guess_segment_properties()
    buffer.direction = "ltr" if run.rightwards else "rtl"
    uharfbuzz.shape(shaper, buffer)
    em = shaper.face.upem
    return [
        _Glyph(info.codepoint, at.x_offset / em, at.y_offset / em, at.x_advance / em)
        for info, at in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True)
    ]


class _Pen:
    """Receives a glyph's outline from HarfBuzz and draws it on a PDF path."""

    def __init__(self, path: Any, x: float, y: float, scale: float) -> None:
        self._path, self._x, self._y, self._scale = path, x, y, scale
        self._at = (0.0, 0.0)

    def _on_page(self, point: tuple[float, float]) -> tuple[float, float]:
        return self._x + point[0] * self._scale, self._y + point[1] * self._scale

    def moveTo(self, point: tuple[float, float]) -> None:  # noqa: N802
        self._at = point
        self._path.moveTo(*self._on_page(point))

    def lineTo(self, point: tuple[float, float]) -> None:  # noqa: N802
        self._at = point
        self._path.lineTo(*self._on_page(point))

    def qCurveTo(self, control: tuple[float, float], end: tuple[float, float]) -> None:  # noqa: N802
        first, second = (
            (a[0] + (control[0] - a[0]) * 2 / 3, a[1] + (control[1] - a[1]) * 2 / 3) for a in (self._at, end)
        )
        self.curveTo(first, second, end)

    def curveTo(  # noqa: N802
        self, first: tuple[float, float], second: tuple[float, float], end: tuple[float, float]
    ) -> None:
        self._path.curveTo(*self._on_page(first), *self._on_page(second), *self._on_page(end))
        self._at = end

    def closePath(self) -> None:  # noqa: N802
        self._path.close()

    def endPath(self) -> None:  # noqa: N802
        """An open outline: nothing to do."""


def _draw_shaped(canvas: Any, run: fonts.Run, x: float, y: float, size_pt: float) -> None:
    """Outlines of the glyphs, and the text itself unseen, so that it can be searched and copied."""
    shaper = _shaper(run.face)
    canvas.saveState()  # the mode outlasts the text
    text = canvas.beginText(x, y)
    text.setFont(_registered(run.face), size_pt)
    text.setTextRenderMode(3)
    text.textOut("".join(c for c in run.text if ord(c) < 0x10000))
    canvas.drawText(text)
    canvas.restoreState()
    path = canvas.beginPath()
    for glyph in _shape(run):
        pen = _Pen(path, x + glyph.x * size_pt, y + glyph.y * size_pt, size_pt / shaper.face.upem)
        shaper.draw_glyph_with_pen(glyph.number, pen)
        x += glyph.advance * size_pt
    canvas.drawPath(path, stroke=0, fill=1, fillMode=1)
