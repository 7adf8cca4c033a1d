"""The program that repairs the append-only file before Redis starts, with real files."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repository import PROJECT, source_module

PROGRAM = "roles/redis/files/usr/local/lib/rootstock/redis_pre_start.py"
MANIFEST = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
INCREMENTAL = "appendonly.aof.1.incr.aof"
BLOCK = 1 << 20


def command(*words: bytes) -> bytes:
    """A command as it stands in the file."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


#: The second one's payload ends in NUL bytes, as a pickled or compressed one may.
COMMANDS = [command(b"RPUSH", b"queue", b"one"), command(b"SET", b"key", b"two\0\0\0\0"), command(b"PING")]
WHOLE = b"".join(COMMANDS)


class Data:
    """The directory of a Redis, and what the program does to it."""

    def __init__(self, path: Path, boot_id: Path) -> None:
        self.path, self.boot_id = path, boot_id
        self.files = path / "appendonlydir"
        self.log = path / "redis.log"
        self.configuration = path / "redis.conf"
        self.files.mkdir()
        self.log.write_text("1:C 30 Nov 2026 01:00:00.000 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo\n")
        self.configure()
        self.write("appendonly.aof.manifest", MANIFEST.encode())
        self.write("appendonly.aof.1.base.rdb", b"REDIS0010\xff\0\0\0")

    def configure(self, *more: str) -> None:
        lines = [f"dir {self.path}", f"logfile {self.log}", "appendonly yes", "appendfsync everysec", *more]
        self.configuration.write_text("# a comment\n\n" + "\n".join(lines) + "\n")

    def write(self, name: str, content: bytes) -> Path:
        path = self.files / name
        path.write_bytes(content)
        return path

    def copies(self) -> list[Path]:
        return sorted(self.files.glob("*.cut"))

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.files.iterdir()}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = source_module(PROGRAM)
    (tmp_path / "boot_id").write_text("this-boot\n")
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "boot_id")
    return module


@pytest.fixture
def data(tmp_path: Path, program: Any) -> Data:
    (tmp_path / "redis").mkdir()
    return Data(tmp_path / "redis", tmp_path / "boot_id")


@pytest.fixture
def run(program: Any, data: Data, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Runs it; returns what it has said in the journal, which must stand in the log as well."""

    def once() -> str:
        before = len(data.log.read_bytes()) if data.log.exists() else 0
        program.main(str(data.configuration))
        said = capsys.readouterr().err
        if data.log.exists():
            added = data.log.read_bytes()[before:].decode().splitlines()
            assert [line.partition(" # ")[2] for line in added] == said.splitlines()
        return str(said)

    return once


@pytest.mark.parametrize("zeros", [1, 2336, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
@pytest.mark.parametrize(
    "left",
    [
        pytest.param(WHOLE, id="whole commands"),
        pytest.param(WHOLE + COMMANDS[0][:-4], id="a torn command"),
        pytest.param(WHOLE * 40_000, id="more than a block"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_nul_bytes_at_the_end_are_cut_and_nothing_else(
    data: Data, run: Callable[[], str], left: bytes, zeros: int
) -> None:
    path = data.write(INCREMENTAL, left + bytes(zeros))
    before = data.contents()
    said = run()
    assert data.contents() == before | {INCREMENTAL: left, **{c.name: c.read_bytes() for c in data.copies()}}
    assert f"{path} ended in {zeros} NUL bytes" in said
    assert f"truncated from {len(left) + zeros} to {len(left)} bytes" in said
    (copy,) = data.copies()
    assert str(copy) in said
    # What is kept is the end of what was there.
    assert before[INCREMENTAL].endswith(copy.read_bytes())
    assert copy.stat().st_size >= zeros
    assert copy.stat().st_blocks * 512 <= 128 * 1024
    assert run() == ""


def test_whatever_is_torn_off_no_byte_that_says_something_is_lost(data: Data, run: Callable[[], str]) -> None:
    for length in range(len(WHOLE) + 1):
        data.write(INCREMENTAL, WHOLE[:length] + bytes(16))
        run()
        found = (data.files / INCREMENTAL).read_bytes()
        # NUL bytes of a torn payload go with it: Redis drops that command anyway.
        assert found == WHOLE[:length].rstrip(b"\0")
        complete = max(end for end in (0, *accumulated(COMMANDS)) if end <= length)
        assert len(found) >= complete


def accumulated(parts: list[bytes]) -> list[int]:
    return [sum(map(len, parts[: number + 1])) for number in range(len(parts))]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(WHOLE, id="whole"),
        pytest.param(WHOLE[:-3], id="torn"),
        pytest.param(b"", id="empty"),
        pytest.param(WHOLE + bytes(100) + COMMANDS[0], id="NUL bytes in the middle"),
        pytest.param(WHOLE + b"\xff" * 100, id="garbage at the end"),
    ],
)
def test_other_files_stay_as_they_are(data: Data, run: Callable[[], str], content: bytes) -> None:
    data.write(INCREMENTAL, content)
    before = data.contents()
    assert run() == ""
    assert data.contents() == before


def test_a_base_file_is_never_touched(data: Data, run: Callable[[], str]) -> None:
    data.write("appendonly.aof.manifest", b"file appendonly.aof.1.base.aof seq 1 type b\n")
    data.write("appendonly.aof.1.base.aof", WHOLE + bytes(100))
    data.write(INCREMENTAL, WHOLE + bytes(100))
    before = data.contents()
    assert run() == ""
    assert data.contents() == before


def test_only_the_last_incremental_file_is_cut(data: Data, run: Callable[[], str]) -> None:
    manifest = "# written by Redis\nfile appendonly.aof.9.base.rdb seq 9 type b\n"
    manifest += "".join(
        f"file appendonly.aof.{n}.incr.aof seq {n} type {t}\n" for n, t in [(8, "h"), (9, "i"), (10, "i")]
    )
    data.write("appendonly.aof.manifest", manifest.encode())
    for number in (8, 9, 10, 11):
        data.write(f"appendonly.aof.{number}.incr.aof", WHOLE + bytes(100))
    before = data.contents()
    assert "appendonly.aof.10.incr.aof ended in 100 NUL bytes" in run()
    after = {name: content for name, content in data.contents().items() if not name.endswith(".cut")}
    assert after == before | {"appendonly.aof.10.incr.aof": WHOLE}


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        (MANIFEST, INCREMENTAL),
        ("", ""),
        ("# nothing yet\n", ""),
        ("file a.base.rdb seq 1 type b\n", ""),
        ('file "my tasks.1.incr.aof" seq 1 type i\n', "my tasks.1.incr.aof"),
        (r'file "a\"\x20\\\t.aof" seq 1 type i', 'a" \\\t.aof'),
        (r'file "\xc3\xa4.aof" seq 1 type i', "ä.aof"),
        ("file 'it\\'s.aof' seq 1 type i\n", "it's.aof"),
        ("FILE a.aof SEQ 1 TYPE i startoffset 700\n", "a.aof"),
    ],
)
def test_the_manifest_is_read_as_redis_does(program: Any, manifest: str, name: str) -> None:
    assert program.last_incremental(manifest) == name


@pytest.mark.parametrize(
    "manifest",
    [
        "file ../other.aof seq 1 type i\n",
        "file a.aof seq one type i\n",
        "file a.aof seq 1 type x\n",
        "file a.aof seq 1\n",
        'file "a.aof seq 1 type i\n',
        "\0" * 88,
    ],
)
def test_a_manifest_that_is_none_changes_nothing(data: Data, run: Callable[[], str], manifest: str) -> None:
    data.write("appendonly.aof.manifest", manifest.encode())
    data.write(INCREMENTAL, WHOLE + bytes(100))
    before = data.contents()
    assert "Not checked before the start of Redis" in run()
    assert data.contents() == before


def test_a_missing_manifest_is_reported(data: Data, run: Callable[[], str]) -> None:
    (data.files / "appendonly.aof.manifest").unlink()
    assert run() == ""
    data.write(INCREMENTAL, WHOLE + bytes(100))
    before = data.contents()
    said = run()
    assert "appendonly.aof.manifest is missing" in said
    assert INCREMENTAL in said
    assert data.contents() == before


def test_nothing_is_there_yet(data: Data, run: Callable[[], str]) -> None:
    for path in data.files.iterdir():
        path.unlink()
    data.files.rmdir()
    # An append-only file from before Redis 7: Redis makes a base file of it.
    (data.path / "appendonly.aof").write_bytes(WHOLE + bytes(100))
    assert run() == ""
    assert (data.path / "appendonly.aof").read_bytes() == WHOLE + bytes(100)


def test_a_redis_without_an_append_only_file_is_left_alone(data: Data, run: Callable[[], str]) -> None:
    data.configure("appendonly no")
    data.write(INCREMENTAL, WHOLE + bytes(100))
    before = data.contents()
    assert run() == ""
    assert data.contents() == before


def test_at_most_five_ends_are_kept(data: Data, run: Callable[[], str]) -> None:
    for number in range(8):
        old = data.write(f"{INCREMENTAL}.2026010{number}T000000Z.cut", b"")
        os.utime(old, (number, number))
    data.write(INCREMENTAL, WHOLE + bytes(100))
    run()
    names = [copy.name for copy in data.copies()]
    assert [name.split(".")[-2][:8] for name in names[:4]] == [f"2026010{number}" for number in (4, 5, 6, 7)]
    assert len(names) == 5


def test_without_space_for_the_copy_it_is_cut_all_the_same(data: Data) -> None:
    data.write(INCREMENTAL, WHOLE + bytes(100))
    # A file that may not grow is refused as one on a full disk is; nor can the log be written.
    done = subprocess.run(
        ["prlimit", "--fsize=0", sys.executable, "-I", PROJECT / PROGRAM, data.configuration],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "The end of the file could not be kept" in done.stderr
    assert f"{data.log} could not be written" in done.stderr
    assert (data.files / INCREMENTAL).read_bytes() == WHOLE
    assert data.copies() == []


def test_a_file_that_a_running_redis_has_open_is_left_alone(data: Data, run: Callable[[], str]) -> None:
    path = data.write(INCREMENTAL, WHOLE + bytes(100))
    hold = "import sys, time; file = open(sys.argv[1], 'ab'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        try:
            said = run()
        finally:
            holder.kill()
    assert "is open in another process" in said
    assert path.read_bytes() == WHOLE + bytes(100)
    assert "truncated" in run()


def test_a_gigabyte_of_nul_bytes_takes_seconds(data: Data, run: Callable[[], str]) -> None:
    path = data.write(INCREMENTAL, WHOLE)
    os.truncate(path, 1 << 30)
    begun = time.monotonic()
    run()
    assert path.read_bytes() == WHOLE
    assert time.monotonic() - begun < 30


# --- What is reported

DAMAGE = (
    "2:M 30 Nov 2026 01:00:00.000 # Bad file format reading the append only file appendonly.aof.1.incr.aof: "
    "make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>\n"
)


def test_other_damage_is_reported_with_what_to_type(data: Data, run: Callable[[], str]) -> None:
    path = data.write(INCREMENTAL, WHOLE + b"\xff" + COMMANDS[0])
    started = data.log.read_text()
    data.log.write_text(started + DAMAGE)
    said = run()
    assert f"cp -a {data.files} {data.files}.copy; redis-check-aof --fix {path}; systemctl start" in said
    # What an earlier start said is over.
    data.log.write_text(started + DAMAGE + started)
    assert run() == ""


def test_a_file_that_the_log_does_not_name_is_found_by_the_manifest(
    data: Data, run: Callable[[], str]
) -> None:
    data.write(INCREMENTAL, WHOLE)
    with data.log.open("a") as log:
        log.write("2:M 30 Nov 2026 01:00:00.000 # Fatal error: the truncated file is not the last file\n")
    assert f"redis-check-aof --fix {data.files / 'appendonly.aof.manifest'};" in run()


@pytest.mark.parametrize(
    ("appendfsync", "risk"),
    [
        ("everysec", "in the last 2 s before may be lost"),
        ("always", "No write that Redis acknowledged is lost"),
        ("no", "may be lost (appendfsync no)"),
    ],
)
def test_a_power_loss_is_reported_once(
    data: Data, run: Callable[[], str], appendfsync: str, risk: str
) -> None:
    data.configure(f"appendfsync {appendfsync}")
    os.utime(data.write(INCREMENTAL, WHOLE), (1796000000, 1796000000))
    assert run() == ""
    # Redis was killed, and the kernel has kept what it had written.
    assert run() == ""
    data.boot_id.write_text("next-boot\n")
    said = run()
    assert "went down without stopping Redis" in said
    assert "last written 2026-11-30 00:53:20 UTC" in said
    assert risk in said
    assert run() == ""


def test_a_reboot_is_no_power_loss(data: Data, run: Callable[[], str]) -> None:
    data.write(INCREMENTAL, WHOLE)
    assert run() == ""
    with data.log.open("a") as log:
        log.write("2:M 30 Nov 2026 01:00:00.000 # Redis is now ready to exit, bye bye...\n")
    data.boot_id.write_text("next-boot\n")
    assert run() == ""


def test_it_works_without_a_log(data: Data, run: Callable[[], str]) -> None:
    data.log.unlink()
    data.write(INCREMENTAL, WHOLE + bytes(100))
    assert "truncated" in run()
    # Redis makes it, with its own mode.
    assert not data.log.exists()


@pytest.mark.parametrize("configuration", ["redis.conf", "nothing.conf"])
def test_its_exit_status_lets_redis_start(data: Data, configuration: str) -> None:
    data.write("appendonly.aof.manifest", bytes(88))
    done = subprocess.run(
        [sys.executable, "-I", PROJECT / PROGRAM, data.path / configuration],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "before the start of Redis" in done.stderr
    assert done.stdout == ""
