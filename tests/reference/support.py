"""What the tests of the reference implementation share."""

import contextlib
import hashlib
import io
import os
import sys
from pathlib import Path

from commandline import run

HERE = Path(__file__).parent
OK, USAGE, INTEGRITY, AUTHENTICITY, NO_KEY, NOT_FOUND = 0, 2, 3, 4, 6, 8


def noise(length: int, seed: bytes = b"") -> bytes:
    return hashlib.shake_128(seed).digest(length)


def call(module, *arguments) -> tuple[int, str]:
    """Exit code and standard error of a command, run in this process."""
    saved, sys.argv = sys.argv, [module.__name__, *map(str, arguments)]
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
            return run(module.main), error.getvalue()
    finally:
        sys.argv = saved


def contents(folder: Path) -> dict:
    """Path -> bytes and executable bit, of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), os.access(p, os.X_OK)) for p in files}
