"""The two charts: what they draw is also said in words and in a table, and nothing of it is markup of others."""

import re

import pytest
from django.template import Context, Template
from django.utils import translation

from background.templatetags.background_charts import Bars, Cell, Column, Series, Strip
from tests.admin.conftest import HOSTILE

RAN, FAILED = Series("succeeded", "succeeded"), Series("failed", "failed")


def drawn(tag, chart):
    return Template("{% load background_charts %}{% " + tag + " chart %}").render(Context({"chart": chart}))


def rects(html, look):
    found = re.findall(
        rf'<rect class="bg-mark-{look}" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"><title>', html
    )
    return [tuple(map(float, one)) for one in found]


def chart(*columns, series=(RAN, FAILED), **more):
    return Bars(id="c", title="Finished", sentence="12 ended.", series=series, columns=columns, **more)


def test_the_parts_of_a_bar_stand_on_each_other_and_the_largest_fills_the_height():
    html = drawn("bars", chart(Column("10:00", (6, 2)), Column("10:01", (4, 0))))

    assert rects(html, "succeeded") == [(1, 25, 8, 75), (11, 50, 8, 50)]
    assert rects(html, "failed") == [(1, 0, 8, 25)]


def test_nested_parts_share_the_foot():
    series = (Series("median", "median"), Series("p95", "p95"))
    html = drawn("bars", chart(Column("10:00", (1.0, 4.0)), series=series, nested=True))

    assert rects(html, "median") == [(1, 75, 8, 25)] and rects(html, "p95") == [(1, 0, 8, 100)]
    assert html.index("bg-mark-p95", html.index("<desc")) < html.index("bg-mark-median", html.index("<desc"))


def test_numbers_of_a_drawing_are_points_in_every_language():
    with translation.override("de"):
        html = drawn("bars", chart(Column("10:00", (1, 2)), Column("10:01", (1, 1)), Column("10:02", (1234, 0))))

    assert len(rects(html, "succeeded")) == 3 and "," not in "".join(re.findall(r'(?:x|y|height)="([^"]+)"', html))


def test_a_chart_says_the_same_in_words_and_in_a_table():
    html = drawn("bars", chart(Column("10:00", (6, 2), url="/runs?a=1&b=2"), Column("10:01", (0, None))))

    assert 'role="img"' in html and "<title id=" in html and ">12 ended.</desc>" in html
    assert '<a href="/runs?a=1&amp;b=2">10:00</a>' in html and "<td>6</td><td>2</td>" in html
    assert '<th scope="row">10:01' not in html  # nothing happened then
    assert "10:00: 6 succeeded, 2 failed" in html


def test_a_chart_of_nothing_says_so():
    html = drawn("bars", chart())

    assert "Nothing in this time." in html and "bg-mark-succeeded" in html and not rects(html, "succeeded")


def test_a_strip_is_a_row_of_squares_or_weeks():
    cells = [Cell("succeeded", f"day {n}", f"/runs/{n}") for n in range(9)]
    html = drawn("strip", Strip("s", "Days", "9 days.", cells, rows=7))

    assert 'viewBox="0 0 20 70"' in html and 'aria-label="day 8"' in html and 'role="group"' in html
    assert '<svg x="10" y="10"' in html  # the ninth: second column, second row
    assert 'role="img"' in drawn("strip", Strip("s", "Days", "1 day.", [Cell("failed", "x")]))


@pytest.mark.parametrize("tag", ["bars", "strip"])
def test_hostile_words_are_text(tag):
    found = {
        "bars": chart(Column(HOSTILE, (1, 1), url=HOSTILE), top=HOSTILE),
        "strip": Strip("s", HOSTILE, HOSTILE, [Cell("failed", HOSTILE, HOSTILE)]),
    }
    html = drawn(tag, found[tag])

    assert "<img" not in html and "<script" not in html and "style=" not in html
