"""What the site of articles draws, finds, keeps, and what its backups are worth."""

import io
import json
import shutil
import threading
import uuid
import zlib
from collections import Counter
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.serializers.base import DeserializationError
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify

from background.models import Job, Run
from background.testing import run_host
from project.examples.cms import background as cms
from project.examples.cms import backup, pictures, samples, search
from project.examples.cms.models import Article, Picture

# InnoDB's full-text index and the copies of the database see what is committed only.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_places(settings, tmp_path, transactional_db, django_db_blocker):
    """Files of this test alone, and an empty index: no model owns its table, so nothing else empties it."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.EXAMPLES_FOLDER = str(tmp_path / "examples")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM cms_search")
    with django_db_blocker.unblock():  # a backup opens databases that no test has announced
        yield


def write(title="Tides", body="The sea comes and goes.", published=True, **more):
    at = timezone.now() if published else None
    return Article.objects.create(title=title, slug=slugify(title), body=body, published_at=at, **more)


def upload(article, content, name="one.png"):
    return article.pictures.create(file=ContentFile(content, name))


def titles(words):
    return [article.title for article in search.find(words)]


# ------------------------------------------------------------------------------------------------------- thumbnails


def test_a_picture_gets_a_thumbnail_and_its_size_is_noted(drain):
    picture = upload(write(), samples.paint(900, 600, "teal"))
    cms.follow_up(picture.article)

    drain()

    picture.refresh_from_db()
    assert (picture.width, picture.height, picture.problem) == (900, 600, "")
    with picture.thumbnail.open() as file, pictures.Image.open(file) as small:
        assert (small.format, small.size) == ("JPEG", (320, 213))


def test_a_file_that_is_no_picture_is_told_of_once_and_the_others_get_their_thumbnails(drain):
    article = write()
    broken = upload(article, b"no picture", "broken.png")
    cut = upload(article, samples.paint(50, 50, "red")[:-40], "cut.png")
    gone = upload(article, b"", "gone.png")
    default_storage.delete(gone.file.name)
    good = upload(article, samples.paint(50, 50, "green"))
    cms.follow_up(article)

    runs = {tuple(run.args): run for run in drain() if run.task.endswith("make_thumbnail")}

    assert {args: (run.status, run.attempt) for args, run in runs.items()} == {
        (broken.pk,): ("failed", 1),
        (cut.pk,): ("failed", 1),
        (gone.pk,): ("failed", 1),
        (good.pk,): ("succeeded", 1),
    }
    problems = dict(Picture.objects.values_list("pk", "problem"))
    assert problems[broken.pk] == f"{broken.file.name}: no picture that can be opened (UnidentifiedImageError)"
    assert problems[cut.pk].startswith(f"{cut.file.name}: no picture that can be opened")
    assert problems[gone.pk] == f"{gone.file.name}: No such file or directory"
    assert problems[broken.pk] == runs[(broken.pk,)].errors[0]["message"]

    cms.follow_up(article)
    assert [run.task for run in drain()] == ["project.examples.cms.background.keep_index"]


def test_a_thumbnail_whose_maker_was_killed_before_noting_it_is_made_again_in_its_place(drain):
    picture = upload(write(), samples.paint(50, 50, "blue"))
    default_storage.save(f"cms/thumbnails/{picture.pk}.jpg", ContentFile(b"half of one"))

    pictures.make_thumbnail(picture)

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


def test_what_is_withdrawn_is_not_found_and_what_is_deleted_leaves_the_index():
    withdrawn, deleted = write("One", "walrus"), write("Two", "walrus")
    search.refresh()
    assert len(titles("walrus")) == 2

    Article.objects.filter(pk=withdrawn.pk).update(published_at=None)
    assert titles("walrus") == ["Two"]
    withdrawn.delete()
    deleted.delete()
    search.refresh()

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM cms_search")
        assert cursor.fetchone() == (0,)


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
        upload(write(f"Article {number}"), samples.paint(20 + number, 20, "red"), f"{number}.png")


def make(keep=7):
    return backup.make(keep, lambda *said: None)


def altered(path, name, change):
    """The same backup with one of its files changed."""
    other = path.with_suffix(".altered")
    with ZipFile(path) as before, ZipFile(other, "w") as after:
        for one in before.namelist():
            after.writestr(one, change(before.read(one)) if one == name else before.read(one))
    return other


@pytest.mark.slow
def test_a_backup_holds_rows_and_files_and_was_restored_before_it_counts(drain):
    fill()
    cms.back_up.enqueue()

    (run,) = drain()

    assert run.status == "succeeded", run.errors
    assert (run.result["files"], run.result["unreadable"], run.progress_message) == (3, [], "verified")
    path = backup.folder() / run.result["backup"]
    with ZipFile(path) as archive:
        rows = [json.loads(line) for line in archive.read("rows.jsonl").splitlines()]
        assert archive.read("media/cms/pictures/1.png") == samples.paint(21, 20, "red")
    assert run.result["rows"] == len(rows)
    titles = [row["fields"]["title"] for row in rows if row["model"] == "cms.article"]
    assert titles == ["Article 0", "Article 1", "Article 2"]
    assert path.parent.stat().st_mode & 0o077 == 0
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.slow
def test_a_backup_has_the_rows_of_one_moment_while_others_write():
    fill()
    over = threading.Event()

    def scribble():
        while not over.is_set():
            with transaction.atomic():  # a row of each, or none
                write(f"Meanwhile {uuid.uuid4()}").pictures.create(caption="meanwhile")
        connection.close()

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        report = make()
    finally:
        over.set()
        writer.join()

    with ZipFile(backup.folder() / report["backup"]) as archive:
        kinds = Counter(json.loads(line)["model"] for line in archive.read("rows.jsonl").splitlines())
    assert kinds["cms.article"] == kinds["cms.picture"] >= 3


@pytest.mark.slow
def test_a_moment_within_the_first_millisecond_of_a_second_makes_no_difference():
    fill()
    at = timezone.now()
    Run.objects.create(task="t", enqueued_at=at.replace(microsecond=7), run_after=at.replace(microsecond=0))

    assert make()["rows"]


@pytest.mark.slow
def test_a_backup_that_is_not_restored_as_it_was_is_not_trusted():
    fill()
    path = backup.folder() / make()["backup"]

    longer = altered(path, "rows.jsonl", lambda rows: rows.replace(b'"caption": ""', b'"caption": "", "size": 3'))
    with pytest.raises(DeserializationError):
        backup.verify(longer)
    other = altered(path, "rows.jsonl", lambda rows: rows.replace(b'"width": null', b'"width": "20"'))
    with pytest.raises(backup.BackupFailed, match=r"differs by 6 rows; the first: .*cms.picture"):
        backup.verify(other)
    with ZipFile(path) as archive:
        at = archive.getinfo("media/cms/pictures/1.png").header_offset + 80
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises((backup.BackupFailed, BadZipFile, zlib.error)):
        backup.verify(path)


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_told_of_once_and_the_rest_is_kept(caplog):
    fill()
    lost = Path(default_storage.path("cms/pictures/dangling.png"))
    lost.symlink_to("nowhere")

    report = make()

    assert (report["files"], report["unreadable"]) == (3, [str(lost)])
    assert caplog.text.count(f"not in the backup: {lost} (No such file or directory)") == 1


@pytest.mark.slow
def test_older_backups_are_deleted_only_after_a_new_one_was_verified(drain, monkeypatch):
    first, second = (make(keep=2)["backup"] for _ in range(2))
    with monkeypatch.context() as broken:
        broken.setattr(backup, "dump", lambda alias, path: path.write_text(f"{alias}\n" * ("copied" in alias)))
        with pytest.raises(DeserializationError):
            make(keep=1)
    assert sorted(one.name for one in backup.folder().glob("*.zip")) == [first, second]

    assert make(keep=1)["deleted"] == [first, second]


# -------------------------------------------------------------------------------------------------- host and admin


@pytest.mark.slow
def test_a_fresh_site_shows_articles_thumbnails_and_a_backup_by_itself(settings, monkeypatch, client, capfd):
    settings.EXAMPLES_SEED = True
    monkeypatch.setattr(cms.Newsroom, "pace", 0)
    settings.MEDIA_ROOT = str(settings.FOLDER / "media")  # which child processes know, as
    settings.EXAMPLES_FOLDER = str(settings.FOLDER / "examples")

    with run_host(cms.Newsroom) as host:
        host.wait_for(lambda: Run.objects.filter(task__endswith="back_up").finished().exists(), timeout=90)
        host.wait_for(lambda: Picture.objects.exclude(thumbnail="").count() == 6, timeout=60)
        host.wait_for(lambda: not Run.objects.open().filter(task__contains="cms").exists(), timeout=30)

    assert list(backup.folder().glob("*.zip"))
    (broken,) = Run.objects.failed()
    assert "no picture that can be opened" in broken.errors[0]["message"]
    assert "Traceback" not in capfd.readouterr().err  # the host tells of it; its child process does not, too
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
        "pictures-0-file": io.BytesIO(samples.paint(40, 40, "red")),
    }
    form["pictures-0-file"].name = "moon.png"

    assert admin_client.post(reverse("admin:cms_article_add"), form).status_code == 302
    drain()

    picture = Picture.objects.get()
    assert picture.thumbnail
    assert titles("moon") == ["Tides"]
    assert set(Run.objects.values_list("subject", flat=True)) == {f"cms.article:{picture.article_id}"}


def test_each_job_has_a_row_with_its_schedule():
    assert dict(Job.objects.filter(name__startswith="cms.").values_list("name", "schedule")) == {
        "cms.make_thumbnail": "",
        "cms.keep_index": "every 5m",
        "cms.back_up": "30 2 * * *",
    }
