"""The error of a file that a person can mend: main prints it as one line and exits with 2."""


class InputError(Exception):
    """FILE, line N: cause."""

    def __init__(self, path: str, line: int, cause: str) -> None:
        super().__init__("%s%s: %s" % (path, ", line %d" % line if line else "", cause))


class Settings:
    """What pen.json says, as attributes; config.load fills it."""
