"""Owns the articles with which a fresh site begins, and the pictures in them, painted without any library."""

import struct
import zlib

from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone

from project.examples.cms.models import Article

SAMPLES = [
    ("lighthouse", "The lighthouse keeper's log", "Every night the lamp is lit at dusk.\n\nShips count on it."),
    (
        "harbour",
        "A harbour in winter",
        "Ice along the quay, and the ferries sail on.\n\nGulls wait for the fishing boats.",
    ),
    ("bakery", "Bread at four in the morning", "The oven is heated while the town sleeps.\n\nDough needs time."),
    ("railway", "How a timetable is made", "Trains that meet have to wait for each other.\n\nA minute saved is kept."),
    ("garden", "Seeds that wait", "Some seeds sleep for years until a fire wakes them.\n\nGardeners call it patience."),
    ("library", "The night shift of a library", "Books come back in boxes.\n\nBefore dawn each stands in its place."),
    ("clock", "Repairing the town clock", "It was late by two minutes for a century.\n\nNobody had missed a train."),
    ("scan", "The picture that was none", "Somebody uploaded a text and called it scan.png.\n\nIt is told of once."),
]


@transaction.atomic
def publish(number: int) -> Article:
    """Publish one of the samples with its picture, and return it; a second time changes nothing. Blocks."""
    slug, title, body = SAMPLES[number]
    article, is_new = Article.objects.get_or_create(
        slug=slug, defaults={"title": title, "body": body, "published_at": timezone.now()}
    )
    if is_new:
        colour = (40 * number % 256, 120, 255 - 30 * number)
        content = b"This is no picture." if slug == "scan" else paint(640, 400, colour)
        article.pictures.create(caption=title, file=ContentFile(content, f"{slug}.png"))
    return article


def paint(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """Return a PNG that goes from black to a colour."""
    rows = b"".join(b"\0" + bytes(part * row // height for part in colour) * width for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
