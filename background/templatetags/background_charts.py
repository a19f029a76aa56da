"""Own the two charts of the control room, bars and strip: SVG without script or style, with the same as a table beneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.utils.formats import number_format

register = template.Library()

# Units of the drawing: it is stretched to the place it gets.
WIDE, HIGH = 10, 100


@dataclass(frozen=True)
class Series:
    """What a part of each bar stands for; `look` is a word of the stylesheet (`bg-mark-…`)."""

    name: Any
    look: str


@dataclass(frozen=True)
class Column:
    """One bar: a value per series (None: nothing known), what the table says of them, and where its runs are listed."""

    label: str
    values: Sequence[float | None]
    said: Sequence[str] = ()
    url: str = ""

    @property
    def cells(self) -> Sequence[str]:
        return self.said or ["–" if value is None else number_format(value) for value in self.values]

    @property
    def is_empty(self) -> bool:
        return not any(self.values)


@dataclass(frozen=True)
class Bars:
    """Bars over time. The values of a column stand on each other, or, if `nested`, in front of each other (median, p95)."""

    id: str
    title: Any
    sentence: str  # what is to be seen, for who does not see it
    series: Sequence[Series]
    columns: Sequence[Column]
    top: str = ""  # the largest value in words; default: its number
    nested: bool = False

    @property
    def most(self) -> float:
        heights = (([one or 0 for one in column.values] or [0]) for column in self.columns)
        return max((max(values) if self.nested else sum(values) for values in heights), default=0)

    @property
    def width(self) -> int:
        return max(len(self.columns), 1) * WIDE

    def marks(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return (look, x, y, width, height, what it says) of each rectangle."""
        most, found = self.most or 1, []
        for number, column in enumerate(self.columns):
            said = f"{column.label}: " + ", ".join(
                f"{text} {one.name}" for text, one in zip(column.cells, self.series, strict=True)
            )
            base = 0.0
            parts = list(zip(self.series, column.values, strict=True))
            for series, value in reversed(parts) if self.nested else parts:
                if value:
                    height = max(value / most * HIGH, 1)
                    y = HIGH - base - height
                    found.append((series.look, *_units(number * WIDE + 1, y, WIDE - 2, height), said))
                    base += 0 if self.nested else height
        return found  # type: ignore[return-value]


@dataclass(frozen=True)
class Cell:
    """One square of a strip: `look` is a word of the stylesheet, `label` what it stands for, said and shown on hovering."""

    look: str
    label: str
    url: str = ""


@dataclass(frozen=True)
class Strip:
    """Squares in order of time: in one row, or column after column of `rows` (seven: a calendar of weeks)."""

    id: str
    title: Any
    sentence: str
    cells: Sequence[Cell]
    rows: int = 1

    @property
    def width(self) -> int:
        return -(-len(self.cells) // self.rows) * WIDE or WIDE

    @property
    def height(self) -> int:
        return self.rows * WIDE

    @property
    def has_links(self) -> bool:
        return any(cell.url for cell in self.cells)

    def squares(self) -> list[tuple[Cell, int, int]]:
        return [(one, n // self.rows * WIDE, n % self.rows * WIDE) for n, one in enumerate(self.cells)]


def _units(*values: float) -> tuple[str, ...]:
    """Return numbers as SVG reads them, whatever the language."""
    return tuple(f"{value:.2f}".rstrip("0").rstrip(".") for value in values)


@register.inclusion_tag("admin/background/charts/bars.html")
def bars(chart: Bars) -> dict[str, Any]:
    """Draw bars: `{% bars chart %}`."""
    columns = chart.columns
    axis = [columns[n].label for n in sorted({0, len(columns) // 2, len(columns) - 1})] if columns else []
    most = chart.most
    return {
        "chart": chart,
        "marks": chart.marks(),
        "axis": axis,
        "top": (chart.top or number_format(most)) if most else "",
        "rows": [column for column in columns if not column.is_empty],
        "view": f"0 0 {chart.width} {HIGH}",
        "foot": HIGH,
    }


@register.inclusion_tag("admin/background/charts/strip.html")
def strip(chart: Strip, table: bool = True) -> dict[str, Any]:
    """Draw a strip: `{% strip chart %}`; `{% strip chart False %}` without the table beneath, where a list says the same."""
    return {
        "chart": chart,
        "squares": chart.squares(),
        "view": f"0 0 {chart.width} {chart.height}",
        "table": table,
    }
