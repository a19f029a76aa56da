"""Own what MariaDB and MySQL do differently."""

from django.db import connections

from background.dialects.base import Dialect


class MySQL(Dialect):
    # 1213: deadlock found; 1205: lock wait timeout; 1020: row changed since it was read (MariaDB's snapshot check)
    passing = ("deadlock found", "lock wait timeout", "record has changed since last read")
    clock = "SELECT UTC_TIMESTAMP(6)"

    def warnings(self) -> list[str]:
        level = connections[self.alias].settings_dict.get("OPTIONS", {}).get("isolation_level", "read committed")
        if str(level).lower() == "read committed":  # Django's default
            return super().warnings()
        return [
            *super().warnings(),
            f'MariaDB and MySQL need OPTIONS["isolation_level"] = "read committed", not {level!r}: else claims deadlock.',
        ]
