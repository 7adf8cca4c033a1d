"""Write the files of a package, a JSON object of names to contents on stdin, below a new directory.

Arguments: the directory, the package's name. Only a whole directory gets its name.
"""

import compileall
import json
import shutil
import sys
import tempfile
from pathlib import Path


def main(directory: Path, name: str) -> None:
    """Another host of the inventory may be the same server, and install the same at the same time."""
    directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=directory.parent))
    try:
        (new / name).mkdir()
        for file, content in json.load(sys.stdin).items():
            (new / name / file).write_text(content + "\n")
        # The programs that load it may not write here.
        compileall.compile_dir(new / name, quiet=1, stripdir=new, prependdir=directory)
        for path in [new, *new.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        new.rename(directory)
    except OSError:
        if not directory.exists():
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
