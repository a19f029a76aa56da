"""Own servers for the benchmark alone: PostgreSQL that counts statements, MariaDB and Redis, on ports of their own."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.benchmarks import environment

PORTS = {"postgresql": 55432, "mariadb": 53306, "redis": 56379}
POSTGRESQL = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "512MB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",  # counted only while the cost of idleness is measured
}


def start():
    """Start those that are not running; print what to export."""
    for start_one in (_start_postgresql, _start_mariadb, _start_redis):
        start_one()
    for port in PORTS.values():
        _wait_for(port)
    print(f"export BENCH_POSTGRESQL=postgresql://postgres@127.0.0.1:{PORTS['postgresql']}")
    print(f"export BENCH_MARIADB=mysql://bench@127.0.0.1:{PORTS['mariadb']}")
    print(f"export BENCH_REDIS=redis://127.0.0.1:{PORTS['redis']}/0")


def stop():
    data = _place("postgresql") / "data"
    if (data / "postmaster.pid").exists():
        _run([_postgresql("pg_ctl"), "-D", data, "-m", "fast", "-w", "stop"], user="postgres")
    for name in ("mariadb", "redis"):
        if (pid := _place(name) / "pid").exists():
            subprocess.run(["kill", pid.read_text().strip()])


def _place(name, user=None):
    place = environment.folder("servers") / name
    if not place.exists():
        place.mkdir()
        if user and os.getuid() == 0:
            shutil.chown(place, user, user)
    return place


def _wait_for(port):
    for _ in range(300):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise SystemExit(f"Nothing listens on port {port}; see the logs in {environment.folder('servers')}.")


def _run(command, user=None):
    """Execute a command, as that user where root is asked: database servers refuse to be root."""
    switch = (
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env"]
        if user and os.getuid() == 0
        else []
    )
    subprocess.run([*switch, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")


def _postgresql(program):
    """The newest installed one; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    return found[-1] if found else program


def _start_postgresql():
    place = _place("postgresql", "postgres")
    data = place / "data"
    if not data.exists():
        _run(
            [_postgresql("initdb"), "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"],
            "postgres",
        )
        lines = {**POSTGRESQL, "port": PORTS["postgresql"], "unix_socket_directories": place}
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = '{value}'\n" for key, value in lines.items())
    if not (data / "postmaster.pid").exists():
        _run([_postgresql("pg_ctl"), "-D", data, "-w", "-l", place / "log", "start"], "postgres")


def _start_mariadb():
    place = _place("mariadb", "mysql")
    data, pid = place / "data", place / "pid"
    if pid.exists():
        return
    first, program = place / "first.sql", shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin") or "mariadbd"
    if not data.exists():
        _run(
            ["mariadb-install-db", f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal"],
            "mysql",
        )
        first.write_text("CREATE USER IF NOT EXISTS bench@'127.0.0.1';\nGRANT ALL ON *.* TO bench@'127.0.0.1';\n")
    options = [
        f"--datadir={data}",
        f"--port={PORTS['mariadb']}",
        "--bind-address=127.0.0.1",
        f"--pid-file={pid}",
        "--skip-name-resolve",
    ]
    options += [f"--socket={place / 'socket'}", f"--log-error={place / 'log'}", "--innodb-buffer-pool-size=512M"]
    options += [f"--init-file={first}"]
    _run(["sh", "-c", 'nohup "$@" >/dev/null 2>&1 &', "sh", program, "--no-defaults", *options], "mysql")


def _start_redis():
    place = _place("redis")
    if not (place / "pid").exists():
        options = {
            "bind": "127.0.0.1",
            "port": PORTS["redis"],
            "save": "",
            "appendonly": "no",
            "dir": place,
            "daemonize": "yes",
        }
        options |= {"pidfile": place / "pid", "logfile": place / "log"}
        _run(["redis-server", *(word for key, value in options.items() for word in (f"--{key}", str(value)))])
