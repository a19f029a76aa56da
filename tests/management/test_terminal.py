"""What a person reads in the terminal."""

import io
import logging
import sys

from django.utils.translation import gettext_lazy

from background.management.terminal import LineFormatter, banner, duration, plain, table


def record(message, *args, level=logging.INFO, name="background.host", exc_info=None):
    return logging.LogRecord(name, level, __file__, 1, message, args, exc_info)


def test_an_event_is_one_line_without_colours_where_they_are_not_wanted():
    line = LineFormatter(colour=False).format(record("%s started", "shop.Sync"))
    assert line.endswith(" ● shop.Sync started")
    assert "\x1b" not in line


def test_errors_are_coloured_on_a_terminal():
    assert "\x1b[31mno\x1b[0m" in LineFormatter(colour=True).format(record("no", level=logging.ERROR))


def test_a_traceback_is_indented_below_its_event():
    try:
        raise ValueError("no")
    except ValueError:
        lines = LineFormatter(colour=False).format(record("failed", exc_info=sys.exc_info())).splitlines()
    assert all(line.startswith("           ") for line in lines[1:])
    assert lines[-1].endswith("ValueError: no")


def test_lines_of_the_site_name_their_logger():
    assert LineFormatter(colour=False).format(record("hello", name="shop.sync")).endswith("shop.sync: hello")


def test_control_and_direction_characters_are_shown_as_escapes():
    assert plain("a\x1b[31mb\u202ec\r") == "a\\x1b[31mb\\u202ec\\r"


def test_the_banner_has_two_columns():
    out = io.StringIO()
    banner([("host", "web-1"), ("database", "sqlite")], out)
    assert out.getvalue().splitlines()[:2] == ["  host      web-1", "  database  sqlite"]


def test_durations_have_one_or_two_units():
    assert [duration(one) for one in (0.25, 42, 192, 7260, 90000, None)] == [
        "0.2 s",
        "42 s",
        "3 min 12 s",
        "2 h 1 min",
        "1 d 1 h",
        "–",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_table_is_coloured_on_a_terminal_and_plain_elsewhere(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    rows = [("app.often", "[red]not markup[/red]")]
    for out in (Terminal(), io.StringIO()):
        table(out, "Jobs", (gettext_lazy("Name"), "Note"), rows, "none")
        assert "app.often" in out.getvalue()
        assert "[red]not markup[/red]" in out.getvalue()
        assert ("\x1b[1m" in out.getvalue()) == out.isatty()
