"""Schedules of faults: generated from a seed, stored as JSON, and run by nemesis.py.

The same seed, kinds, minutes and number of faults always give the same schedule.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

POOLS = ("critical", "default", "low-priority")
#: One fault in so many begins while another one lasts, where both can last together.
OVERLAP = 1 / 3


@dataclass(frozen=True)
class Fault:
    """Something to break: when it begins (seconds after the start of the run), and how long it lasts."""

    kind: str
    at: float
    lasts: float
    #: A worker pool, for the faults that concern one.
    target: str = ""

    @property
    def needs(self) -> frozenset[str]:
        """What no other fault may use meanwhile."""
        kind = KINDS[self.kind]
        return frozenset({*kind.needs, *({f"worker-{self.target}"} if self.target else ())})


@dataclass(frozen=True)
class Kind:
    """What a schedule has to know of a kind of fault."""

    #: The shortest and the longest time that it lasts, in seconds.
    lasts: tuple[float, float]
    needs: frozenset[str]
    of_a_pool: bool = False
    #: How long the server needs after it before the same thing can be broken in a way that shows something.
    recovery: float = 10


def _kind(shortest: float, longest: float, *needs: str, **other: bool | float) -> Kind:
    return Kind((shortest, longest), frozenset(needs), **other)  # type: ignore[arg-type]


#: Each kind, and what it needs for itself. `redis` is also needed by what cuts the network to Redis: the
#: limit of its memory is set over the same network. `network` is the one table of firewall rules.
KINDS = {
    "kill-child": _kind(0, 0, of_a_pool=True),
    "kill-worker": _kind(0, 0, of_a_pool=True),
    "kill-supervisord": _kind(0, 0, "supervisord"),
    "kill-beat": _kind(0, 0, "beat"),
    "kill-redis": _kind(0, 0, "redis"),
    "kill-nginx": _kind(0, 0, "nginx"),
    "kill-postgresql": _kind(0, 0, "postgresql"),
    "kill-web-worker": _kind(0, 0, "web"),
    "kill-web-master": _kind(0, 0, "web"),
    "freeze-worker": _kind(5, 30, of_a_pool=True),
    "freeze-beat": _kind(5, 30, "beat"),
    "freeze-redis": _kind(3, 25, "redis"),
    "freeze-postgresql": _kind(3, 20, "postgresql"),
    "stop-pool": _kind(2, 15, "supervisord", of_a_pool=True),
    "cut-redis": _kind(5, 40, "network", "redis"),
    "cut-postgresql": _kind(5, 30, "network", "postgresql"),
    "slow-postgresql": _kind(10, 30, "network", "postgresql"),
    "full-redis": _kind(5, 40, "redis"),
    "full-disk": _kind(5, 25, "redis"),
    "deploy": _kind(90, 90, "deploy", recovery=20),
    "reboot": _kind(0, 0, "server", recovery=60),
    "power": _kind(0, 5, "server", recovery=60),
    "power-torn-file": _kind(0, 5, "server", recovery=60),
    "power-before-switch": _kind(0, 10, "server", "deploy", recovery=90),
    "power-after-switch": _kind(0, 10, "server", "deploy", recovery=90),
}
#: What these kinds need is the whole server. A deploy may be under way, as it may when the power fails.
WHOLE_SERVER = {"reboot", "power", "power-torn-file", "power-before-switch", "power-after-switch"}
#: These end when they are done: how long they last is only what is reckoned with.
OWN_END = {"deploy", *WHOLE_SERVER}
EXCLUSIVE = {
    "server",
    *(need for kind in KINDS.values() for need in kind.needs if need != "deploy"),
    *(f"worker-{pool}" for pool in POOLS),
}

PROFILES: dict[str, tuple[str, ...]] = {
    "process": tuple(kind for kind in KINDS if kind.startswith(("kill-", "freeze-", "stop-"))),
    "network": ("cut-redis", "cut-postgresql", "slow-postgresql", "kill-redis", "kill-worker"),
    "memory": ("full-redis", "full-redis", "kill-worker", "kill-child", "deploy"),
    "disk": ("full-disk", "full-disk", "kill-worker", "kill-postgresql"),
    "deploy": ("deploy", "deploy", "kill-child", "kill-worker", "freeze-worker", "stop-pool"),
    "power": (
        "power",
        "power-torn-file",
        "power-before-switch",
        "power-after-switch",
        "reboot",
        "deploy",
        "kill-worker",
    ),
    "mixed": tuple(KINDS),
}


def needs_of(fault: Fault) -> frozenset[str]:
    """All that nobody else may use while a fault lasts."""
    return fault.needs | EXCLUSIVE if fault.kind in WHOLE_SERVER else fault.needs


def conflict(one: Fault, other: Fault) -> bool:
    """Whether two faults may not last at the same time."""
    return bool(needs_of(one) & needs_of(other))


@dataclass(frozen=True)
class Schedule:
    """The faults of a run, and the seed that also decides what is published."""

    seed: int
    profile: str
    minutes: float
    faults: tuple[Fault, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError, KeyError or TypeError for what is no schedule."""
        found = json.loads(text)
        faults = tuple(Fault(**fault) for fault in found.pop("faults"))
        if unknown := {fault.kind for fault in faults} - KINDS.keys():
            raise ValueError(f"unknown kinds of faults: {', '.join(sorted(unknown))}")
        return cls(**found, faults=faults)

    def with_faults(self, faults: Sequence[Fault]) -> "Schedule":
        """The same run with other faults."""
        return Schedule(self.seed, self.profile, self.minutes, tuple(faults))

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, {self.profile}, {len(self.faults)} faults"]
        for fault in self.faults:
            lasts = f" for {fault.lasts:g} s" if fault.lasts else ""
            lines.append(f"  {fault.at:6.1f} s  {fault.kind} {fault.target}".rstrip() + lasts)
        return "\n".join(lines)


def generate(seed: int, profile: str, minutes: float, faults: int) -> Schedule:
    """Random faults of a profile, spread over the time; about a third overlap the one before."""
    if profile not in PROFILES:
        raise ValueError(f"SCHEDULE is {profile}: it is one of {', '.join(PROFILES)}")
    chance = random.Random(f"{profile}/{seed}")  # noqa: S311 - what is broken when is no secret, 2026-11-30
    slot = minutes * 60 / faults
    chosen: list[Fault] = []
    for number in range(faults):
        fault = _random_fault(chance, profile, number * slot + chance.uniform(0, slot / 3))
        before = chosen[-1] if chosen else None
        if before and before.lasts and chance.random() < OVERLAP:
            # Another kind, where the one that was drawn cannot overlap.
            for _ in range(10):
                if not conflict(before, fault):
                    break
                fault = _random_fault(chance, profile, fault.at)
            fault = _moved(fault, before.at + chance.uniform(0, before.lasts))
        chosen.append(_moved(fault, _earliest(fault, chosen)))
    chosen.sort(key=lambda fault: fault.at)
    return Schedule(seed, profile, minutes, tuple(chosen))


def _random_fault(chance: random.Random, profile: str, at: float) -> Fault:
    name = chance.choice(PROFILES[profile])
    kind = KINDS[name]
    target = chance.choice(POOLS) if kind.of_a_pool else ""
    return Fault(name, round(at, 1), round(chance.uniform(*kind.lasts), 1), target)


def _moved(fault: Fault, at: float) -> Fault:
    return Fault(fault.kind, round(at, 1), fault.lasts, fault.target)


def _earliest(fault: Fault, chosen: Sequence[Fault]) -> float:
    """When a fault can begin: not before those that exclude it have ended, and the server has recovered."""
    return max(
        [
            fault.at,
            *(
                round(other.at + other.lasts + KINDS[other.kind].recovery, 1)
                for other in chosen
                if conflict(other, fault)
            ),
        ]
    )
