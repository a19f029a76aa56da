"""Owns the articles with which a fresh site begins, and the pictures in them."""

import io

from django.core.files.base import ContentFile
from django.utils import timezone
from PIL import Image, ImageOps

from project.examples.cms.models import Article

SAMPLES = {
    "The lighthouse keeper": "Every night the lamp is lit at dusk.\n\nShips count on it.",
    "A harbour in winter": "Ice along the quay, and the ferries sail on.\n\nGulls wait for the fishing boats.",
    "Bread at four in the morning": "The oven is heated while the town sleeps.\n\nDough needs time.",
    "How a timetable is made": "Trains that meet have to wait for each other.\n\nA minute saved is kept.",
    "Seeds that wait": "Some seeds sleep for years until a fire wakes them.\n\nGardeners call it patience.",
    "Repairing the town clock": "It was late by two minutes for a century.\n\nNobody had missed a train.",
    "The picture that was none": "Somebody uploaded a text and called it picture.png.\n\nIt is told of once.",
}


def publish(number: int) -> Article:
    """Publish one of the samples with its picture, and return it."""
    title, body = list(SAMPLES.items())[number]
    article = Article.objects.create(slug=f"sample-{number}", title=title, body=body, published_at=timezone.now())
    content = b"This is no picture." if title.endswith("was none") else paint(640, 400, f"hsl({50 * number}, 60%, 60%)")
    article.pictures.create(caption=title, file=ContentFile(content, "picture.png"))
    return article


def paint(width: int, height: int, colour: str) -> bytes:
    """Return a PNG that goes from black to a colour."""
    out = io.BytesIO()
    grey = Image.linear_gradient("L").resize((width, height))
    ImageOps.colorize(grey, "black", colour).save(out, "PNG")
    return out.getvalue()
