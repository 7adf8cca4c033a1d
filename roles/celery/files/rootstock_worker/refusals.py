"""What Redis refuses for a while, and goes on to do when its cause has gone."""

import re

from redis import exceptions

#: redis-py 8 has classes for some and leaves out the first word of their texts; older ones have the texts
#: alone. READONLY: a primary that has just become a replica. NOREPLICAS: a primary that has lost its
#: replicas.
_CLASSES = tuple(
    found
    for name in ("OutOfMemoryError", "ReadOnlyError", "MasterDownError")
    if (found := getattr(exceptions, name, None))
)
#: A pipeline says first which of its commands was refused.
_FULL = re.compile(r"(^|caused error: )OOM ")
_REFUSED = re.compile(r"(^|caused error: )(OOM|MISCONF|NOREPLICAS|READONLY|MASTERDOWN) ")


def is_full(error: BaseException | None) -> bool:
    """Whether Redis refuses a command because its memory is at `maxmemory`."""
    full = getattr(exceptions, "OutOfMemoryError", ())
    return isinstance(error, full) or _says(error, _FULL)


def is_refusal(error: BaseException | None) -> bool:
    """Whether Redis refuses to write for now: full, its disk full, or not the primary any more."""
    return isinstance(error, _CLASSES) or _says(error, _REFUSED)


def _says(error: BaseException | None, words: re.Pattern[str]) -> bool:
    return isinstance(error, exceptions.ResponseError) and bool(words.search(str(error)))
