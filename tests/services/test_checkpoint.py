"""What a service finds again after a restart."""

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

import background
from background.engine.memory import DatabaseMemory
from background.exceptions import ServiceNotHosted
from background.models import Checkpoint
from background.testing import run_host

pytestmark = pytest.mark.django_db(transaction=True)


class Counts(background.PeriodicService):
    schedule = background.every(hours=1)
    run_at_start = True

    def __init__(self):
        self.seen = []

    def tick(self, scope):
        self.seen.append(self.checkpoint.get("number", 0))
        self.checkpoint.set(number=self.seen[-1] + 1)


class ACounts(Counts):
    async def tick(self, scope):
        number = await self.checkpoint.aget("number", 0)
        await self.checkpoint.aset(number=number + 1)
        self.seen.append(number)


class Plain(background.BackgroundService):
    def execute(self, stop):
        stop.wait()


@pytest.fixture
def checkpoint():
    service = Plain()
    service.memory = DatabaseMemory()
    return service.checkpoint


@pytest.mark.parametrize("service", [Counts, ACounts])
def test_it_outlives_the_host(service):
    for number in range(2):
        with run_host(service) as host:
            one = host.service(service.get_name()).service
            host.wait_for(lambda one=one: one.seen)
            assert one.seen == [number]
    assert Checkpoint.objects.get(name=service.get_name()).data == {"number": 2}


def test_what_was_never_set_is_the_default(checkpoint):
    assert checkpoint.get("nothing") is None
    assert checkpoint.get("nothing", 5) == 5


def test_values_are_kept_beside_each_other_and_overwritten_by_name(checkpoint):
    checkpoint.set(a=1, b=[1, {"c": None}])
    checkpoint.set(a="ä")
    assert (checkpoint.get("a"), checkpoint.get("b")) == ("ä", [1, {"c": None}])


def test_a_value_may_be_none(checkpoint):
    checkpoint.set(a=None)
    assert checkpoint.get("a", 5) is None


def test_aget_and_aset_do_the_same(checkpoint):
    async def main():
        await checkpoint.aset(a=1)
        return await checkpoint.aget("a"), await checkpoint.aget("b", 2)

    assert async_to_sync(main)() == (1, 2)


def test_a_write_joins_the_transaction_of_its_caller(checkpoint):
    checkpoint.set(a=1)
    with pytest.raises(LookupError), transaction.atomic():
        checkpoint.set(a=2, b=2)
        assert checkpoint.get("a") == 2
        raise LookupError
    assert (checkpoint.get("a"), checkpoint.get("b")) == (1, None)


def test_the_first_write_too_is_undone_with_the_transaction_of_its_caller(checkpoint):
    with pytest.raises(LookupError), transaction.atomic():
        checkpoint.set(a=2)
        raise LookupError
    assert not Checkpoint.objects.exists()


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", float("nan"), float("inf"), "nul \0", "half \ud800", [{"deep": object()}]]
)
def test_what_is_not_json_gets_a_clear_error_and_nothing_is_written(checkpoint, value):
    with pytest.raises(TypeError, match=r"The checkpoint 'place' of tests\.Plain "):
        checkpoint.set(good=1, place=value)
    assert not Checkpoint.objects.exists()


def test_two_services_do_not_see_each_others_values(checkpoint):
    other = Counts()
    other.memory = DatabaseMemory()
    checkpoint.set(number=5)
    assert other.checkpoint.get("number") is None


def test_there_is_none_outside_a_host():
    with pytest.raises(ServiceNotHosted, match=r"tests\.Plain has a checkpoint only while a host runs it"):
        Plain().checkpoint  # noqa: B018
