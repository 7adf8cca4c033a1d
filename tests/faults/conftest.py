"""Which rows run, how often, and what is kept of each run; between two rows the stack is healthy.

Environment: FAULTS_ROW=5 (rows, separated by commas; without it all), FAULTS_RUNS=3, FAULTS_CONTROLS=1,
FAULTS_RESULTS=<file>.
"""

import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

import condition
from stack import PROJECT, Stack
from trial import PromiseBroken, Record, Trial

RUNS = int(os.environ.get("FAULTS_RUNS") or 1)
ROWS = set(filter(None, os.environ.get("FAULTS_ROW", "").split(",")))
CONTROLS = os.environ.get("FAULTS_CONTROLS", "") not in ("", "0")
RESULTS = Path(os.environ.get("FAULTS_RESULTS") or PROJECT / ".cache/faults/results.jsonl")

record_key = pytest.StashKey[Record]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(number): the row of docs/promises.md")
    config.addinivalue_line("markers", "control(what): a hardening is off; the promise must not be kept")
    config.addinivalue_line("markers", "last: nothing can be tested after it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "trial" in metafunc.fixturenames:
        control = next(metafunc.definition.iter_markers("control"), None)
        # A control shows that the test can fail: once is enough.
        metafunc.parametrize("run", range(1, 2 if control else RUNS + 1))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def wanted(item: pytest.Item) -> bool:
        row = next((marker.args[0] for marker in item.iter_markers("row")), "")
        control = any(item.iter_markers("control"))
        return (not ROWS or row in ROWS) and (CONTROLS or not control)

    left_out = [item for item in items if not wanted(item)]
    assert len(left_out) < len(items), f"no test is of the row {', '.join(sorted(ROWS))}"
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(filter(wanted, items), key=lambda item: any(item.iter_markers("last")))


@pytest.fixture(scope="session")
def results() -> Path:
    """The file of the results: one run's, unless FAULTS_RESULTS names one, to which is added."""
    if not os.environ.get("FAULTS_RESULTS"):
        RESULTS.unlink(missing_ok=True)
    return RESULTS


@pytest.fixture(scope="module")
def stack(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(host, tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trial(stack: Stack, request: pytest.FixtureRequest, run: int, results: Path) -> Iterator[Trial]:
    """A healthy stack before and after; what was found is kept, whatever it is."""
    row = request.node.get_closest_marker("row").args[0]
    control = request.node.get_closest_marker("control")
    record = Record(row, run, control.args[0] if control else "", begun=time.time())
    request.node.stash[record_key] = record
    condition.wait_until_healthy(stack, 90)
    yield Trial(stack, record)
    try:
        condition.restore(stack)
    except AssertionError as error:
        record.holds = None
        record.error = f"{record.error} Not healthy afterwards: {error}".strip()
        raise
    finally:
        record.write(results)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Judges a row by its figures: a test fails of a broken promise, a control without one."""
    record = pyfuncitem.stash.get(record_key, None)
    if record is None:
        return (yield)
    begun, result = time.time(), None
    try:
        result = yield
    except PromiseBroken:
        pass
    except BaseException as error:
        # The end of what a command says is its reason.
        record.error = f"{type(error).__name__}: {str(error)[-1000:]}"
        raise
    finally:
        record.seconds = round(time.time() - begun, 1)
        print("\n".join([f"row {record.row}", *map(str, record.measures)]))
    record.holds = not record.broken
    assert record.measures, "nothing was measured"
    if record.control:
        assert record.broken, f"the promise is kept without it: {record.control}"
    elif record.broken:
        raise PromiseBroken("; ".join(record.broken))
    return result
