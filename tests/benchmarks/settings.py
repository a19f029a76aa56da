"""Django's settings for producer and worker of the peer that BENCH_PEER names."""

import os
from importlib.util import find_spec

from tests.benchmarks.peers import find

SECRET_KEY = "benchmark"
USE_TZ = True
INSTALLED_APPS: list[str] = []
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING_CONFIG = None

peer = find(os.environ["BENCH_PEER"])
DATABASES = {"default": peer.store.settings()} if peer.store else {}
globals().update(peer.settings())

if peer.database == "mariadb" and not find_spec("MySQLdb"):
    import pymysql

    pymysql.version_info = (2, 2, 8, "final", 0)  # Django asks for this mysqlclient, whose interface PyMySQL offers
    pymysql.install_as_MySQLdb()
