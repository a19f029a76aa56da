"""Log files are followed through rotation, truncation and kills: each line once."""

import gzip
import os
import random
import signal
import threading
import time
from datetime import UTC, datetime

import pytest

from background.contrib.logs import COMBINED, COMMON, LogFollower, files, json_line, pattern
from background.contrib.logs.files import Followed, Place
from background.testing import run_host
from tests.app.models import Effect
from tests.processes import Process, wait_until

ACCESS = '203.0.113.9 - ana [10/Oct/2027:13:55:36 +0200] "GET /a?q=\\"x\\" HTTP/1.1" 200 2326'


def test_the_common_and_the_combined_format_are_read():
    entry = COMMON(ACCESS)
    assert (entry["host"], entry["user"], entry["status"], entry["size"]) == ("203.0.113.9", "ana", 200, 2326)
    assert entry["time"] == datetime(2027, 10, 10, 11, 55, 36, tzinfo=UTC)
    assert entry["request"] == 'GET /a?q=\\"x\\" HTTP/1.1'
    assert COMBINED(f'{ACCESS.replace("2326", "-")} "-" "Mozilla/5.0"') | {} == {
        **entry, "size": 0, "referrer": "-", "agent": "Mozilla/5.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parse", "line", "why"),
    [
        (COMMON, "nonsense", "it does not match"),
        (json_line, "{", "Expecting"),
        (json_line, "[1]", "a JSON object is expected, not list"),
        (pattern(r"(?P<n>\w+)", n=int), "x", "invalid literal"),
    ],
)
def test_what_is_no_entry_says_why(parse, line, why):
    with pytest.raises(ValueError, match=why):
        parse(line)


def test_an_expression_without_names_is_refused_at_once():
    with pytest.raises(ValueError, match="named groups"):
        pattern(r"\w+")


class Reader:
    """Follows a path as a service does, keeping the place as a checkpoint would."""

    def __init__(self, path):
        self.path, self.place = str(path), None
        self.start()

    def start(self):
        self.followed = Followed(self.path, self.place, max_line=1000)

    def restart(self):
        self.followed.close()
        self.start()

    def read(self):
        got = []
        while found := self.followed.read():
            got += [line.decode() for line in found.lines]
            self.place = Place(**found.after.as_dict())
        return got


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "GRACE", 0.0)
    return tmp_path / "app.log"


@pytest.fixture
def reader(path):
    reader = Reader(path)
    yield reader
    reader.followed.close()


def write(path, text, mode="a"):
    with open(path, mode) as file:
        file.write(text)


def rotate(path, to, at=None):
    os.rename(path, to)
    if at is not None:
        os.utime(to, (at, at))


def test_whole_lines_come_as_they_are_written(path, reader):
    assert reader.read() == []  # not there yet
    write(path, "one\ntwo\nthr")
    assert reader.read() == ["one", "two"]
    write(path, "ee\n\nfour\n")
    assert reader.read() == ["three", "", "four"]


def test_after_a_restart_reading_goes_on_where_it_was(path, reader):
    write(path, "one\ntwo\n")
    assert reader.read() == ["one", "two"]
    write(path, "three\n")
    reader.restart()
    assert reader.read() == ["three"]


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(path, reader):
    write(path, "one\n")
    reader.read()
    rotate(path, f"{path}.1")
    write(f"{path}.1", "two\nthe end without a line's end")
    write(path, "three\n")
    assert reader.read() == ["two", "the end without a line's end", "three"]


def test_files_that_were_rotated_while_nobody_looked_are_read_in_their_order(path, reader):
    write(path, "one\n")
    reader.read()
    reader.followed.close()
    write(path, "two\n")
    rotate(path, f"{path}.3", at=1000)
    write(path, "three\n")
    rotate(path, f"{path}.2", at=2000)
    write(path, "four\n")
    rotate(path, f"{path}.1", at=3000)
    write(f"{path}.bak", "something else\n")
    write(path, "five\n")
    reader.start()
    assert reader.read() == ["two", "three", "four", "five"]


def test_a_file_that_was_compressed_meanwhile_is_known_by_its_beginning(path, reader):
    write(path, "one\n")
    reader.read()
    reader.followed.close()
    with gzip.open(f"{path}.1.gz", "wt") as packed:
        packed.write("one\ntwo\n")
    os.utime(f"{path}.1.gz", (1000, 1000))
    os.remove(path)
    write(path, "three\n")
    reader.start()
    assert reader.read() == ["two", "three"]


@pytest.mark.parametrize("after", ["new\n", "something longer than before\n"])
def test_a_truncated_file_is_read_from_its_start(path, reader, after):
    write(path, "one\ntwo\n")
    reader.read()
    write(path, after, "w")  # the same inode
    assert reader.read() == [after.strip()]


def test_another_file_with_the_inode_of_the_old_one_is_read_from_its_start(path, reader):
    write(path, "one\ntwo\n")
    reader.read()
    reader.followed.close()
    reader.place = Place(reader.place.inode, reader.place.head_size, 12345, reader.place.offset)
    reader.start()
    assert reader.read() == ["one", "two"]


def test_a_line_without_end_is_cut_at_its_limit(path, reader):
    write(path, "x" * 2500 + "\nnext\n")
    got = reader.read()
    assert "".join(got[:-1]) == "x" * 2500 and got[-1] == "next"


def test_patterns_leave_out_the_past_of_a_file(tmp_path):
    for name in ("a.log", "a.log.1", "a.log-20270101.gz", "b.log"):
        (tmp_path / name).touch()
    found = files.expand([str(tmp_path / "*.log*"), str(tmp_path / "c.log")])
    assert [os.path.basename(name) for name in found] == ["a.log", "b.log", "c.log"]


# The service


def make(path, **values):
    class Follower(LogFollower):
        name = "follower"
        paths = [str(path)]
        parse = pattern(r"(?P<note>\w+)")
        poll_seconds = 0.02
        rejected = []

        def store(self, entries, scope):
            Effect.objects.bulk_create(Effect(name="line", **entry) for entry in entries)

        def reject(self, rejected):
            self.rejected.extend(rejected)

    return type("Follower", (Follower,), {"rejected": [], "name": "follower", **values})


def notes():
    return list(Effect.objects.order_by("id").values_list("note", flat=True))


@pytest.mark.django_db(transaction=True)
def test_entries_are_stored_and_lines_that_are_none_are_told_with_their_place(path):
    write(path, "one\nnot good\ntwo\n")
    follower = make(path)
    with run_host(follower) as host:
        host.wait_for(lambda: notes() == ["one", "two"])
        write(path, "three\n")
        host.wait_for(lambda: notes() == ["one", "two", "three"])
    assert [(one.offset, one.line) for one in follower.rejected] == [(4, "not good")]


@pytest.mark.django_db(transaction=True)
def test_what_store_could_not_write_is_read_again_after_the_restart(path):
    write(path, "one\ntwo\n")
    failures = []

    def store(self, entries, scope):
        Effect.objects.bulk_create(Effect(name="line", **entry) for entry in entries)
        if not failures:
            failures.append(1)
            raise ValueError("once")

    follower = make(path, store=store)
    follower.backoff = type(follower.backoff)(initial=0.05, maximum=0.05)
    with run_host(follower) as host:
        host.wait_for(lambda: notes() == ["one", "two"])


@pytest.mark.django_db(transaction=True)
def test_a_file_that_cannot_be_read_is_told_of_once_and_the_others_go_on(path, caplog):
    path.mkdir()
    other = path.parent / "other.log"
    write(other, "one\n")
    with run_host(make(path, paths=[str(path), str(other)])) as host:
        host.wait_for(lambda: notes() == ["one"])
        path.rmdir()
        write(path, "two\n")
        host.wait_for(lambda: notes() == ["one", "two"])
    assert len([line for line in caplog.messages if "cannot read" in line]) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_over_kills_and_rotations_each_line_is_stored_once(tmp_path):
    path, written = tmp_path / "app.log", [1]
    begun, done = threading.Event(), threading.Event()
    write(path, "1\n")

    def keep_writing():
        number, turns = 1, 0
        begun.wait(60)  # what was rotated away before anybody followed is not asked for
        while not done.is_set():
            with open(path, "a") as file:
                for _ in range(50):
                    number += 1
                    file.write(f"{number}\n")
            written.append(number)
            if number // 10_000 > turns:
                turns += 1
                os.rename(path, f"{path}.{turns}")
            time.sleep(0.01)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(3):
            before = Effect.objects.count()
            with Process(str(path), program=("-m", "tests.contrib.following")) as process:
                wait_until(lambda before=before: Effect.objects.count() > before, timeout=60)
                begun.set()
                time.sleep(random.uniform(0, 0.3))  # anywhere in the midst of its work
                process.send(signal.SIGKILL)
                process.wait()
    finally:
        begun.set()
        done.set()
        writer.join()
    with Process(str(path), program=("-m", "tests.contrib.following")) as process:
        wait_until(lambda: Effect.objects.count() >= written[-1], timeout=60)
        assert process.stop() == 0, process.output
    assert sorted(map(int, notes())) == list(range(1, written[-1] + 1))
