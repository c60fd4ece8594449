"""Power-on: find the firmware and run it. `main.py FLASH_DIR` on a computer."""

import sys


def main() -> int:
    """The exit code."""
    here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
    if here not in sys.path:
        sys.path.insert(0, here)
    import firmware  # noqa: PLC0415  the path comes first

    return firmware.main()


if __name__ == "__main__":
    sys.exit(main())
