"""Own which lines of a traceback are the site's own code."""

from __future__ import annotations

import re

from django.utils.translation import ngettext

_FRAME = re.compile(r'  File "(?P<path>[^"]*)", line \d+')
_LIBRARY = re.compile(r"[/\\](site-packages|dist-packages)[/\\]|[/\\]lib[/\\]python3[^/\\]*[/\\]|^<frozen ")


def own_frames(traceback: str) -> str:
    """Return the traceback with the frames of libraries counted instead of shown; "" where that changes nothing."""
    kept: list[str] = []
    hidden = own = 0
    is_library = False
    for line in traceback.splitlines():
        frame = _FRAME.match(line)
        if frame:
            is_library = bool(_LIBRARY.search(frame["path"]))
            hidden += is_library
            own += not is_library
        elif not line.startswith("    "):
            is_library = False
        if is_library:
            continue
        if hidden:
            kept.append(
                "  "
                + ngettext("… %(count)d frame of libraries", "… %(count)d frames of libraries", hidden)
                % {"count": hidden}
            )
            hidden = 0
        kept.append(line)
    text = "\n".join(kept)
    return text if own and text != traceback.rstrip("\n") else ""
