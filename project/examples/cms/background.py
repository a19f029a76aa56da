"""Declares what runs in the background: thumbnails, the index, backups, and who fills a fresh site. Found by its name."""

import logging
from typing import Any

from django.conf import settings
from django.db import transaction

import background
from background import every
from project.examples.cms import backup, databases, pictures, samples, search
from project.examples.cms.models import Article, Picture

logger = logging.getLogger(__name__)


def follow_up(article: Article) -> None:
    """Set in motion what a changed article asks for. In the caller's transaction: no commit, no runs."""
    with background.about(article):
        keep_index.enqueue()
        for picture in article.pictures.filter(thumbnail="", problem=""):
            make_thumbnail.enqueue(picture.pk)


@background.job(
    executor="process",
    timeout=60,
    max_attempts=3,
    discard_on=(pictures.Unreadable, pictures.PillowMissing),
    retain=7,
)
def make_thumbnail(picture_id: int) -> str:
    """Make the thumbnail of one picture, in a process that may crash or be killed without harm."""
    picture = Picture.objects.filter(pk=picture_id).first()
    if picture is None:
        return "the picture is gone"
    pictures.make(picture)
    logger.info("%s: %d × %d pixels", picture.thumbnail.name, picture.width, picture.height)
    return picture.thumbnail.name


@background.job("20 * * * *")
def make_missing_thumbnails(also_broken: bool = False) -> int:
    """Enqueue thumbnails that are missing: of pictures that came in another way, or before Pillow was installed."""
    waiting = Picture.objects.filter(thumbnail="")
    ids = list((waiting if also_broken else waiting.filter(problem="")).values_list("pk", flat=True)[:1000])
    if ids:
        pictures.require_pillow()
        background.enqueue_many([(make_thumbnail, [id], {}) for id in ids])
    return len(ids)


@background.job(every(minutes=5), concurrency=1, takes_context=True, retain="100 runs")
def keep_index(context: background.RunContext) -> int:
    """Bring the full-text index up to date; enqueued by each change, and now and then for what came in another way."""
    done = 0
    while changed := search.refresh():
        done += changed
        context.stop.raise_if_requested()
    logger.info("%d articles indexed", done)
    return done


@background.job("40 3 * * sun")
def rebuild_index() -> None:
    """Fill the full-text index anew, so that no mistake in it lives longer than a week."""
    with transaction.atomic():
        search.rebuild()
        keep_index.enqueue()


# In a process: it may take memory, and it can be killed.
@background.job(
    "30 2 * * *",
    executor="process",
    timeout=2 * 3600,
    concurrency=1,
    takes_context=True,
    discard_on=(databases.BackupFailed,),
    retain=90,
)
def back_up(context: background.RunContext, keep: int = 7) -> dict[str, Any]:
    """Copy database and uploaded files, restore both for a look, compare, and keep the newest seven such backups."""
    return backup.make(keep, context.progress)


@background.register
class Newsroom(background.BackgroundService):
    """Publish the sample articles on a fresh site, then have a backup made, and end."""

    singleton = True
    pace = 2.0  # seconds between two articles

    def execute(self, stop: background.StopToken) -> None:
        if not settings.EXAMPLES_SEED or self.checkpoint.get("done"):
            return
        for number in range(len(samples.SAMPLES)):
            with self.scope(), transaction.atomic():
                follow_up(samples.publish(number))
            if stop.wait(self.pace):
                return
        with self.scope(), transaction.atomic():
            back_up.enqueue()
            self.checkpoint.set(done=True)
