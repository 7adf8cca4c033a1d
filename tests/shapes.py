"""Eight applications as they exist in the wild: tests/apps/shapes, each with the package that all share.

Usage: shapes.py DIRECTORY: write all of them there.
"""

import shutil
import sys
from pathlib import Path

from repository import PROJECT

SOURCES = PROJECT / "tests/apps/shapes"
#: Where the packages of each are, below its top.
PACKAGES = {
    "cookie": "",
    "packaged": "src",
    "buildstep": "",
    "hardcoded": "",
    "poetry": "",
    "scheduled": "",
    "realtime": "",
    "older": "site",
}


def write(name: str, directory: Path) -> Path:
    """Write an application with the common package below a directory; return its top."""
    top = directory / name
    ignore = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.rmtree(top, ignore_errors=True)
    shutil.copytree(SOURCES / name, top, ignore=ignore)
    shutil.copytree(SOURCES / "common", top / PACKAGES[name], ignore=ignore, dirs_exist_ok=True)
    return top


def second_release(top: Path) -> None:
    """Change the page of an application that was written, so that it is another release."""
    (page,) = top.rglob("base.html")
    text = page.read_text()
    assert text.count("Release 1") == 1, page
    page.write_text(text.replace("Release 1", "Release 2"))


if __name__ == "__main__":
    for application in PACKAGES:
        write(application, Path(sys.argv[1]))
