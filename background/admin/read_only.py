"""Own what makes pages of records be for reading alone."""

from __future__ import annotations

from typing import Any


class ReadOnly:
    """To be mixed into a ModelAdmin: nobody adds, changes or deletes."""

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False
