"""Sections one below the other, over as many pages as they need: headings, facts, tables, paragraphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .page import FAINT, INK, PAGE_HEIGHT_MM, PAGE_WIDTH_MM, RULE, Align, Pages
from .palette import Rgb

LEFT_MM, RIGHT_MM = 16.0, PAGE_WIDTH_MM - 16.0
TOP_MM, BOTTOM_MM = 25.0, PAGE_HEIGHT_MM - 20.0
WIDTH_MM = RIGHT_MM - LEFT_MM
_ROW_MM = 4.9
_STRIPE: Rgb = (246, 247, 249)


@dataclass(frozen=True)
class Column:
    """A table's column; ``width_mm`` is its share of the table's width."""

    title: str
    width_mm: float
    align: Align = "left"


@dataclass(frozen=True)
class Cell:
    """Text of a cell that is not just text; ``draw`` gets the left end and the middle line, mm."""

    text: str
    color: Rgb = INK
    bold: bool = False
    indent_mm: float = 0.0
    draw: Callable[[Pages, float, float], None] | None = None


class Flow:
    """Where the next section begins."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.y_mm = TOP_MM

    def need(self, height_mm: float) -> None:
        """A new page, unless so much room is left."""
        if self.y_mm + height_mm > BOTTOM_MM:
            self.new_page()

    def new_page(self) -> None:
        self.pages.next_page()
        self.y_mm = TOP_MM

    def heading(self, text: str, *, aside: str = "", keep_mm: float = 20.0) -> None:
        """A section's title; it stays with the next ``keep_mm``."""
        self.need(keep_mm + 9)
        self.y_mm += 7.5 if self.y_mm > TOP_MM else 3.5
        self.pages.text(LEFT_MM, self.y_mm, text, 11, bold=True)
        if aside:
            self.pages.text(RIGHT_MM, self.y_mm, aside, 8, color=FAINT, align="right")
        self.y_mm += 1.8
        self.pages.rule(LEFT_MM, self.y_mm, RIGHT_MM, width_pt=0.8, color=INK)
        self.y_mm += 1.2

    def facts(self, pairs: Sequence[tuple[str, str]], *, columns: int = 2, label_mm: float = 27.0) -> None:
        """Names and values, in columns, each value on as many lines as it needs."""
        width = (WIDTH_MM - 6 * (columns - 1)) / columns
        per_column = -(-len(pairs) // columns)
        parts = [pairs[i * per_column : (i + 1) * per_column] for i in range(columns)]
        laid = [[(k, self.pages.wrapped(v, 8.5, width - label_mm)[:6]) for k, v in part] for part in parts]
        height = max((sum(4.3 * len(lines) + 0.5 for _, lines in part) for part in laid), default=0)
        self.need(height)
        for n, part in enumerate(laid):
            x, y = LEFT_MM + n * (width + 6), self.y_mm
            for name, lines in part:
                self.pages.text(x, y + 3.6, name, 8.5, color=FAINT, width_mm=label_mm - 2)
                for line in lines:
                    self.pages.text(x + label_mm, y + 3.6, line, 8.5)
                    y += 4.3
                y += 0.5
        self.y_mm += height

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]]) -> None:
        """A table; its head is repeated on each page."""
        scale = WIDTH_MM / sum(c.width_mm for c in columns)
        widths = [c.width_mm * scale for c in columns]
        self._head(columns, widths)
        for n, row in enumerate(rows):
            if self.y_mm + _ROW_MM > BOTTOM_MM:
                self.new_page()
                self._head(columns, widths)
            if n % 2:
                self.pages.box(LEFT_MM, self.y_mm, WIDTH_MM, _ROW_MM, _STRIPE)
            self._row([c if isinstance(c, Cell) else Cell(c) for c in row], columns, widths)
        self.pages.rule(LEFT_MM, self.y_mm, RIGHT_MM)
        self.y_mm += 1

    def _head(self, columns: Sequence[Column], widths: Sequence[float]) -> None:
        cells = [Cell(c.title, color=FAINT) for c in columns]
        self._row(cells, columns, widths, size_pt=7.5)
        self.pages.rule(LEFT_MM, self.y_mm, RIGHT_MM, color=RULE)

    def _row(
        self, cells: Sequence[Cell], columns: Sequence[Column], widths: Sequence[float], size_pt: float = 8.5
    ) -> None:
        x, base = LEFT_MM, self.y_mm + _ROW_MM - 1.5
        for cell, column, width in zip(cells, columns, widths, strict=True):
            if cell.draw is not None:
                cell.draw(self.pages, x + 1, base - 1.05)
            room = width - 2 - cell.indent_mm
            at = {"left": x + 1 + cell.indent_mm, "center": x + width / 2, "right": x + width - 1}[column.align]
            self.pages.text(
                at, base, cell.text, size_pt, bold=cell.bold, color=cell.color, align=column.align, width_mm=room
            )
            x += width
        self.y_mm += _ROW_MM

    def paragraphs(self, texts: Sequence[str], *, size_pt: float = 8.5, marked: bool = False) -> None:
        """Texts below each other; ``marked``: each begins with a dash."""
        indent = 4.0 if marked else 0.0
        for text in texts:
            for n, line in enumerate(self.pages.wrapped(text, size_pt, WIDTH_MM - indent)):
                self.need(4.3)
                if marked and n == 0:
                    self.pages.text(LEFT_MM, self.y_mm + 3.6, "–", size_pt, color=FAINT)
                self.pages.text(LEFT_MM + indent, self.y_mm + 3.6, line, size_pt)
                self.y_mm += 4.3
            self.y_mm += 0.8
