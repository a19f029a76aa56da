"""Owns thumbnails. Opening what strangers upload is for a process of its own: it may take memory, time, or crash."""

import io

from django.core.files.base import ContentFile

from project.examples.cms.models import Picture

try:
    from PIL import Image, ImageOps
except ImportError:  # an extra
    Image = None

SIDE = 320  # pixels


class Unreadable(Exception):
    """The file is no picture that could be opened."""


class PillowMissing(Exception):
    """Thumbnails need Pillow: pip install Pillow, then run the job cms.make_missing_thumbnails."""

    def __str__(self) -> str:
        return self.__doc__ or ""


def require_pillow() -> None:
    """Raise PillowMissing, which says what to do, where it is not installed."""
    if Image is None:
        raise PillowMissing


def make(picture: Picture) -> None:
    """Make the picture's thumbnail and note its size; Unreadable if it cannot be, which is noted, too. Blocks."""
    require_pillow()
    try:
        content, size = _small(picture)
    except Unreadable as error:
        Picture.objects.filter(pk=picture.pk).update(problem=str(error)[:200])
        raise
    storage, name = picture.thumbnail.storage, f"cms/thumbnails/{picture.pk}.jpg"
    storage.delete(name)  # of an attempt that was killed before it was noted
    picture.thumbnail, picture.problem = storage.save(name, ContentFile(content)), ""
    picture.width, picture.height = size
    picture.save(update_fields=["thumbnail", "problem", "width", "height"])


def _small(picture: Picture) -> tuple[bytes, tuple[int, int]]:
    """Return the thumbnail and the size of the original."""
    try:
        with picture.file.open("rb") as file:
            data = file.read()
    except (FileNotFoundError, PermissionError) as error:
        raise Unreadable(f"{picture.file.name}: {error.strerror}") from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
            image.draft("RGB", (SIDE, SIDE))  # a JPEG need not be decoded at full size
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((SIDE, SIDE))
    # Pillow's readers raise these on broken files; its limit of pixels is an Exception of its own.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise Unreadable(f"{picture.file.name} is no picture that can be opened ({type(error).__name__})") from None
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80, optimize=True)
    return out.getvalue(), size
