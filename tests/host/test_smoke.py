import pytest
import background
from background.models import Host, Run, Service
from background.testing import run_host
from tests.app import background as tasks

pytestmark = pytest.mark.django_db(transaction=True)


class Ticker(background.PeriodicService):
    schedule = background.every(seconds=0.05)
    run_at_start = True
    def __init__(self): self.ticks = 0
    def tick(self, scope): self.ticks += 1


class ATicker(background.PeriodicService):
    schedule = background.every(seconds=0.05)
    def __init__(self): self.ticks = 0
    async def tick(self, scope): self.ticks += 1


def test_smoke():
    with run_host(Ticker, ATicker) as host:
        ids = [tasks.note.enqueue("x").id, tasks.anote.enqueue("y").id]
        host.wait_for(lambda: Run.objects.succeeded().count() == 2)
        host.wait_for(lambda: host.service("tests.Ticker").service.ticks > 5)
        host.wait_for(lambda: host.service("tests.ATicker").service.ticks > 5)
        host.wait_for(lambda: Service.objects.filter(name="tests.Ticker", state="running", iterations__gt=2).exists())
    assert host.exit_code == 0
    print(Host.objects.values(), Service.objects.values("name", "state", "error"))
