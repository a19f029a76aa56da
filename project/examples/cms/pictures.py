"""Owns thumbnails. Opening what strangers upload is for a process of its own: it may take memory, time, or crash."""

import io

from django.core.files.base import ContentFile
from PIL import Image, ImageOps

from project.examples.cms.models import Picture

SIDE = 320  # pixels
# What Pillow's readers raise on broken files, and storages on those that cannot be read.
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Unreadable(Exception):
    """The file is no picture that could be opened."""


def make_thumbnail(picture: Picture) -> None:
    """Make the picture's thumbnail and note its size; Unreadable, with the reason, if it cannot be. Blocks."""
    out = io.BytesIO()
    try:
        with picture.file.open("rb") as file, Image.open(file) as image:
            picture.width, picture.height = image.size
            image.draft("RGB", (SIDE, SIDE))  # a JPEG need not be decoded at full size
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((SIDE, SIDE))
            small.save(out, "JPEG", quality=80, optimize=True)
    except BROKEN as error:
        why = getattr(error, "strerror", None) or f"no picture that can be opened ({type(error).__name__})"
        raise Unreadable(f"{picture.file.name}: {why}") from error
    storage, name = picture.thumbnail.storage, f"cms/thumbnails/{picture.pk}.jpg"
    storage.delete(name)  # of an attempt that was killed before it was noted
    picture.thumbnail = storage.save(name, ContentFile(out.getvalue()))
    picture.save(update_fields=["thumbnail", "width", "height"])
