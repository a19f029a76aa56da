"""
Settings of the site, read from the environment and from `.env` beside manage.py.

`.env.example` names every variable. A fresh clone needs none of them: it starts with DEBUG on and SQLite.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
if (BASE_DIR / ".env").exists():
    env.read_env(BASE_DIR / ".env")

# On by default, so that a fresh clone shows itself. A deployment sets DEBUG=False, and then SECRET_KEY and ALLOWED_HOSTS
# are required: nothing insecure starts by being forgotten twice.
DEBUG = env.bool("DEBUG", default=True)

SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Without DEBUG it is required: put a long random SECRET_KEY into the environment or .env."
        )
    SECRET_KEY = "django-insecure-known-to-everybody-for-development-only"

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *(["django_tasks"] if django.VERSION < (6, 0) else []),  # Django 6 has its own
    "background",
    "background.contrib.mail",
    "background.contrib.health",
    "project.examples.monitoring",
    "project.examples.cms",
    "project.examples.enterprise",
    "project.examples.saas",
    "project.examples.shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# ---------------------------------------------------------------------------------------------------------- database

# What each database needs to be a good queue. Options in DATABASE_URL (`?timeout=5`) win.
DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    "django.db.backends.sqlite3": {
        # Several processes write: readers must not block them (WAL), a transaction takes the write lock when it begins
        # and waits for it (a later upgrade from reader to writer cannot wait, it fails), and one lock is held briefly.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    },
    "django.db.backends.mysql": {
        "charset": "utf8mb4",
        "isolation_level": "read committed",  # repeatable read locks gaps, and a queue would deadlock on them
    },
}

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
DATABASES["default"]["OPTIONS"] = {
    **DATABASE_OPTIONS.get(DATABASES["default"]["ENGINE"], {}),
    **DATABASES["default"].get("OPTIONS", {}),
}
if env.bool("PREPARED_STATEMENTS", default=False) and DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # The server remembers statements of each connection. Not behind a pooler that lends connections by the transaction.
    DATABASES["default"]["OPTIONS"].update(server_side_binding=True, prepare_threshold=5)
DATABASES["default"].setdefault("CONN_MAX_AGE", env.int("CONN_MAX_AGE", default=60))
DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)

if DATABASES["default"]["ENGINE"] == "django.db.backends.mysql" and not find_spec("MySQLdb"):
    import pymysql

    # Django asks for this mysqlclient, whose interface PyMySQL offers.
    pymysql.version_info = (2, 2, 8, "final", 0)
    pymysql.install_as_MySQLdb()

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ------------------------------------------------------------------------------------------- background, and its tasks

TASKS = {"default": {"BACKEND": "background.backend.DatabaseBackend", "QUEUES": []}}  # []: any queue name

# The monitoring example: an address to watch, the web server's access log, who hears of alarms, and an outside monitor.
MONITORING_URL = env.str("MONITORING_URL", default="")
MONITORING_LOG = env.str("MONITORING_LOG", default=str(BASE_DIR / "access.log"))
MONITORING_MAIL_TO = env.list("MONITORING_MAIL_TO", default=[])
MONITORING_PING = env.str("MONITORING_PING", default="")

BACKGROUND = {
    "CONCURRENCY": env.int("BACKGROUND_CONCURRENCY", default=8),
    "ASYNC_CONCURRENCY": env.int("BACKGROUND_ASYNC_CONCURRENCY", default=100),
    "PROCESSES": env.int("BACKGROUND_PROCESSES", default=1),
    "SHUTDOWN_TIMEOUT": env.int("BACKGROUND_SHUTDOWN_TIMEOUT", default=25),
    "HEALTH": {
        "CHECKS": {
            **{name: {} for name in ("database", "cache", "storage", "migrations", "disk", "queues", "jobs")},
            **({"page": {"check": "url", "url": MONITORING_URL}} if MONITORING_URL else {}),
        },
        "INTERVAL": 15,
        "MAIL_TO": MONITORING_MAIL_TO,
        "PING": MONITORING_PING,
    },
}

# httpx tells each request at INFO; who asks says what came of it.
LOGGING = {"version": 1, "disable_existing_loggers": False, "loggers": {"httpx": {"level": "WARNING"}}}

# ------------------------------------------------------------------------------------------- language, time, files

LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en-us")
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
MEDIA_URL = "media/"
MEDIA_ROOT = env.str("MEDIA_ROOT", default=str(BASE_DIR / "media"))

# ---------------------------------------------------------------------------------------------------------- security

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 365 * 24 * 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = bool(SECURE_HSTS_SECONDS)
if env.bool("BEHIND_HTTPS_PROXY", default=False):
    # Only when a proxy in front sets this header and drops the visitor's: otherwise anybody may claim HTTPS.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# The examples fill a fresh site with samples, and keep what is not for the web (mail, backups, dropped files) in this folder.
EXAMPLES_SEED = env.bool("EXAMPLES_SEED", default=DEBUG)
EXAMPLES_FOLDER = env.str("EXAMPLES_FOLDER", default=str(BASE_DIR / "data"))

# The back office example: the web shop whose orders are pulled (else one of its own, while samples are shown), and the key of
# the audit log, which no one who can write to the database should know (else SECRET_KEY).
ENTERPRISE_SOURCE = env.str("ENTERPRISE_SOURCE", default="")
ENTERPRISE_AUDIT_KEY = env.str("ENTERPRISE_AUDIT_KEY", default="")

# The shop example: the address of a warehouse; without one the example serves its own.
SHOP_WAREHOUSE_URL = env.str("SHOP_WAREHOUSE_URL", default="")

# Mail is queued, and delivered into files until a real server is named here.
if django.VERSION >= (6, 1):  # which warns of EMAIL_BACKEND, and knows MAILERS
    MAILERS = {
        "default": {"BACKEND": "background.contrib.mail.QueuedEmailBackend", "OPTIONS": {"using": "outbox"}},
        "outbox": {
            "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "OPTIONS": {"file_path": str(Path(EXAMPLES_FOLDER) / "outbox")},
        },
    }
else:
    EMAIL_BACKEND = "background.contrib.mail.QueuedEmailBackend"
    EMAIL_FILE_PATH = str(Path(EXAMPLES_FOLDER) / "outbox")
    BACKGROUND["MAIL"] = {"BACKEND": "django.core.mail.backends.filebased.EmailBackend"}
