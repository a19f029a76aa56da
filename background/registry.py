"""Own what the code of INSTALLED_APPS declares: services, tasks and jobs, found by name and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TypeVar

from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from background.compat import Task
from background.conf import get_settings
from background.exceptions import (
    DependencyCycle,
    DuplicateName,
    InvalidArguments,
    JobNotFound,
    ServiceNotFound,
    TaskNotFound,
)  # fmt: skip
from background.jobs.policies import bind
from background.jobs.tasks import DECLARED, KNOWN, JobDeclaration
from background.services.base import RESTARTS, BackgroundService

S = TypeVar("S", bound=type[BackgroundService])

_services: list[type[BackgroundService]] = []


def register(service: S) -> S:
    """Make a service class known; for use as a decorator. TypeError if it is none."""
    if not (isinstance(service, type) and issubclass(service, BackgroundService)):
        raise TypeError(f"@background.register takes a subclass of BackgroundService, not {service!r}.")
    if service not in _services:
        _services.append(service)
    return service


def discover() -> None:
    """Import the modules named by BACKGROUND["DISCOVER"] of each installed app. Blocks while they load."""
    autodiscover_modules(*get_settings().discover)
    for config in apps.get_app_configs():
        for name in get_settings().discover:
            module = _loaded(f"{config.name}.{name}")
            for value in vars(module).values() if module else ():
                if isinstance(value, Task):
                    KNOWN.setdefault(value.module_path, value)


def _loaded(name: str) -> Any:
    return sys.modules.get(name)


def services() -> list[type[BackgroundService]]:
    """Return the registered services in the order of their start; errors as `service_problems` tells them."""
    return in_order(_services)


def service(name: str) -> type[BackgroundService]:
    for one in _services:
        if one.get_name() == name:
            return one
    known = ", ".join(sorted(one.get_name() for one in _services)) or "none"
    raise ServiceNotFound(f"There is no service {name!r}; known are: {known}.")


def tasks() -> dict[str, Task]:
    """Return the known tasks by dotted path."""
    return dict(KNOWN)


def task(path: str, job_name: str = "") -> Task:
    """Return the task of this dotted path, with the policies that the job of this name declares; TaskNotFound. Never imports."""
    declared = next((one for one in DECLARED if one.name == job_name), None) if job_name else None
    if declared is not None and declared.task.module_path == path:
        return declared.task
    try:
        return KNOWN[path]
    except KeyError:
        raise TaskNotFound(
            f"No installed app declares the task {path!r}; was it renamed or removed while runs were waiting, or is its module "
            f"not found by BACKGROUND['DISCOVER']?"
        ) from None


def jobs() -> dict[str, JobDeclaration]:
    """Return the declared jobs by name; of two with one name the first (a check error tells)."""
    found: dict[str, JobDeclaration] = {}
    for declaration in DECLARED:
        found.setdefault(declaration.name, declaration)
    return found


def job(name: str) -> JobDeclaration:
    try:
        return jobs()[name]
    except KeyError:
        raise JobNotFound(f"The code declares no job {name!r}.") from None


def in_order(classes: list[type[BackgroundService]]) -> list[type[BackgroundService]]:
    """Return the services with each one's dependencies before it, else as registered."""
    by_name: dict[str, type[BackgroundService]] = {}
    for one in classes:
        if by_name.setdefault(one.get_name(), one) is not one:
            raise DuplicateName(
                f"Two services are named {one.get_name()!r}: {by_name[one.get_name()]} and {one}; set `name` on one of them."
            )
    ordered: list[type[BackgroundService]] = []

    def add(one: type[BackgroundService], path: tuple[str, ...]) -> None:
        name = one.get_name()
        if name in path:
            circle = " → ".join((*path[path.index(name) :], name))
            raise DependencyCycle(f"Services depend on each other in a circle: {circle}; remove one depends_on.")
        if one in ordered:
            return
        for needed in one.depends_on:
            if needed in by_name:
                add(by_name[needed], (*path, name))
        ordered.append(one)

    for one in classes:
        add(one, ())
    return ordered


def problems() -> Iterator[str]:
    """Yield a sentence for each declaration that cannot stand."""
    names: dict[str, Any] = {}
    for declaration in DECLARED:
        other = names.setdefault(declaration.name, declaration)
        if other is not declaration:
            yield (
                f"Two jobs are named {declaration.name!r}: for {other.task.module_path} and for {declaration.task.module_path}; "
                f"give one of them another name=."
            )
        try:
            if declaration.schedule:
                task = declaration.task
                bind(task.func, task.takes_context, declaration.args, declaration.kwargs, f"job {declaration.name!r}")
        except InvalidArguments as error:
            yield str(error)
    try:
        in_order(_services)
    except (DuplicateName, DependencyCycle) as error:
        yield str(error)
    known = {one.get_name() for one in _services}
    for one in _services:
        for needed in one.depends_on:
            if needed not in known:
                yield f"Service {one.get_name()!r} depends on {needed!r}, which no app registers."
        if one.restart not in RESTARTS:
            yield f"Service {one.get_name()!r} has restart={one.restart!r}; allowed are {', '.join(RESTARTS)}."
        if one.execute is BackgroundService.execute:
            yield f"Service {one.get_name()!r} has no execute(self, stop)."
