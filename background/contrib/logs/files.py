"""Own one log file that is followed: where we are in it, through rotation, truncation and restarts."""

from __future__ import annotations

import glob
import gzip
import os
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import BinaryIO

# Bytes read at once.
CHUNK = 1 << 20
# The first bytes of a file tell it from others, also when its inode has been used again.
HEAD = 256
# What rotation appends to a name: .1, -20270101, .2027-01-01, and .gz behind it.
_ROTATED = re.compile(r"([.-]\d[\d.:_T-]*)?(\.gz)?")
# A file that was renamed is read on for so long after its last news (seconds): its writer may not have heard yet.
GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file, as kept in the checkpoint: the file itself, by inode and first bytes, and the offset."""

    inode: int
    head_size: int
    head: int
    offset: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of one file, without their ends, and the place behind them."""

    path: str
    lines: list[bytes]
    first: int  # offset of the first line
    after: Place


def head_of(file: BinaryIO, size: int = HEAD) -> tuple[int, int]:
    """Return how many of the first bytes there are, up to `size`, and their checksum."""
    before = file.tell()
    file.seek(0)
    found = file.read(size)
    file.seek(before)
    return len(found), zlib.crc32(found)


class Followed:
    """The lines of a path as they come; what was read counts once `place` is stored by the caller."""

    def __init__(self, path: str, place: Place | None, max_line: int, from_start: bool = True) -> None:
        self.path = path
        self.place = place
        self._from_start = from_start or place is not None
        self._max_line = max_line
        self._file: BinaryIO | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> Lines | None:
        """Return the next whole lines, or None where there are none by now. Blocks for a read; raises OSError."""
        if self._file is None and not self._open():
            return None
        while self._file is not None and self.place is not None:
            if self._was_truncated():
                self.place = replace(self.place, offset=0, head_size=0, head=0)
            found = self._read_lines(last=False)
            if found is None and self._was_renamed():
                found = self._read_lines(last=True)
                if found is None:
                    self._go_on()
                    continue
            return found
        return None

    # Which file

    def _open(self) -> bool:
        """Open the file where we were, wherever it is by now; else the one under the path from its start."""
        if self.place is not None:
            for name in self._names():
                if self._take(name, self.place):
                    return True
        return self._open_new(self.path)

    def _open_new(self, name: str) -> bool:
        try:
            self._file = open(name, "rb")
        except FileNotFoundError:
            return False
        status = os.fstat(self._file.fileno())
        offset = 0 if self._from_start else status.st_size
        self._from_start = True
        self.place = Place(status.st_ino, 0, 0, offset)
        return True

    def _names(self) -> list[str]:
        """Return the path and what it may have been renamed to, the oldest first."""
        found = [name for name in glob.glob(glob.escape(self.path) + "*") if _ROTATED.fullmatch(name[len(self.path) :])]
        return sorted(found, key=lambda name: (os.stat(name).st_mtime, name != self.path))

    def _take(self, name: str, place: Place) -> bool:
        """Open `name` if it is the file of this place: the same inode and beginning, or the same beginning compressed."""
        packed = name.endswith(".gz")
        try:
            file: BinaryIO = gzip.open(name, "rb") if packed else open(name, "rb")  # type: ignore[assignment]
        except FileNotFoundError:
            return False
        same = packed or os.fstat(file.fileno()).st_ino == place.inode
        known = place.head_size > 0 or not packed
        if not (same and known and head_of(file, place.head_size) == (place.head_size, place.head)):
            file.close()
            return False
        self._file = file
        return True

    def _go_on(self) -> None:
        """Leave a file that was renamed and read to its end, for the one that came after it."""
        assert self.place is not None and self._file is not None
        status = os.fstat(self._file.fileno())
        self.close()
        later = [name for name in self._names() if os.stat(name).st_mtime_ns > status.st_mtime_ns or name == self.path]
        self._open_new(next((name for name in later if os.stat(name).st_ino != status.st_ino), self.path))

    def _was_renamed(self) -> bool:
        """Whether the path leads to another file by now, and nobody has written to this one for a while."""
        assert self._file is not None
        if isinstance(self._file, gzip.GzipFile):
            return True
        status = os.fstat(self._file.fileno())
        try:
            if os.stat(self.path).st_ino == status.st_ino:
                return False
        except FileNotFoundError:
            pass
        return time.time() - status.st_mtime >= GRACE

    def _was_truncated(self) -> bool:
        """Whether the file is shorter than what was read, or begins with something else."""
        assert self._file is not None and self.place is not None
        if isinstance(self._file, gzip.GzipFile):
            return False
        if os.fstat(self._file.fileno()).st_size < self.place.offset:
            return True
        return head_of(self._file, self.place.head_size) != (self.place.head_size, self.place.head)

    # Its lines

    def _read_lines(self, last: bool) -> Lines | None:
        """Return whole lines from the place on; if `last`, also one without an end. Moves the place behind them."""
        assert self._file is not None and self.place is not None
        place = self.place
        self._file.seek(place.offset)
        data = self._file.read(CHUNK)
        while data and b"\n" not in data and len(data) < self._max_line and (more := self._file.read(CHUNK)):
            data += more
        end = data.rfind(b"\n") + 1
        if not end:
            if not data or not (last or len(data) >= self._max_line):
                return None
            end = len(data)  # the end of a file that nobody writes any more, or of what a line may hold
        lines = data[:end].split(b"\n")
        if not lines[-1]:
            lines.pop()
        size, head = (place.head_size, place.head) if place.head_size == HEAD else head_of(self._file)
        self.place = Place(place.inode, size, head, place.offset + end)
        return Lines(self.path, lines, place.offset, self.place)


def expand(patterns: Iterator[str] | tuple[str, ...] | list[str]) -> list[str]:
    """Return the paths that patterns name: those without wildcards as they are, the others as far as there are files.

    What a pattern finds that another name of the same file has brought about by rotation (`x.log.1` beside `x.log`) is
    left out: it is read as the past of that file.
    """
    found: list[str] = []
    for text in patterns:
        found += sorted(glob.glob(text)) if glob.has_magic(text) else [text]
    known = set(found)
    return [path for path in dict.fromkeys(found) if not any(_is_past_of(path, other) for other in known)]


def _is_past_of(path: str, other: str) -> bool:
    return path != other and path.startswith(other) and _ROTATED.fullmatch(path[len(other) :]) is not None
