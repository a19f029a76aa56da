"""What the code of the installed apps declares is found by name, and nowhere else."""

import sys
from types import ModuleType

import pytest

import background
from background import compat, registry
from background.exceptions import DependencyCycle, DuplicateName, JobNotFound, ServiceNotFound, TaskNotFound
from background.jobs import tasks as declarations
from tests.app import background as tasks


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


def service(label, *needed):
    return type(label.title(), (background.BackgroundService,), {"name": label, "depends_on": needed})


def names(classes):
    return [one.get_name() for one in classes]


def test_tasks_are_found_by_their_dotted_path_and_jobs_by_their_name():
    assert registry.task("tests.app.background.note") is tasks.note
    assert registry.task("tests.app.background.plain") is tasks.plain
    assert registry.job("app.often").task is tasks.often


def test_the_declarations_of_the_tests_stand():
    assert list(registry.problems()) == []


@pytest.mark.parametrize("path", ["tests.app.background.nothing", "os.system", "", "note", "antigravity.geohash"])
def test_a_path_that_nobody_declares_is_not_imported(path):
    with pytest.raises(TaskNotFound, match="No installed app declares the task"):
        registry.task(path)
    assert "antigravity" not in sys.modules


def test_unknown_jobs_and_services_are_named():
    with pytest.raises(JobNotFound, match="'nothing'"):
        registry.job("nothing")
    with pytest.raises(ServiceNotFound, match="'nothing'; known are: .*app.Lone"):
        registry.service("nothing")


def test_a_service_is_registered_once(kept):
    one = background.register(service("one"))
    assert background.register(one) is one
    assert registry._services.count(one) == 1
    assert registry.service("one") is one


@pytest.mark.parametrize("thing", [object, 5, lambda: 0, background.BackgroundService()])
def test_only_services_can_be_registered(thing):
    with pytest.raises(TypeError, match="takes a subclass of BackgroundService"):
        background.register(thing)


def test_services_start_in_the_order_of_registration_but_dependencies_first():
    assert names(registry.in_order([service("a", "c"), service("b"), service("c")])) == ["c", "a", "b"]
    assert names(registry.in_order([service("a", "b"), service("b", "c"), service("c")])) == ["c", "b", "a"]


def test_a_circle_is_refused_with_its_members():
    with pytest.raises(DependencyCycle, match="one → two → one"):
        registry.in_order([service("one", "two"), service("two", "one")])
    with pytest.raises(DependencyCycle):
        registry.in_order([service("one", "one")])


def test_two_services_of_one_name_are_refused():
    with pytest.raises(DuplicateName, match="'one'"):
        registry.in_order([service("one"), service("one")])


def test_of_two_jobs_with_one_name_the_first_counts(kept):
    background.job(name="twice")(first)
    background.job(name="twice")(second)
    assert registry.jobs()["twice"].task.func is first


def test_the_task_of_a_job_has_the_policies_of_the_job(kept):
    background.schedule(tasks.note, "@daily", name="patient note", max_attempts=9)
    assert registry.task(tasks.note.module_path, "patient note").max_attempts == 9
    assert registry.task(tasks.note.module_path).max_attempts == 1
    assert registry.task(tasks.note.module_path, "gone").max_attempts == 1
    assert registry.task(tasks.plain.module_path, "patient note") is tasks.plain


def test_discovery_reads_the_modules_named_in_the_settings(kept, settings, monkeypatch):
    module = ModuleType("tests.app.chores")
    exec("def sweep(): ...", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    plain = compat.Task if compat.BUILT_IN else tasks.note.__class__
    module.sweep = plain(func=module.sweep, priority=0, backend="default", queue_name="default")
    declarations.KNOWN.pop("tests.app.chores.sweep", None)
    settings.BACKGROUND = {"DISCOVER": ["chores"]}

    registry.discover()

    assert registry.task("tests.app.chores.sweep") is module.sweep


def test_what_is_returned_is_a_copy():
    registry.tasks().clear()
    registry.jobs().clear()
    assert registry.tasks() and registry.jobs()
