"""Maintenance: what is adopted, and nothing else, is deleted and kept in order; files are looked at before they are deleted."""

import os
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.utils import timezone

from background import registry
from background.contrib import maintenance
from background.contrib.maintenance import databases, rows, uploads
from background.jobs import tasks
from background.models import Artifact, Run
from background.stopping import StopToken
from background.testing import drain
from project.examples.cms.models import Article, Picture

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_declarations(monkeypatch):
    monkeypatch.setattr(tasks, "DECLARED", declared := [])
    monkeypatch.setattr(registry, "DECLARED", declared)
    return declared


def done(part, **kwargs):
    """Adopt a part, run it once and return the run."""
    part.task.enqueue(**kwargs)
    (run,) = drain()
    return run


# --------------------------------------------------------------------------------------------------------------- adopting


def test_nothing_is_a_job_that_the_site_does_not_adopt(own_declarations):
    assert own_declarations == []

    maintenance.clear_sessions("0 4 * * *")
    maintenance.cull_cache("30 4 * * *", alias="pages", name="cull pages", max_attempts=2)
    maintenance.orphaned_uploads(queue="night")

    found = registry.jobs()
    assert {name: str(one.schedule or "") for name, one in found.items()} == {
        "maintenance.clear_sessions": "0 4 * * *", "cull pages": "30 4 * * *", "maintenance.orphaned_uploads": "",
    }  # fmt: skip
    assert found["cull pages"].kwargs == {"alias": "pages"} and found["cull pages"].task.max_attempts == 2
    assert found["maintenance.orphaned_uploads"].task.queue_name == "night"
    assert {one.task.concurrency for one in found.values()} == {1}
    assert list(registry.problems()) == []


def test_an_unknown_argument_is_refused_where_it_is_adopted():
    with pytest.raises(ValueError, match="no policy 'dayz'"):
        maintenance.orphaned_uploads("@daily", dayz=3)


# ------------------------------------------------------------------------------------------------------------------- rows


def test_expired_sessions_are_deleted_in_portions_and_others_stay(monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 2)
    for number in range(5):
        Session.objects.create(session_key=f"old{number}", expire_date=timezone.now() - timedelta(days=1))
    Session.objects.create(session_key="new", expire_date=timezone.now() + timedelta(days=1))
    run = done(maintenance.clear_sessions)
    assert (run.status, run.result, run.progress_done) == ("succeeded", 5, 5)
    assert [one.session_key for one in Session.objects.all()] == ["new"]


def test_sessions_of_another_engine_are_cleared_by_its_own_way(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    assert done(maintenance.clear_sessions).status == "succeeded"


@pytest.fixture
def pages(settings, transactional_db):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "pages": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "tests_pages"},
    }
    call_command("createcachetable", verbosity=0)
    yield caches["pages"]
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE tests_pages")


def test_expired_entries_of_a_database_cache_are_deleted_and_others_stay(pages, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 2)
    for number in range(5):
        pages.set(f"old{number}", "x", timeout=100)
    past = connection.ops.adapt_datetimefield_value(timezone.now().replace(microsecond=0) - timedelta(days=1))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tests_pages SET expires = %s", [past])
    pages.set("new", "x", timeout=100)
    pages.set("for ever", "x", timeout=None)
    run = done(maintenance.cull_cache, alias="pages")
    assert (run.status, run.result) == ("succeeded", 5), run.errors
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM tests_pages")
        assert cursor.fetchone()[0] == 2
    assert pages.get("new") == pages.get("for ever") == "x"


def test_a_cache_that_looks_after_itself_is_told_of():
    run = done(maintenance.cull_cache)
    assert run.status == "failed" and "only DatabaseCache keeps what has expired" in run.error_summary


def test_history_is_pruned_by_the_retention_that_there_is(settings, monkeypatch):
    settings.BACKGROUND = {"RETENTION": {"succeeded": 1}}
    monkeypatch.setattr(rows, "BATCH", 2)
    for _ in range(5):
        done(maintenance.clear_sessions)
    Run.objects.update(finished_at=timezone.now() - timedelta(days=2))
    kept = done(maintenance.clear_sessions)
    run = done(maintenance.prune_history)
    assert (run.status, run.result) == ("succeeded", 5)
    assert set(Run.objects.values_list("id", flat=True)) == {kept.id, run.id}


# -------------------------------------------------------------------------------------------------------------- databases


@pytest.mark.django_db(transaction=True)
def test_the_statistics_of_all_tables_are_renewed():
    Article.objects.bulk_create(Article(slug=f"a{n}", title="x", body="x") for n in range(50))
    run = done(maintenance.optimize_database)
    assert run.status == "succeeded", run.errors
    assert run.result["tables"] > 20 and run.result.get("problems", 0) == 0
    query = {
        "sqlite": "SELECT COUNT(*) FROM sqlite_stat1 WHERE tbl = 'cms_article'",
        "postgresql": "SELECT COUNT(*) FROM pg_statistic WHERE starelid = 'cms_article'::regclass",
        "mysql": "SELECT n_rows >= 50 FROM mysql.innodb_table_stats WHERE table_name = 'cms_article' "
        "AND database_name = DATABASE()",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_a_table_that_somebody_has_locked_is_left_out():
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL leaves out locked tables")
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE cms_article IN ACCESS EXCLUSIVE MODE")
        assert done(maintenance.optimize_database).status == "succeeded"
    other.close()


@pytest.mark.parametrize("full", [False, True])
def test_sqlite_gives_back_what_was_deleted(tmp_path, full):
    path = tmp_path / "scratch.sqlite3"
    scratch = DatabaseWrapper({**connection.settings_dict, "NAME": str(path), "OPTIONS": {}, "ATOMIC_REQUESTS": False})
    with scratch.cursor() as cursor:
        cursor.execute(f"PRAGMA auto_vacuum = {'NONE' if full else 'INCREMENTAL'}")
        cursor.execute("CREATE TABLE t (x BLOB)")
        cursor.execute("BEGIN")
        cursor.executemany("INSERT INTO t VALUES (zeroblob(4000))", [()] * 3000)
        cursor.execute("COMMIT")
        cursor.execute("DELETE FROM t")
    before = path.stat().st_size
    found = databases.optimize(SimpleNamespace(stop=StopToken()), scratch, full)
    scratch.close()
    assert found["bytes_freed"] > 10_000_000 and path.stat().st_size < before / 10


def test_within_a_transaction_no_database_is_vacuumed():
    run = done(maintenance.optimize_database)  # the test's own
    assert run.status == "failed" and "do not set atomic" in run.error_summary


# ---------------------------------------------------------------------------------------------------------------- uploads


class Place:
    """The files of a site under a folder of the test's own."""

    def __init__(self, root):
        self.root = Path(root)

    def write(self, name, days=30, size=10):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - days * 86400,) * 2)
        return name

    def name(self, name, **how):
        article = Article.objects.get_or_create(slug="a", defaults={"title": "a", "body": "a"})[0]
        return Picture.objects.create(article=article, file=self.write(name, **how))

    def names(self):
        found = (path for path in self.root.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.root)) for path in found if path.name != "orphans.txt")


@pytest.fixture
def place(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return Place(tmp_path / "media")


@pytest.fixture
def files(place):
    """Four files that rows name, two orphans, one that is new, and one where no field uploads to."""
    for number in range(4):
        place.name(f"cms/pictures/{number}.png")
    place.write("cms/pictures/orphan.png", size=700)
    place.write("cms/thumbnails/2026/orphan.jpg", size=300)
    place.write("cms/pictures/new.png", days=1)
    place.write("elsewhere/logo.png")
    return place


ORPHANS = ["cms/pictures/orphan.png", "cms/thumbnails/2026/orphan.jpg"]


def listed(run):
    with run.artifacts.get().file.open() as file:
        return sorted(file.read().decode().splitlines())


def test_at_first_orphans_are_only_told_of(files):
    before = files.names()
    run = done(maintenance.orphaned_uploads)
    assert run.status == "succeeded", run.errors
    assert {"cms/pictures", "cms/thumbnails"} <= set(run.result.pop("folders"))
    assert run.result == {
        "files": 7, "orphans": 2, "bytes": 1000, "young": 1, "unreadable": 0, "deleted": 0, "dry_run": True,
    }  # fmt: skip
    assert listed(run) == ORPHANS
    assert [name for name in files.names() if not name.startswith("background")] == before


def test_when_asked_for_orphans_are_deleted_and_nothing_else(files):
    before = set(files.names())
    run = done(maintenance.orphaned_uploads, delete=True)
    assert (run.result["deleted"], run.result["dry_run"]) == (2, False)
    assert before - set(files.names()) == set(ORPHANS)
    run = done(maintenance.orphaned_uploads, delete=True)  # the list of the run before is a file that a row names
    assert (run.result["orphans"], run.result["deleted"]) == (0, 0)
    with Artifact.objects.get().file.open() as file:
        assert file.read()


def test_links_are_neither_followed_nor_deleted(files, tmp_path):
    outside = tmp_path / "outside"
    Place(outside).write("cms/precious.txt")
    (files.root / "cms/pictures/away").symlink_to(outside, target_is_directory=True)
    (files.root / "cms/pictures/link.txt").symlink_to(outside / "cms/precious.txt")
    (files.root / "cms/pictures/nowhere.txt").symlink_to(outside / "missing")
    run = done(maintenance.orphaned_uploads, delete=True)
    assert (run.result["files"], run.result["deleted"], run.result["unreadable"]) == (7, 2, 0)
    assert (outside / "cms/precious.txt").exists() and (files.root / "cms/pictures/link.txt").is_symlink()
    (files.root / "linked").symlink_to(outside, target_is_directory=True)
    run = done(maintenance.orphaned_uploads, delete=True, folders=["linked", "..", "../outside"], most=1)
    assert run.result["files"] == 0 and (outside / "cms/precious.txt").exists()


def test_a_root_that_is_a_link_itself_is_a_root(files, settings, tmp_path):
    (tmp_path / "current").symlink_to(files.root, target_is_directory=True)
    settings.MEDIA_ROOT = str(tmp_path / "current")
    assert done(maintenance.orphaned_uploads).result["orphans"] == 2


def test_where_most_files_would_go_none_does(files):
    Picture.objects.all().delete()
    before = files.names()
    run = done(maintenance.orphaned_uploads, delete=True)
    assert run.status == "failed" and "6 of 7 files are named by no row" in run.error_summary
    assert set(before) <= set(files.names()) and len(listed(run)) == 6


def test_a_file_that_a_row_names_meanwhile_stays(files, monkeypatch):
    monkeypatch.setattr(uploads, "named", lambda context: set())  # as it was before the rows came
    run = done(maintenance.orphaned_uploads, delete=True, most=1)
    assert (run.result["orphans"], run.result["deleted"]) == (6, 2)
    assert not set(ORPHANS) & set(files.names())


def test_names_that_are_none_are_told_of_and_left_alone(files, caplog):
    root = os.fsencode(files.root / "cms/pictures")
    for name in (b"two\nlines.png", b"\xff\xfe.png", "bo\u0308se.png".encode()):
        Path(os.fsdecode(root + b"/" + name)).write_bytes(b"x")
        os.utime(root + b"/" + name, (0, 0))
    Picture.objects.create(
        article=Article.objects.get(), file="cms/pictures/b\u00f6se.png"
    )  # as another system wrote it
    files.write("lines.png")
    run = done(maintenance.orphaned_uploads, delete=True, folders=[""])
    assert (run.result["unreadable"], run.result["deleted"]) == (2, 4)
    assert (files.root / "cms/pictures/bo\u0308se.png").exists() and os.path.exists(root + b"/\xff\xfe.png")
    assert caplog.text.count("is no name that is understood") == 2


def test_a_file_that_cannot_be_looked_at_is_told_of_and_the_rest_goes_on(files, monkeypatch, caplog):
    look = FileSystemStorage.get_modified_time

    def forbid(storage, name):
        if name.endswith("forbidden.png"):
            raise PermissionError(13, "Permission denied", name)
        return look(storage, name)

    monkeypatch.setattr(FileSystemStorage, "get_modified_time", forbid)  # root may look at everything
    files.write("cms/pictures/forbidden.png")
    run = done(maintenance.orphaned_uploads)
    assert (run.result["orphans"], run.result["unreadable"]) == (2, 1)
    assert "forbidden.png cannot be judged" in caplog.text


def test_folders_are_those_that_fields_upload_to_as_far_as_they_are_known():
    found = uploads.folders_of(default_storage)
    assert {"cms/pictures", "cms/thumbnails"} <= set(found)
    assert not any("%" in name for name in found)
    assert uploads.outermost(["a", "a/b", "ab", "c/d"]) == ["a", "ab", "c/d"]
    assert uploads.outermost(["", "a"]) == [""]


def test_a_storage_to_which_no_field_uploads_asks_for_folders(settings):
    run = done(maintenance.orphaned_uploads, storage="staticfiles")
    assert run.status == "failed" and "say folders=" in run.error_summary


def test_a_file_saved_by_django_is_none(place):
    article = Article.objects.create(slug="a", title="a", body="a")
    article.pictures.create(file=ContentFile(b"x", "one.png"))
    with transaction.atomic():
        run = done(maintenance.orphaned_uploads, days=0)
    assert (run.result["files"], run.result["orphans"]) == (1, 0)
