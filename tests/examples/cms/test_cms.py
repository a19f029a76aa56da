"""What the site of articles draws, finds, keeps, and what its backups are worth."""

import gzip
import io
import json
import shutil
import sqlite3
import tarfile
import threading
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify

from background.models import Job, Run
from background.testing import run_host
from project.examples.cms import background as cms
from project.examples.cms import backup, databases, pictures, samples, search
from project.examples.cms.models import Article, Backup, Picture

# InnoDB's full-text index and the copies of the database see what is committed only.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_places(settings, tmp_path, transactional_db):
    """Files of this test alone, and an empty index: no model owns its table, so nothing else empties it."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.EXAMPLES_FOLDER = str(tmp_path / "examples")
    search.rebuild()


def write(title="Tides", body="The sea comes and goes.", published=True, **more):
    at = timezone.now() if published else None
    return Article.objects.create(title=title, slug=slugify(title), body=body, published_at=at, **more)


def upload(article, content, name="one.png"):
    return article.pictures.create(file=ContentFile(content, name))


def titles(words):
    return [article.title for article in search.find(words)]


# ------------------------------------------------------------------------------------------------------- thumbnails


def test_a_picture_gets_a_thumbnail_and_its_size_is_noted(drain):
    picture = upload(write(), samples.paint(900, 600, (10, 120, 200)))
    cms.follow_up(picture.article)

    drain()

    picture.refresh_from_db()
    assert (picture.width, picture.height, picture.problem) == (900, 600, "")
    with picture.thumbnail.open() as file, pictures.Image.open(file) as small:
        assert (small.format, small.size) == ("JPEG", (320, 213))


def test_a_file_that_is_no_picture_is_told_of_once_and_the_others_get_their_thumbnails(drain):
    article = write()
    broken = upload(article, b"no picture", "broken.png")
    cut = upload(article, samples.paint(50, 50, (200, 0, 0))[:-40], "cut.png")
    gone = upload(article, b"", "gone.png")
    default_storage.delete(gone.file.name)
    good = upload(article, samples.paint(50, 50, (0, 200, 0)))
    cms.follow_up(article)

    runs = {tuple(run.args): run for run in drain() if run.task.endswith("make_thumbnail")}

    assert {args: (run.status, run.attempt) for args, run in runs.items()} == {
        (broken.pk,): ("failed", 1),
        (cut.pk,): ("failed", 1),
        (gone.pk,): ("failed", 1),
        (good.pk,): ("succeeded", 1),
    }
    problems = dict(Picture.objects.values_list("pk", "problem"))
    assert "broken.png is no picture that can be opened" in problems[broken.pk]
    assert "cut.png is no picture that can be opened" in problems[cut.pk]
    assert problems[gone.pk] == f"{gone.file.name}: No such file or directory"
    assert problems[broken.pk] == runs[(broken.pk,)].errors[0]["message"]

    cms.follow_up(article)
    assert [run.task for run in drain()] == ["project.examples.cms.background.keep_index"]


def test_without_pillow_runs_say_what_to_install_and_the_pictures_wait_for_it(drain, monkeypatch):
    picture = upload(write(), samples.paint(50, 50, (0, 0, 200)))
    with monkeypatch.context() as without:
        without.setattr(pictures, "Image", None)
        cms.make_thumbnail.enqueue(picture.pk)
        (run,) = drain()
        assert run.status == "failed"
        assert "pip install Pillow" in run.errors[0]["message"]

    cms.make_missing_thumbnails.enqueue()
    drain()

    picture.refresh_from_db()
    assert picture.thumbnail.name == f"cms/thumbnails/{picture.pk}.jpg"
    assert cms.make_missing_thumbnails.call() == 0


def test_a_thumbnail_whose_maker_was_killed_before_noting_it_is_made_again_in_its_place(drain):
    picture = upload(write(), samples.paint(50, 50, (0, 0, 200)))
    default_storage.save(f"cms/thumbnails/{picture.pk}.jpg", ContentFile(b"half of one"))

    pictures.make(picture)

    assert default_storage.listdir("cms/thumbnails")[1] == [f"{picture.pk}.jpg"]
    with default_storage.open(picture.thumbnail.name) as file, pictures.Image.open(file) as small:
        assert small.size == (50, 50)


# ------------------------------------------------------------------------------------------------------------ search


def test_published_articles_are_found_by_their_words_the_title_counts_more(drain):
    write("Bread", "Flour, water, salt, and a stove. A kitchen smells of it, and so does the whole street.")
    write("Kitchen", "Where pots are.")
    write("Draft", "A kitchen nobody may see.", published=False)
    cms.keep_index.enqueue()
    drain()

    if connection.vendor == "mysql":  # whose index has no weights
        assert set(titles("kitchen")) == {"Kitchen", "Bread"}
    else:
        assert titles("kitchen") == ["Kitchen", "Bread"]
    assert "Bread" in titles("KITCHEN street")
    assert titles("nothing") == titles("") == []


@pytest.mark.parametrize("typed", ['" OR *', "NEAR(a b", "title:kitchen'; --", "+-()~*<>@", "\x00kitchen\x00", "& | !"])
def test_whatever_is_typed_is_words(client, typed):
    write("Kitchen")
    search.refresh()

    page = client.get(reverse("cms:articles"), {"q": typed})

    assert page.status_code == 200


def test_a_changed_article_is_found_by_its_new_words_only():
    article = write("Tides", "moon")
    search.refresh()
    article.body = "sun"
    article.save()
    assert titles("moon") == ["Tides"]  # not yet indexed

    assert search.refresh() == 1

    assert (titles("moon"), titles("sun")) == ([], ["Tides"])
    assert search.refresh() == 0


def test_what_is_withdrawn_or_deleted_leaves_the_index():
    withdrawn, deleted = write("One", "walrus"), write("Two", "walrus")
    search.refresh()
    assert len(titles("walrus")) == 2

    withdrawn.published_at = None
    withdrawn.save()
    deleted.delete()
    search.refresh()

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM cms_search")
        assert cursor.fetchone() == (0,)


def test_an_index_that_was_emptied_is_filled_anew(drain):
    write("Tides")
    search.refresh()
    cms.rebuild_index.enqueue()

    rebuilt, kept = drain()

    assert (rebuilt.status, kept.status, kept.result) == ("succeeded", "succeeded", 1)
    assert titles("tides") == ["Tides"]


def test_readers_find_articles_and_see_no_drafts(client):
    shown, hidden = write("Tides & <b>currents</b>"), write("Draft", published=False)
    search.refresh()

    found = client.get(reverse("cms:articles"), {"q": "currents"}).content.decode()

    assert "Tides &amp; &lt;b&gt;currents&lt;/b&gt;" in found
    assert client.get(shown.get_absolute_url()).status_code == 200
    assert client.get(hidden.get_absolute_url()).status_code == 404


# ----------------------------------------------------------------------------------------------------------- backups


def fill():
    for number in range(3):
        upload(write(f"Article {number}"), samples.paint(20 + number, 20, (9, 9, 9)), f"{number}.png")


def restored_titles(place):
    """What an operator finds who restores the backup by hand."""
    kind = json.loads((place / "manifest.json").read_text())["database"]["file"]
    if kind == "database.sqlite3":
        return sorted(title for (title,) in sqlite3.connect(place / kind).execute("SELECT title FROM cms_article"))
    if kind == "database.pgdump":
        done = databases.subprocess.run(
            ["pg_restore", "--data-only", "--table=cms_article", "--file=-", place / kind],
            capture_output=True,
            text=True,
        )
        return sorted(line.split("\t")[2] for line in done.stdout.splitlines() if "article-" in line)
    rows = json.loads(gzip.decompress((place / kind).read_bytes()))
    return sorted(row["fields"]["title"] for row in rows if row["model"] == "cms.article")


@pytest.mark.slow
def test_a_backup_holds_database_and_files_and_was_restored_before_it_counts(drain):
    fill()
    cms.back_up.enqueue()

    (run,) = drain()

    assert run.status == "succeeded", run.errors
    kept = Backup.objects.get()
    assert run.result["backup"] == kept.name
    assert run.result["database"]["how"] == databases.kind().how
    assert run.result["media"] == {"files": 3, "unreadable": []}
    assert (run.progress_done, run.progress_message) == (4, "verified")
    place = backup.folder() / kept.name
    assert restored_titles(place) == ["Article 0", "Article 1", "Article 2"]
    with tarfile.open(place / "media.tar") as archive:
        assert archive.extractfile("cms/pictures/1.png").read() == samples.paint(21, 20, (9, 9, 9))
    assert place.parent.stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [databases.kind, databases.Fixture], ids=["native", "fixture"])
def test_a_copy_has_the_rows_of_one_moment_while_others_write(kind, tmp_path):
    fill()
    over = threading.Event()

    def scribble():
        number = 0
        while not over.is_set():
            write(f"Meanwhile {number}")
            number += 1
        connection.close()

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        copier = kind()
        counts = copier.write(tmp_path / copier.file_name)
    finally:
        over.set()
        writer.join()

    assert databases.compare(counts, copier.restore(tmp_path / copier.file_name)) >= 6
    assert counts["cms_picture"] == 3
    assert [file.name for file in tmp_path.glob("database*")] == [copier.file_name]
    assert not list(tmp_path.glob("scratch*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [databases.kind, databases.Fixture], ids=["native", "fixture"])
def test_a_damaged_copy_is_not_trusted(kind, tmp_path):
    fill()
    copier = kind()
    path = tmp_path / copier.file_name
    copier.write(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])

    with pytest.raises(databases.BackupFailed, match=path.name):
        copier.restore(path)


def test_a_restored_database_that_differs_is_named_by_table():
    with pytest.raises(databases.BackupFailed) as told:
        databases.compare({"a": 3, "b": 2, "c": 1}, {"a": 3, "b": 1, "d": 1})

    assert str(told.value) == (
        "The restored database differs: b has 1 rows instead of 2, c has no rows instead of 1, d has 1 rows instead of none."
    )


def test_files_that_are_not_what_was_uploaded_are_named(tmp_path):
    fill()
    path = tmp_path / "media.tar"
    sums, _ = backup.pack(default_storage, path)
    backup.check(path, sums)
    with tarfile.open(path) as archive:
        at = archive.getmember("cms/pictures/1.png").offset_data
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)

    with pytest.raises(databases.BackupFailed, match=r"cms/pictures/1\.png \(1 in all\)"):
        backup.check(path, sums)


def test_a_file_that_cannot_be_read_is_told_of_and_the_rest_is_kept(tmp_path, caplog):
    fill()
    Path(default_storage.path("cms/pictures/dangling.png")).symlink_to("nowhere")

    sums, unreadable = backup.pack(default_storage, tmp_path / "media.tar")

    assert unreadable == ["cms/pictures/dangling.png"]
    assert sorted(sums) == [f"cms/pictures/{number}.png" for number in range(3)]
    assert caplog.text.count("not in the backup: cms/pictures/dangling.png (No such file or directory)") == 1


@pytest.mark.slow
def test_the_newest_backups_are_kept_and_halves_of_killed_runs_removed(settings):
    half = backup.folder() / "2020-01-01T00-00-00Z.part"
    half.mkdir(parents=True)

    reports = [backup.make(2, lambda *said: None) for _ in range(3)]

    kept = [report["backup"] for report in reports[1:]]
    assert reports[2]["deleted"] == [reports[0]["backup"]]
    assert sorted(one.name for one in backup.folder().iterdir()) == kept
    assert sorted(Backup.objects.values_list("name", flat=True)) == kept


@pytest.mark.slow
def test_a_backup_that_fails_deletes_no_older_one_and_its_run_says_why(drain, monkeypatch):
    backup.make(1, lambda *said: None)
    monkeypatch.setattr(
        backup, "pack", lambda storage, path: (tarfile.open(path, "w").close(), {"lost.png": "0"})[1:] * 2
    )
    cms.back_up.enqueue(keep=1)

    (run,) = drain()

    assert (run.status, run.attempt) == ("failed", 1)
    assert "media.tar does not hold what was uploaded: lost.png" in run.errors[0]["message"]
    assert Backup.objects.count() == 1


# -------------------------------------------------------------------------------------------------- host and admin


@pytest.mark.slow
def test_a_fresh_site_shows_articles_thumbnails_and_a_backup_by_itself(settings, monkeypatch, client):
    settings.EXAMPLES_SEED = True
    monkeypatch.setattr(cms.Newsroom, "pace", 0)
    settings.MEDIA_ROOT = str(settings.FOLDER / "media")  # which child processes know

    with run_host(cms.Newsroom) as host:
        host.wait_for(lambda: Run.objects.filter(task__endswith="back_up").finished().exists(), timeout=90)
        host.wait_for(lambda: Picture.objects.exclude(thumbnail="").count() == 7, timeout=60)
        host.wait_for(lambda: not Run.objects.open().filter(task__contains="cms").exists(), timeout=30)

    assert Backup.objects.exists()
    (broken,) = Run.objects.failed()
    assert "scan.png is no picture that can be opened" in broken.errors[0]["message"]
    assert b"The lighthouse keeper" in client.get(reverse("cms:articles"), {"q": "lamp"}).content

    Article.objects.all().delete()
    with run_host(cms.Newsroom) as host:
        host.wait_for(lambda: host.service("cms.Newsroom").state == "stopped")
    assert not Article.objects.exists()  # deleted articles do not come back
    shutil.rmtree(settings.FOLDER / "media")


def test_an_article_saved_in_the_admin_is_indexed_and_gets_its_thumbnails(admin_client, drain):
    form = {
        "title": "Tides",
        "slug": "tides",
        "body": "moon",
        "published_at_0": "2026-01-01",
        "published_at_1": "12:00",
        "pictures-TOTAL_FORMS": "1",
        "pictures-INITIAL_FORMS": "0",
        "pictures-0-file": io.BytesIO(samples.paint(40, 40, (1, 2, 3))),
    }
    form["pictures-0-file"].name = "moon.png"

    assert admin_client.post(reverse("admin:cms_article_add"), form).status_code == 302
    drain()

    picture = Picture.objects.get()
    assert picture.thumbnail
    assert titles("moon") == ["Tides"]
    assert set(Run.objects.values_list("subject", flat=True)) == {f"cms.article:{picture.article_id}"}
    assert admin_client.get(reverse("admin:cms_backup_changelist")).status_code == 200
    assert admin_client.get(reverse("admin:cms_backup_add")).status_code == 403


def test_each_job_has_a_row_with_its_schedule():
    assert dict(Job.objects.filter(name__startswith="cms.").values_list("name", "schedule")) == {
        "cms.make_thumbnail": "",
        "cms.make_missing_thumbnails": "20 * * * *",
        "cms.keep_index": "every 5m",
        "cms.rebuild_index": "40 3 * * 0",
        "cms.back_up": "30 2 * * *",
    }
