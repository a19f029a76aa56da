"""Load a fixture into an empty SQLite database and print, as JSON, how many rows each table has: `-m … FIXTURE DATABASE TABLE…`.

A process of its own, in which that database is the only one: no other thread of the site can meet it.
"""

import json
import sys

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection


def main(fixture: str, database: str, *tables: str) -> None:
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}}
    django.setup()
    # No migrations: they would send signals, and whoever hears them writes rows.
    with connection.schema_editor() as editor:
        for model in apps.get_models():
            if model._meta.managed and not model._meta.proxy:
                editor.create_model(model)
    call_command("loaddata", fixture, verbosity=0)
    from project.examples.cms.databases import count  # noqa: PLC0415 - models are known only now

    with connection.cursor() as cursor:
        sys.stdout.write(json.dumps(count(cursor, connection, tables)))


if __name__ == "__main__":
    main(*sys.argv[1:])
