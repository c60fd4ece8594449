"""Starts the set-up under a Python that is new enough.

This file alone must be readable by an old Python, for it is the one that says so. With an old
`python3` it looks for a newer one by name and starts again under that; otherwise it names the
version it needs.
"""

import importlib
import os
import shutil
import subprocess
import sys

NEEDED = (3, 11)
OTHERS = ("python3.14", "python3.13", "python3.12", "python3.11")
PROBE = "import sys; sys.exit(sys.version_info < {!r})".format(NEEDED)  # noqa: UP032


def newer_python() -> object:
    for name in OTHERS:
        path = shutil.which(name)
        if path and subprocess.call([path, "-c", PROBE], stderr=subprocess.DEVNULL) == 0:
            return path
    return None


if __name__ == "__main__":
    if sys.version_info < NEEDED:
        python = newer_python()
        if not isinstance(python, str):
            here = ".".join(str(part) for part in sys.version_info[:3])
            sys.stderr.write(
                "✗ Needletrail needs Python 3.11 or newer. This python3 is " + here + ".\n"
                "  Install a newer one, then run the same command again.\n"
                "  If it has another name, give it: make PYTHON=/path/to/python3 demo\n"
            )
            sys.exit(1)
        os.execv(python, [python, "-m", "bootstrap", *sys.argv[1:]])
    sys.exit(importlib.import_module("bootstrap.run").main(sys.argv[1:]))
