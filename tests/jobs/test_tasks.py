"""`@job`, `schedule()` and Django's `@task` declare what is to be run, and refuse what cannot stand."""

import json
from datetime import UTC, datetime, timedelta

import pytest

import background
from background import Backoff, at, cron, every, registry
from background.compat import InvalidTask, Task
from background.exceptions import InvalidArguments, InvalidPolicy, InvalidSchedule
from background.jobs.policies import json_ready
from background.jobs.tasks import BACKEND, DECLARED, BackgroundTask, own_queue
from background.models import Job
from tests.app import background as tasks

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def work(a, b="b", *, c=3): ...


async def awork(a=1): ...


def contextual(context, a=1): ...


def declared(*args, function=work, **kwargs):
    """Declare a job for a function of this module and return its declaration."""
    background.job(*args, **{"name": "mine", **kwargs})(function)
    return DECLARED[-1]


# ---------------------------------------------------------------------------------------------------------------- @job


def test_a_decorated_function_is_a_task_of_djangos_and_can_be_called():
    assert isinstance(tasks.plain, Task)
    assert tasks.plain.call(2, word="two") == [2, "two"]
    assert tasks.plain.func(3) == [3, "one"]


def test_without_brackets_it_is_run_by_hand_and_by_code_only():
    declaration = registry.job("app.plain")
    assert (declaration.schedule, declaration.values()["schedule"]) == (None, "")


def test_the_name_is_that_of_the_app_and_the_function():
    assert background.job()(work) and DECLARED[-1].name == "tests.work"
    assert tasks.often.job_name == "app.often"


@pytest.mark.parametrize("name", ["x" * 201, 5 * 50 * "x"])
def test_a_name_has_bounds(name):
    with pytest.raises(InvalidPolicy, match="The name of a job has from 1 to 200 characters"):
        declared(name=name)


def test_the_values_of_the_row_are_json_of_what_was_declared():
    values = declared(
        "0 3 * * *", timezone="Europe/Paris", args=("x",), kwargs={"c": 4}, queue="mail", priority=7, max_attempts=3,
        backoff=Backoff(1, 2), timeout=60, concurrency=2, overlap="queue", misfire="all", misfire_grace=1, misfire_limit=9,
        starts_at=NOON, jitter=5, on_lost="fail", retain=30, enabled=False,
    ).values()  # fmt: skip
    assert values == {
        "task": f"{__name__}.work", "args": ["x"], "kwargs": {"c": 4}, "schedule": "0 3 * * *", "timezone": "Europe/Paris",
        "enabled": False, "queue": "mail", "priority": 7, "max_attempts": 3,
        "backoff": {"initial": 1, "maximum": 2, "factor": 2, "jitter": 0.1}, "timeout": 60, "executor": "", "concurrency": 2,
        "overlap": "queue", "misfire": "all", "misfire_grace": 1, "misfire_limit": 9,
        "starts_at": "2026-05-01T12:00:00+00:00", "ends_at": None, "jitter": 5, "on_lost": "fail", "retain": "30",
    }  # fmt: skip


def test_the_values_are_all_that_a_row_may_hold_and_nothing_else():
    assert set(declared().values()) == set(Job.DECLARED)


def test_the_defaults_of_a_declaration_are_those_of_a_row():
    values, row = declared().values(), Job().declared_values()
    backoff = values.pop("backoff")  # empty in a row: the task's
    assert backoff == Backoff().as_dict()
    assert {name: row[name] for name in values} == {**values, "task": ""}


@pytest.mark.parametrize(
    ("schedule", "text", "zone"),
    [
        ("*/5 * * * *", "*/5 * * * *", ""),
        ("@daily", None, ""),
        ("every 90s", "every 90s", ""),
        (every(minutes=5), "every 5m", ""),
        (every(minutes=5, anchor=NOON), "every 5m from 2026-05-01T12:00:00Z", ""),
        (cron("0 3 * * *", timezone="Europe/Paris"), "0 3 * * *", "Europe/Paris"),
        (at(NOON), "at 2026-05-01T12:00:00Z", ""),
    ],
)
def test_a_schedule_is_kept_as_its_text(schedule, text, zone):
    values = declared(schedule).values()
    assert (values["schedule"], values["timezone"]) == (text or values["schedule"], zone)
    assert background.timing.parse(values["schedule"], zone or None).next(NOON - timedelta(days=1))


def test_the_zone_of_a_schedule_goes_before_that_of_the_job():
    values = declared(cron("0 3 * * *", timezone="Europe/Paris"), timezone="Asia/Tokyo").values()
    assert values["timezone"] == "Europe/Paris"


@pytest.mark.parametrize(
    "schedule", ["nonsense", "0 0 31 2 *", "* * * * * *", "every 0.5s", every(seconds=0.5), "at some time", "@reboot"]
)
def test_a_schedule_that_is_none_or_never_fires_is_refused_at_declaration(schedule):
    with pytest.raises(InvalidSchedule):
        declared(schedule)


def test_a_zone_that_is_none_is_refused_at_declaration():
    with pytest.raises(InvalidSchedule, match="Mars/Olympus"):
        declared("@daily", timezone="Mars/Olympus")


def test_a_window_that_never_opens_is_refused():
    with pytest.raises(InvalidPolicy, match="mine: .* would never run"):
        declared("@daily", starts_at=NOON, ends_at=NOON)


def test_a_single_time_that_has_passed_may_stay_in_the_code():
    assert declared(at(datetime(2020, 1, 1, tzinfo=UTC))).values()["schedule"] == "at 2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "bad", [{"args": [object()]}, {"kwargs": {"a": NOON}}, {"kwargs": {"a": float("nan")}}, {"args": ["\0"]}]
)
def test_arguments_that_are_not_json_are_refused_at_declaration(bad):
    with pytest.raises(InvalidArguments, match="mine"):
        declared(**bad)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"nothing": 1}), ((1,), {"a": 1})], ids=str
)
def test_arguments_that_do_not_fit_the_function_of_a_schedule_are_a_check_error(args, kwargs):
    declared("@daily", args=args, kwargs=kwargs)
    assert any("do not fit job 'mine'" in one for one in registry.problems())


def test_arguments_that_fit_are_none():
    declared("@daily", args=(1,), kwargs={"c": 2})
    declared("@daily", function=contextual, takes_context=True, name="other")
    declared(name="without a schedule the caller gives them")
    assert list(registry.problems()) == []


# ------------------------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize(
    ("policy", "value"),
    [
        ("max_attempts", 0), ("max_attempts", "3"), ("max_attempts", True), ("max_attempts", None), ("max_attempts", 1.5),
        ("concurrency", 0), ("concurrency", -1), ("misfire_limit", 0), ("misfire_limit", 1001), ("misfire_limit", None),
        ("timeout", 0), ("timeout", -1), ("timeout", "60"), ("timeout", float("nan")), ("timeout", float("inf")),
        ("jitter", -1), ("jitter", True), ("misfire_grace", -1), ("misfire_grace", None),
        ("starts_at", datetime(2026, 1, 1)), ("ends_at", "2026-01-01"), ("backoff", 5), ("backoff", {"initial": 5}),
        ("retry_on", ValueError), ("retry_on", ("ValueError",)), ("discard_on", ValueError), ("discard_on", (5,)),
        ("unique", 5), ("unique", "{nothing}"), ("unique", "{a.b} {nothing.b}"), ("unique", "{a"), ("concurrency_key", "{x}"),
        ("overlap", "never"), ("misfire", "latest"), ("on_lost", "ignore"), ("executor", "greenlet"),
        ("retain", "a week"), ("retain", "-1"), ("retain", "5 weeks"), ("retain", "²"), ("retain", True),
        ("secret", "password"), ("secret", (1,)), ("atomic", "yes"), ("permission", 5),
    ],
)  # fmt: skip
def test_a_policy_that_does_not_fit_is_refused_with_its_name_and_value(policy, value):
    with pytest.raises(InvalidPolicy) as refusal:
        declared(**{policy: value})
    assert policy in str(refusal.value)


@pytest.mark.parametrize(
    ("policy", "value"),
    [
        ("timeout", 0.5), ("timeout", None), ("concurrency", None), ("jitter", None), ("retain", 30), ("retain", "0.5"),
        ("retain", "100 runs"), ("retain", "1 run"), ("retain", "30 days"), ("retain", None), ("unique", "{a}-{b}"),
        ("unique", "{0}"), ("unique", "{a[key]}"), ("unique", "always"), ("unique", lambda *args, **kwargs: "x"),
        ("secret", ["a"]), ("retry_on", (OSError, ValueError)), ("discard_on", ()), ("misfire_grace", 0), ("executor", "thread"),
    ],
)  # fmt: skip
def test_a_policy_that_fits_is_taken(policy, value):
    declared(**{policy: value})


def test_an_unknown_policy_is_named_with_those_there_are():
    with pytest.raises(InvalidPolicy, match="mine: there is no policy 'max_atempts'; known are .*max_attempts"):
        declared(max_atempts=3)


@pytest.mark.parametrize("bad", [{"priority": 101}, {"queue": "nowhere"}, {"backend": "nowhere"}])
def test_what_django_refuses_of_a_task_is_refused(bad, settings):
    from background.jobs.tasks import BACKEND

    settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"]}}
    with pytest.raises(Exception) as refusal:
        declared(**bad)
    assert "Invalid" in type(refusal.value).__name__ or isinstance(refusal.value, InvalidTask)


@pytest.mark.parametrize(
    ("function", "policies", "words"),
    [
        (awork, {"atomic": True}, "needs a plain function"),
        (work, {"executor": "loop"}, "needs an async def function"),
        (awork, {"executor": "thread"}, "needs a plain function"),
        (awork, {"executor": "process"}, "needs a plain function"),
    ],
)
def test_policies_that_do_not_fit_the_kind_of_function_are_refused(function, policies, words):
    with pytest.raises(InvalidTask, match=words):
        declared(function=function, **policies)


@pytest.mark.parametrize(
    ("function", "executor", "expected"), [(work, None, "thread"), (awork, None, "loop"), (work, "process", "process")]
)
def test_the_executor_follows_from_the_kind_of_function(function, executor, expected):
    background.job(name="mine", executor=executor)(function)
    assert DECLARED[-1].task.runs_on == expected


def test_policies_stay_when_a_caller_changes_queue_and_priority():
    changed = tasks.flaky.using(queue_name="mail", priority=9)
    assert isinstance(changed, BackgroundTask)
    assert (changed.max_attempts, changed.queue_name, changed.priority) == (3, "mail", 9)
    assert tasks.flaky.queue_name == "default"


# ---------------------------------------------------------------------------------------------------------- schedule()


def test_a_task_may_have_several_jobs():
    for n in range(2):
        background.schedule(tasks.note, every(hours=n + 1), name=f"note {n}", kwargs={"text": str(n)}, timeout=9)
    values = [registry.job(f"note {n}").values() for n in range(2)]
    assert [one["schedule"] for one in values] == ["every 1h", "every 2h"]
    assert {one["task"] for one in values} == {tasks.note.module_path}
    assert {one["timeout"] for one in values} == {9}


def test_a_further_job_keeps_the_policies_of_the_task_where_it_has_none_of_its_own():
    background.schedule(tasks.flaky, "@daily", name="daily flaky", timeout=9, queue="mail", priority=3)
    values = registry.job("daily flaky").values()
    assert (values["max_attempts"], values["timeout"], values["queue"], values["priority"]) == (3, 9, "mail", 3)


def test_a_further_job_does_not_change_the_task():
    background.schedule(tasks.note, "@daily", name="daily note", max_attempts=7)
    assert registry.task(tasks.note.module_path) is tasks.note
    assert tasks.note.max_attempts == 1


def test_a_further_job_refuses_what_job_refuses():
    with pytest.raises(InvalidPolicy, match="daily note"):
        background.schedule(tasks.note, "@daily", name="daily note", overlap="never")
    with pytest.raises(InvalidSchedule):
        background.schedule(tasks.note, every(seconds=0.2), name="daily note")


@pytest.mark.parametrize(
    ("allowed", "chosen"),
    [({"QUEUES": []}, "mail"), ({"QUEUES": ["mail", "a"]}, "mail"), ({}, "default"), ({"QUEUES": ["b", "a"]}, "a")],
)
def test_a_part_of_the_app_takes_a_queue_that_the_site_allows(settings, allowed, chosen):
    settings.TASKS = {"default": {"BACKEND": BACKEND, **allowed}}
    assert own_queue("mail") == chosen


class Word(str):
    """A word that is not only a word: JSON makes one of it."""


@pytest.mark.parametrize(
    "value",
    [
        [], {}, [1, "a", None, True], {"a": 2**53, "b": "x"}, [1.5], ["ü"], [2**60], ["x" * 2000], [[1], {"a": (1, 2)}],
        {"a": [None]}, {1: "a"}, {None: 1}, [Word("a")], [0] * 60, ["\\", '"', "\n"],
    ],
)  # fmt: skip
def test_arguments_become_what_the_database_gives_back(value):
    """Also those that are taken as they are, because they are JSON already."""
    ready, stored = json_ready(value, "mine"), json.loads(json.dumps(value))
    assert ready == stored
    assert list(map(type, ready)) == list(map(type, stored))


@pytest.mark.parametrize(
    "value", [["a\x00"], {"a\x00": 1}, ["\ud800"], [float("nan")], {"a": "\ud800"}, [b"x"], [10**5000]]
)
def test_arguments_that_cannot_be_stored_are_refused(value):
    with pytest.raises(InvalidArguments, match="mine"):
        json_ready(value, "mine")
