"""The dict BACKGROUND becomes settings; what is wrong in it is told and counts as not given."""

import subprocess
from dataclasses import dataclass

import pytest
from django.test import override_settings

from background import conf
from background.conf import Settings, build_version, get_settings, problems


def sentences(raw):
    return [text for _, text in problems(raw)]


def test_without_any_setting_the_defaults_are_in_force_and_right():
    with override_settings(BACKGROUND={}):
        assert get_settings() == Settings()
    assert sentences({key.upper(): getattr(Settings(), key) for key in Settings.__slots__}) == []


def test_a_setting_is_read_lazily_and_anew_when_settings_change():
    with override_settings(BACKGROUND={"CONCURRENCY": 3}):
        assert get_settings().concurrency == 3
    with override_settings(BACKGROUND={"CONCURRENCY": 4}):
        assert get_settings().concurrency == 4


def test_settings_cannot_be_changed_and_lists_become_tuples():
    with override_settings(BACKGROUND={"REDACT": ["pin"]}):
        assert get_settings().redact == ("pin",)
        with pytest.raises(AttributeError):
            get_settings().concurrency = 9


def test_retention_is_completed_by_the_defaults():
    with override_settings(BACKGROUND={"RETENTION": {"failed": None}}):
        assert get_settings().retention == {"succeeded": 7, "failed": None, "cancelled": 7}


@pytest.mark.parametrize("key", ["CONCURENCY", "concurrency", 5, None])
def test_an_unknown_setting_is_named_with_those_there_are(key):
    (sentence,) = sentences({key: 3})
    assert f"no setting {key!r}" in sentence and "CONCURRENCY" in sentence


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("CONCURRENCY", "8", "a whole number"),
        ("CONCURRENCY", 1.5, "a whole number"),
        ("CONCURRENCY", True, "a whole number"),
        ("CONCURRENCY", 0, "more than 0"),
        ("MAX_LOST", 0, "more than 0"),
        ("MAX_LOG_LINES", -1, "not be negative"),
        ("HOST_TIMEOUT", "15", "a number of seconds"),
        ("HOST_TIMEOUT", None, "a number of seconds"),
        ("HOST_TIMEOUT", -1, "more than 0"),
        ("HOST_TIMEOUT", float("nan"), "a number of seconds"),
        ("HOST_TIMEOUT", float("inf"), "a number of seconds"),
        ("DRAIN_DELAY", -1, "not be negative"),
        ("RETENTION", {"done": 7}, "succeeded, failed and cancelled"),
        ("RETENTION", {"failed": "7"}, "days or None"),
        ("RETENTION", {"failed": -7}, "days or None"),
        ("RETENTION", 7, "must map"),
        ("CAPTURE_LOGS", "LOUD", "one of DEBUG"),
        ("CAPTURE_LOGS", 10, "one of DEBUG"),
        ("CAPTURE_LOGS", ["INFO"], "one of DEBUG"),
        ("REDACT", "password", "a list of strings"),
        ("REDACT", [1], "a list of strings"),
        ("DATABASE", 5, "a string"),
        ("DATABASE", None, "a string"),
        ("VERSION", 5, "a string"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected_and_counts_as_not_given(key, value, what):
    (sentence,) = sentences({key: value})
    assert sentence.startswith(f"BACKGROUND['{key}'] must") and what in sentence and repr(value) in sentence
    with override_settings(BACKGROUND={key: value}):
        assert getattr(get_settings(), key.lower()) == getattr(Settings(), key.lower())


@pytest.mark.parametrize(
    ("key", "value"),
    [("CAPTURE_LOGS", None), ("VERSION", None), ("VERSION", "1.0"), ("HOST_TIMEOUT", 7), ("DRAIN_DELAY", 0.5)],
)
def test_other_values_fit(key, value):
    assert sentences({key: value}) == []


@pytest.mark.parametrize("raw", [None, [], "x", 5])
def test_a_setting_that_is_no_dict_is_one_problem(raw):
    assert len(sentences(raw)) == 1
    with override_settings(BACKGROUND=raw):
        assert get_settings() == Settings()


@pytest.mark.parametrize("version", ["2.1", ""])
def test_the_version_is_the_configured_one(version):
    with override_settings(BACKGROUND={"VERSION": version}):
        assert build_version() == version


@pytest.mark.parametrize("failure", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 5)])
def test_without_git_there_is_no_version(monkeypatch, failure):
    def run(*args, **kwargs):
        raise failure

    monkeypatch.setattr(conf.subprocess, "run", run)
    with override_settings(BACKGROUND={}):
        build_version.cache_clear()
        assert build_version() == ""
    build_version.cache_clear()


@conf.part("PARCELS")
@dataclass(frozen=True)
class Parcels:
    carrier: str = "post"
    size: float = 1.0
    doors: tuple[str, ...] = ()
    address: str | None = None


@pytest.fixture(autouse=True, scope="module")
def forget_parcels():
    yield
    del conf.PARTS["PARCELS"]


def test_a_part_has_a_dict_of_its_own():
    with override_settings(BACKGROUND={"PARCELS": {"SIZE": 2, "DOORS": ["a"]}}):
        assert conf.get_part(Parcels) == Parcels(size=2, doors=("a",))
    with override_settings(BACKGROUND={}):
        assert conf.get_part(Parcels) == Parcels()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"COLOUR": 1}, "BACKGROUND['PARCELS'] has no setting 'COLOUR'; known are ADDRESS, CARRIER, DOORS, SIZE."),
        ({"SIZE": "2"}, "BACKGROUND['PARCELS']['SIZE'] must be of type float, not '2'."),
        ("post", "BACKGROUND['PARCELS'] must be a dict, not str."),
    ],
)
def test_what_is_wrong_in_a_part_is_told_and_counts_as_not_given(given, sentence):
    assert sentences({"PARCELS": given}) == [sentence]
    with override_settings(BACKGROUND={"PARCELS": given}):
        assert conf.get_part(Parcels) == Parcels()
