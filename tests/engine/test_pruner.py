"""The pruner waits a little after a start, prunes on one host at a time, and has the planner's statistics renewed."""

from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest

from background.dialects import dialect
from background.engine import pruner
from background.models import Run
from background.queue.enqueue import enqueue
from tests.app import background as tasks

pytestmark = pytest.mark.django_db


def test_it_prunes_on_one_host_and_renews_statistics(monkeypatch):
    renewed = []
    monkeypatch.setattr(type(dialect()), "renew_statistics", lambda self, model: renewed.append(model))
    long_ago = dialect().now() - timedelta(days=9999)
    Run.objects.filter(id=enqueue(tasks.note, ["a"]).id).update(status="succeeded", position=None, finished_at=long_ago)
    one, other = (pruner.Pruner(SimpleNamespace(id=uuid4(), name=name)) for name in ("one", "other"))

    assert one.step(None) == other.step(None) == 30.0 and renewed == []
    assert one.step(None) == pruner.INTERVAL
    assert not Run.objects.exists() and renewed == [Run]
    assert other.step(None) == pruner.INTERVAL and renewed == [Run]
