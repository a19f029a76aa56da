"""How `runbackground` writes the log: once, where the site has not said otherwise."""

import io
import logging

import pytest

from background.compat import task_finished, task_started
from background.execution.telling import LOG, is_heard
from background.management.terminal import LineFormatter, configure_logging, wants_colour


@pytest.fixture
def bare():
    """Loggers as in a fresh process."""
    loggers = [logging.getLogger(name) for name in (None, "background", "background.host", "site", "site.sub")]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.handlers, one.propagate = [], True
        one.setLevel(logging.WARNING if one.name == "root" else logging.NOTSET)
    yield
    for one, handlers, level, propagate in before:
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def written(out=None, **options):
    """Configure as in a process without pytest, whose own handlers at the root come with the test's call."""
    out = out or io.StringIO()
    root = logging.getLogger()
    of_pytest = [one for one in root.handlers if type(one).__module__.startswith("_pytest")]
    root.handlers = [one for one in root.handlers if one not in of_pytest]
    configure_logging(out, **options)
    root.handlers += of_pytest
    return out


def test_our_lines_and_the_sites_info_lines_are_written(bare):
    out = written()
    logging.getLogger("background.host").info("%s started", "shop.Sync")
    logging.getLogger("site").info("hello")

    first, second = out.getvalue().splitlines()
    assert first.endswith("● shop.Sync started")
    assert second.endswith("● site: hello")


def test_djangos_own_lines_about_runs_are_left_out_of_its_console_too(bare):
    logger, out = logging.getLogger("django.tasks"), io.StringIO()
    console = logging.StreamHandler(out)
    logging.getLogger("django").addHandler(console)
    try:
        written()
        logger.info("Task id=1")
        logger.warning("kept")
    finally:
        logging.getLogger("django").removeHandler(console)
        logger.filters.clear()

    assert out.getvalue() == "kept\n"


def test_verbosity_0_writes_warnings_only(bare):
    out = written(verbosity=0)
    logging.getLogger("background.host").info("no")
    logging.getLogger("background.host").warning("yes")

    assert [line.rpartition(" ")[2] for line in out.getvalue().splitlines()] == ["yes"]


def test_verbosity_2_writes_our_debug_lines_and_not_the_sites(bare):
    out = written(verbosity=2)
    logging.getLogger("background.host").debug("ours")
    logging.getLogger("site").debug("theirs")

    assert "ours" in out.getvalue()
    assert "theirs" not in out.getvalue()


def test_a_site_that_has_a_handler_at_the_root_writes_itself(bare):
    theirs = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(theirs))
    out = written()
    logging.getLogger("background.host").warning("once")

    assert out.getvalue() == ""
    assert theirs.getvalue() == "once\n"


def test_a_site_that_has_configured_our_logger_keeps_its_level_and_reads_each_line_once(bare):
    theirs = io.StringIO()
    logging.getLogger("background").addHandler(logging.StreamHandler(theirs))
    logging.getLogger("background").setLevel(logging.WARNING)
    out = written()
    logging.getLogger("background.host").info("too little")
    logging.getLogger("background.host").warning("once")

    assert (out.getvalue(), theirs.getvalue()) == ("", "once\n")


def test_a_line_that_the_sites_own_handler_filters_out_is_written_here(bare):
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(lambda record: False)
    logging.getLogger("site").addHandler(handler)
    out = written()
    logging.getLogger("site.sub").warning("seen")

    assert "seen" in out.getvalue()


def test_a_log_file_of_the_site_does_not_silence_the_terminal(bare, tmp_path):
    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger("site").addHandler(handler)
    out = written()
    logging.getLogger("site").warning("both")
    handler.close()

    assert "both" in out.getvalue()
    assert "both" in (tmp_path / "log").read_text()


def test_called_twice_it_writes_each_line_once(bare):
    out = written(written())
    logging.getLogger("background.host").info("once")

    assert len(out.getvalue().splitlines()) == 1


def test_a_stack_is_indented_below_its_event():
    record = logging.LogRecord("background.host", logging.ERROR, "x", 1, "deaf", (), None, sinfo="Stack:\n  here")

    assert LineFormatter(colour=False).format(record).splitlines()[1:] == [" " * 11 + "Stack:", " " * 11 + "  here"]


def test_hostile_text_in_a_message_stays_on_its_lines():
    record = logging.LogRecord("background.host", logging.INFO, "x", 1, "%s", ("a\r\x1b[2J\nFAKE \u202e",), None)

    first, second = LineFormatter(colour=False).format(record).split("\n")
    assert first.endswith("a\\r\\x1b[2J")
    assert second == " " * 11 + "FAKE \\u202e"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "asked", "terminal", "wanted"),
    [
        ({}, None, True, True),
        ({}, None, False, False),
        ({"NO_COLOR": "1"}, None, True, False),
        ({"NO_COLOR": ""}, None, True, True),
        ({"FORCE_COLOR": "1"}, None, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, None, True, False),
        ({"TERM": "dumb"}, None, True, False),
        ({"NO_COLOR": "1"}, True, False, True),
        ({}, False, True, False),
    ],
)
def test_a_flag_goes_before_the_environment_and_that_before_the_terminal(
    environment, asked, terminal, wanted, monkeypatch
):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert wants_colour(Terminal() if terminal else io.StringIO(), asked) is wanted


def test_signals_that_only_django_would_log_are_not_sent_where_the_host_tells_the_same(bare):
    before = LOG.level, LOG.filters[:]
    try:
        LOG.filters.clear()
        LOG.setLevel(logging.INFO)
        assert is_heard(task_started) and is_heard(task_finished)
        written(verbosity=2)
        assert is_heard(task_started)
        written()
        LOG.setLevel(logging.NOTSET)  # as Django does when it sets up its logging anew
        assert not is_heard(task_started) and not is_heard(task_finished)
        task_started.connect(written)
        assert is_heard(task_started) and not is_heard(task_finished)
    finally:
        task_started.disconnect(written)
        LOG.setLevel(before[0])
        LOG.filters[:] = before[1]
