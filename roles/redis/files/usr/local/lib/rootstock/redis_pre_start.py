"""Repair what a power loss does to the append-only file, before Redis starts.

Usage: redis_pre_start.py CONFIGURATION
redis-server.service runs it before each start of Redis, as the user redis.

A file system may lose what was written last and keep the length of the file: the file then ends in NUL bytes.
Redis does not start with such a file. A complete command ends in a line break, so NUL bytes at the end are
never a part of one. This program cuts them off; `aof-load-truncated` lets Redis drop the torn command that
may be left before them. Nothing else is changed:
- Only the last incremental file of the manifest is cut, never a base file.
- The end of the file is kept beside it, NUL bytes included, in at most KEPT files.
- Any other damage is left to a person, who finds the commands to type in the journal.
The program also reports that the server went down without stopping Redis, and what that may have cost.

Each report is a line in the journal and in Redis' log. The exit
status is always 0: Redis shall try to start whatever is found here. Standard library only.
"""

import os
import re
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 1 << 20
ZEROS = bytes(BLOCK)
# Of the file before its NUL bytes: the torn command, and enough for a person to see what was lost.
CONTEXT = 64 * 1024
KEPT = 5
KEPT_SUFFIX = ".cut"
# Of the log: all that Redis has written since its last start, if it has failed.
LOG_END = 64 * 1024

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_RECORD = "rootstock-boot-id"

STARTING = "Redis is starting"
STOPPED = "bye bye"
DAMAGED = re.compile(
    r"Bad file format reading the append only file|Unknown command .* reading the append only file|"
    r"truncated file is not the last file"
)
NAMED = re.compile(r"append only file (\S+\.aof)\b")
# With everysec a write waits up to 1 s for the next fsync, which itself takes time.
AT_RISK = {
    "everysec": "Writes that Redis acknowledged in the last 2 s before may be lost (appendfsync everysec).",
    "always": "No write that Redis acknowledged is lost (appendfsync always).",
}

ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "a": b"\a"}


@dataclass(frozen=True)
class Settings:
    """The directives that matter here; Redis' own defaults for those that are missing."""

    directives: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Raises OSError for a file that cannot be read."""
        found = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                name, *values = shlex.split(line)
                found[name.lower()] = " ".join(values)
        return cls(found)

    @property
    def has_file(self) -> bool:
        return self.directives.get("appendonly", "no") == "yes"

    @property
    def at_risk(self) -> str:
        sync = self.directives.get("appendfsync", "everysec")
        return AT_RISK.get(sync, f"Writes that Redis acknowledged may be lost (appendfsync {sync}).")

    @property
    def data(self) -> Path:
        return Path(self.directives.get("dir", "."))

    @property
    def directory(self) -> Path:
        return self.data / self.directives.get("appenddirname", "appendonlydir")

    @property
    def manifest(self) -> Path:
        return self.directory / f"{self.directives.get('appendfilename', 'appendonly.aof')}.manifest"

    @property
    def log(self) -> Path:
        return Path(self.directives.get("logfile", ""))


# --- The manifest


def words(line: str) -> list[str]:
    """Split a line as Redis does: double quotes with escapes, single quotes. Raises ValueError."""
    found = []
    pattern = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'((?:\\'|[^'])*)'|([^\s"']+))(?=\s|$)""")
    rest = line.strip()
    while rest:
        match = pattern.match(rest)
        if not match:
            raise ValueError(f"this is no line of a manifest: {line!r}")
        double, single, plain = match.groups()
        if double is not None:
            found.append(unescaped(double))
        else:
            found.append(plain if single is None else single.replace("\\'", "'"))
        rest = rest[match.end() :].lstrip()
    return found


def unescaped(text: str) -> str:
    """Return what a string between double quotes stands for."""

    def byte(match: re.Match[str]) -> bytes:
        code, character = match.groups()
        return bytes([int(code, 16)]) if code else ESCAPES.get(character, character.encode())

    parts, end = [], 0
    for match in re.finditer(r"\\(?:x([0-9a-fA-F]{2})|(.))", text):
        parts += [text[end : match.start()].encode(errors="surrogateescape"), byte(match)]
        end = match.end()
    return os.fsdecode(b"".join([*parts, text[end:].encode(errors="surrogateescape")]))


def last_incremental(manifest: str) -> str:
    """Return the name of the last incremental file; "" if there is none. Raises ValueError."""
    last, highest = "", 0
    for line in manifest.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = words(line)
        entry = dict(zip([key.lower() for key in found[::2]], found[1::2], strict=False))
        name, number, kind = entry.get("file", ""), entry.get("seq", ""), entry.get("type", "")
        if not name or Path(name).name != name or not number.isdigit() or kind not in ("b", "h", "i"):
            raise ValueError(f"this is no line of a manifest: {line!r}")
        if kind == "i" and int(number) > highest:
            last, highest = name, int(number)
    return last


# --- The end of a file


def end_without_nul(descriptor: int, size: int) -> int:
    """Return the offset after the last byte that is not NUL; 0 if there is none."""
    end = size
    while end:
        begin = max(0, end - BLOCK)
        block = os.pread(descriptor, end - begin, begin)
        # Comparing is several times faster than stripping, and the NUL bytes may be gigabytes.
        if block != ZEROS[: len(block)]:
            return begin + len(block.rstrip(b"\0"))
        end = begin
    return 0


def is_open_elsewhere(file: os.stat_result) -> bool:
    """Whether another process of this user has the file open: a Redis that runs."""
    others = (process for process in Path("/proc").iterdir() if process.name.isdigit())
    return any(has_open(other, file) for other in others if other.name != str(os.getpid()))


def has_open(process: Path, file: os.stat_result) -> bool:
    """Whether a process has a file open, as far as this user may know."""

    def is_file(link: Path) -> bool:
        try:
            return os.path.samestat(link.stat(), file)
        except OSError:
            return False

    try:
        return any(map(is_file, (process / "fd").iterdir()))
    except OSError:
        # Another user's process, or one that has ended meanwhile.
        return False


def keep(descriptor: int, path: Path, end: int, size: int) -> Path:
    """Copy the end of a file beside it, NUL bytes as a hole, and remove the oldest copies. Raises OSError."""
    copy = path.with_name(f"{path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}{KEPT_SUFFIX}")
    begin = max(0, end - CONTEXT)
    try:
        with copy.open("xb") as file:
            file.write(os.pread(descriptor, end - begin, begin))
            file.truncate(size - begin)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # Half a copy would need the space that is missing.
        copy.unlink(missing_ok=True)
        raise
    copies = sorted(path.parent.glob(f"*{KEPT_SUFFIX}"), key=lambda each: each.stat().st_mtime)
    for old in copies[:-KEPT]:
        old.unlink()
    return copy


def trim(path: Path) -> str:
    """Cut the NUL bytes at the end of a file; return a report, "" for none. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        status = os.fstat(descriptor)
        size = status.st_size
        end = end_without_nul(descriptor, size)
        if end == size:
            return ""
        if is_open_elsewhere(status):
            return f"{path} ends in NUL bytes and is open in another process: nothing was changed."
        try:
            kept = f"The end of the file is kept in {keep(descriptor, path, end, size)}."
        except OSError as error:
            # NUL bytes tell nothing but their number, so Redis need not wait for space.
            kept = f"The end of the file could not be kept: {error}."
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    finally:
        os.close(descriptor)
    return (
        f"{path} ended in {size - end} NUL bytes, as a power loss leaves them: "
        f"truncated from {size} to {end} bytes. {kept}"
    )


# --- What is reported


def log_end(settings: Settings) -> str:
    """Return the newest lines of Redis' log; "" if there is none."""
    if not settings.log.is_file():
        return ""
    with settings.log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_END))
        return file.read().decode(errors="replace")


def power_loss(settings: Settings, log: str) -> str:
    """Return a report where the server went down without stopping Redis; "" otherwise. Raises OSError."""
    record, boot = settings.data / BOOT_RECORD, BOOT_ID.read_text()
    before = record.read_text() if record.exists() else ""
    if before != boot:
        record.write_text(boot)
    # Within one boot the kernel still has what a killed Redis has written.
    if before in ("", boot) or log.rfind(STOPPED) > log.rfind(STARTING):
        return ""
    files = [path.stat().st_mtime for path in settings.directory.glob("*.aof")]
    last = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(max(files))) if files else "never"
    return (
        "The server went down without stopping Redis. The append-only file was last written "
        f"{last}. {settings.at_risk}"
    )


def damage(settings: Settings, log: str) -> str:
    """Return what to type where Redis could not read its file when it was last started; "" otherwise."""
    last_start = log[max(0, log.rfind(STARTING)) :]
    if not DAMAGED.search(last_start):
        return ""
    directory, names = settings.directory, NAMED.findall(last_start)
    path = directory / names[-1] if names and (directory / names[-1]).exists() else settings.manifest
    return (
        f"Redis did not start, because {path} is damaged. Fix, as root: systemctl stop redis-server; "
        f"cp -a {directory} {directory}.copy; redis-check-aof --fix {path}; systemctl start redis-server. "
        "All writes after the first damaged command are lost."
    )


def missing(settings: Settings) -> str:
    """Return a report where there are append-only files without a manifest; "" otherwise."""
    files = sorted(path.name for path in settings.directory.glob("*.aof"))
    if not files:
        return ""
    return (
        f"{settings.manifest} is missing, so Redis starts without data and writes to {', '.join(files)}. "
        f"Fix, as root: systemctl stop redis-server; restore {settings.directory} from a copy."
    )


def trimmed(settings: Settings) -> str:
    """Cut the file that can be cut; return a report, "" for none. Raises OSError or ValueError."""
    name = last_incremental(settings.manifest.read_text(encoding="utf-8", errors="surrogateescape"))
    path = settings.directory / name
    return trim(path) if name and path.exists() else ""


def repaired(settings: Settings, log: str) -> str:
    """Repair what can be repaired; return a report, "" for none. Raises OSError or ValueError."""
    if not settings.manifest.exists():
        return missing(settings)
    return trimmed(settings) or damage(settings, log)


def tell(settings: Settings, report: str) -> None:
    """Write a report to the journal and, in its format, to Redis' log, if there is one."""
    print(report, file=sys.stderr)
    now = time.time()
    when = time.strftime("%d %b %Y %H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03d}"
    try:
        if settings.log.is_file():
            with settings.log.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{os.getpid()}:C {when} # {report}\n")
    except OSError as error:
        print(f"{settings.log} could not be written: {error}", file=sys.stderr)


def main(configuration: str) -> None:
    """Look at the files of one Redis, repair and report."""
    try:
        settings = Settings.read(Path(configuration))
        log = log_end(settings)
    except (OSError, ValueError) as error:
        print(f"{configuration} was not read before the start of Redis: {error}", file=sys.stderr)
        return
    if not settings.has_file:
        return
    # The report of the power loss first: it names the time at which the file was written last.
    for step in (power_loss, repaired):
        try:
            report = step(settings, log)
        except (OSError, ValueError) as error:
            report = f"Not checked before the start of Redis ({step.__name__}): {error}"
        if report:
            tell(settings, report)


if __name__ == "__main__":
    main(sys.argv[1])
