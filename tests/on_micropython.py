"""Run the tests of one plain test file on this interpreter: `micropython tests/on_micropython.py FILE`.

A plain test file holds functions named test_*, without parameters, that assert. It runs here on
MicroPython as under pytest on CPython; tests/conftest.py collects it twice. For each test one line
goes to standard output, `ok NAME` or `failed NAME`, after whatever the test printed; a failed one is
preceded by its traceback. A name after FILE runs that test alone. Exit 1 if a test failed.
"""

import gc
import sys


def _folder_of(path: str) -> str:
    return path.rsplit("/", 1)[0] if "/" in path else "."


def _show(error: BaseException) -> None:
    if hasattr(sys, "print_exception"):
        sys.print_exception(error, sys.stdout)
    else:
        import traceback

        print("".join(traceback.format_exception(error)))


def main() -> int:
    path = sys.argv[1]
    wanted = sys.argv[2] if len(sys.argv) > 2 else None
    root = _folder_of(__file__) + "/.."
    for folder in (root + "/protocol", root + "/device", _folder_of(path)):
        sys.path.insert(0, folder)
    module = __import__(path.rsplit("/", 1)[-1][: -len(".py")])
    failures = 0
    for name in sorted(dir(module)):
        if not name.startswith("test_") or (wanted is not None and name != wanted):
            continue
        gc.collect()
        try:
            getattr(module, name)()
        except Exception as error:
            failures += 1
            _show(error)
            print("failed " + name)
        else:
            print("ok " + name)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
