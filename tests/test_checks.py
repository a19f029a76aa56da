"""What can be seen to be wrong before anything runs is told by `manage.py check`, in one sentence each."""

import pytest
from django.core.checks import run_checks
from django.db import connections
from django.test import override_settings

import background
from background import checks, registry
from background.jobs import tasks as declarations


def found(prefix="background.", **kwargs):
    return [(one.id, one.msg) for one in run_checks(**kwargs) if (one.id or "").startswith(prefix)]


def first(): ...


def second(): ...


@pytest.fixture
def kept():
    declared, known, services = list(declarations.DECLARED), dict(declarations.KNOWN), list(registry._services)
    yield
    declarations.DECLARED[:] = declared
    declarations.KNOWN.clear()
    declarations.KNOWN.update(known)
    registry._services[:] = services


def service(label, **members):
    members = {"name": label, "execute": lambda self, stop: None, **members}
    return background.register(type(label.title(), (background.BackgroundService,), members))


@pytest.mark.django_db
def test_this_site_is_right():
    assert found(databases=["default"]) == []


def test_every_wrong_setting_is_an_error_of_its_own():
    with override_settings(BACKGROUND={"CONCURENCY": 3, "HOST_TIMEOUT": "x"}):
        assert [id for id, _ in found()] == ["background.E001", "background.E001"]


@override_settings(USE_TZ=False)
def test_the_site_must_use_time_zones():
    assert "background.E002" in [id for id, _ in found()]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"DATABASE": "elsewhere"}, "DATABASES has only default"),
        ({"MIDDLEWARE": ["nowhere.middleware"]}, "'nowhere.middleware', which cannot be imported"),
        ({"MIDDLEWARE": ["nodots"]}, "'nodots', which cannot be imported"),
        ({"EXECUTOR": "celery"}, 'which cannot be imported: celery doesn\'t look like a module path. Set "local"'),
        ({"EXECUTOR": "tests.processes.Process"}, "which is no dispatcher: it has no free, submit"),
        ({"HOST_TIMEOUT": 5, "HEARTBEAT_INTERVAL": 2}, "at least three times HEARTBEAT_INTERVAL"),
    ],
)
def test_settings_that_name_what_is_not_there_are_errors(settings, words):
    with override_settings(BACKGROUND=settings):
        ((id, text),) = found()
    assert id == "background.E003" and words in text


def test_a_site_without_our_backend_is_warned():
    with override_settings(TASKS={"default": {"BACKEND": "tests.Elsewhere"}}):
        assert [one.id for one in checks.check_tasks()] == ["background.W001"]


def test_our_backend_may_have_another_alias():
    tasks = {"default": {"BACKEND": "tests.Elsewhere"}, "ours": {"BACKEND": declarations.BACKEND}}
    with override_settings(TASKS=tasks):
        assert checks.check_tasks() == []
        assert declarations.backend_alias() == "ours"


def test_two_jobs_of_one_name_are_an_error_naming_both(kept):
    background.job(name="twice")(first)
    background.job(name="twice")(second)

    ((id, text),) = found()
    assert id == "background.E010"
    assert "'twice'" in text and f"{__name__}.first" in text and f"{__name__}.second" in text and "name=" in text


def test_two_services_of_one_name_are_an_error(kept):
    service("twice")
    service("twice")
    ((_, text),) = found()
    assert "Two services are named 'twice'" in text


def test_an_interval_of_days_with_a_zone_is_warned_about(kept):
    task = background.job(name="by hand")(first)
    background.schedule(task, background.every(days=1), name="day", timezone="Asia/Tokyo")
    background.schedule(task, background.every(days=1), name="without")
    background.schedule(task, "every 23h", name="hours", timezone="Asia/Tokyo")
    background.schedule(task, "@daily", name="cron", timezone="Asia/Tokyo")
    (warning,) = checks.check_schedules()
    assert warning.id == "background.W003" and "'day'" in warning.msg and "0 3 * * *" in warning.msg


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"depends_on": ("nobody",)}, "depends on 'nobody', which no app registers"),
        ({"restart": "sometimes"}, "restart='sometimes'; allowed are"),
        ({"execute": background.BackgroundService.execute}, "has no execute(self, stop)"),
    ],
)
def test_a_service_that_cannot_stand_is_an_error(kept, members, words):
    service("lame", **members)
    ((id, text),) = found()
    assert id == "background.E010" and "'lame'" in text and words in text


def test_services_that_depend_on_each_other_in_a_circle_are_an_error(kept):
    service("one", depends_on=("two",))
    service("two", depends_on=("one",))
    ((_, text),) = found()
    assert "in a circle: one → two → one" in text


def test_a_database_that_is_set_up_badly_is_warned_about(monkeypatch):
    vendor, settings = connections["default"].vendor, connections["default"].settings_dict
    bad = {"sqlite": {}, "mysql": {"isolation_level": "repeatable read"}}.get(vendor, settings["OPTIONS"])
    monkeypatch.setitem(settings, "OPTIONS", bad)
    ids = {one.id for one in checks.check_database(databases=["default"])}
    assert ids == ({"background.W002"} if vendor in ("sqlite", "mysql") else set())


def test_databases_that_are_not_asked_about_are_left_alone():
    assert checks.check_database(databases=["other"]) == []
    assert checks.check_database() == []
