"""Declares what runs in the background: thumbnails, the index, backups, and who fills a fresh site. Found by its name."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import background
from background import every
from project.examples.cms import backup, pictures, samples, search
from project.examples.cms.models import Article, Picture
from project.examples.seeding import Seed

logger = logging.getLogger(__name__)


def follow_up(article: Article) -> None:
    """Set in motion what a changed article asks for. In the caller's transaction: no commit, no runs."""
    with background.about(article):
        keep_index.enqueue()
        for picture in article.pictures.filter(thumbnail="", problem=""):
            make_thumbnail.enqueue(picture.pk)


@background.job(executor="process", timeout=60, max_attempts=3, discard_on=(pictures.Unreadable,), retain=7)
def make_thumbnail(picture_id: int) -> str:
    """Make the thumbnail of one picture, in a process that may crash or be killed without harm."""
    picture = Picture.objects.filter(pk=picture_id).first()
    if picture is None:
        return "the picture is gone"
    try:
        pictures.make_thumbnail(picture)
    except pictures.Unreadable as error:
        Picture.objects.filter(pk=picture.pk).update(problem=str(error)[:200])
        raise
    logger.info("%s: %d × %d pixels", picture.thumbnail.name, picture.width, picture.height)
    return picture.thumbnail.name


@background.job(every(minutes=5), concurrency=1, takes_context=True, retain="100 runs")
def keep_index(context: background.RunContext) -> int:
    """Bring the full-text index up to date; enqueued by each change, and now and then for what came in another way."""
    done = 0
    while changed := search.refresh():
        done += changed
        context.stop.raise_if_requested()
    logger.info("articles indexed: %d", done)
    return done


@background.job("30 2 * * *", executor="process", timeout=2 * 3600, concurrency=1, takes_context=True, retain=90)
def back_up(context: background.RunContext, keep: int = 7) -> dict[str, Any]:
    """Copy database and uploads, restore the copy into an empty database, compare, and keep the newest seven of them."""
    return backup.make(keep, context.progress)


@background.register
class Newsroom(Seed):
    """Publish the sample articles on a fresh site, then have a backup made, and end."""

    def steps(self) -> list[Callable[[], object]]:
        articles = [partial(self.publish, number) for number in range(len(samples.SAMPLES))]
        return [*articles, back_up.enqueue]

    def publish(self, number: int) -> None:
        follow_up(samples.publish(number))
