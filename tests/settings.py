"""
The site's settings, made quick and self-contained for tests.

DATABASE_URL chooses the database; the tests use `test_<name>` there, and on SQLite a file in a folder of their own. It is
a file because threads and child processes open it too.
"""

import atexit
import json
import os
import shutil
import tempfile
from importlib import import_module
from pathlib import Path

os.environ["DEBUG"] = "True"  # whatever .env says; child processes inherit it

if "BACKGROUND_TEST_FOLDER" not in os.environ:  # else a test process started us, and owns the folder
    folder = os.environ["BACKGROUND_TEST_FOLDER"] = tempfile.mkdtemp(prefix="background-tests-")
    owner = os.getpid()

    @atexit.register
    def remove_folder() -> None:
        if os.getpid() == owner:  # not in a forked child
            shutil.rmtree(folder, ignore_errors=True)


from project.settings import *  # noqa: F403
from project.settings import DATABASES, INSTALLED_APPS

FOLDER = Path(os.environ["BACKGROUND_TEST_FOLDER"])

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3" and "BACKGROUND_TEST_DATABASE" not in os.environ:
    # The same file for tests and for a command that a test starts as a process.
    DATABASES["default"]["NAME"] = str(FOLDER / "db.sqlite3")
    DATABASES["default"]["TEST"] = {"NAME": str(FOLDER / "db.sqlite3")}

INSTALLED_APPS = [*INSTALLED_APPS, "tests.app"]
ROOT_URLCONF = "project.urls"

if "BACKGROUND_TEST_IMPORT" in os.environ:  # a module for the test of --reload to touch
    import_module(os.environ["BACKGROUND_TEST_IMPORT"])

SECRET_KEY = "tests"
ALLOWED_HOSTS = ["*"]
BACKGROUND = json.loads(os.environ.get("BACKGROUND_TEST_SETTINGS", "{}"))
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

MEDIA_ROOT = str(FOLDER / "media")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

EXAMPLES_SEED = False  # tests seed what they look at
EXAMPLES_FOLDER = str(FOLDER / "examples")
