"""Runs many scripts in one process: standard input is a list of [script, arguments, standard input]; prints a list of
[exit code, standard error]."""

import contextlib
import io
import json
import runpy
import sys


def run(script: str, arguments: list[str], text: str) -> tuple[int, str]:
    sys.argv, sys.stdin, error = [script, *arguments], io.StringIO(text), io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code or 0, error.getvalue()
    return 0, error.getvalue()


print(json.dumps([run(*line) for line in json.load(sys.stdin)]))
