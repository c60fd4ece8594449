"""Sets up what `make demo`, `make test` and `make check` need, and nothing twice.

Each purpose has a profile in `needs`. A stamp in `.venv` says that a profile is set up; it holds
a hash of `pyproject.toml` and of this folder, so a change in either sets up again. Programs come
from the distribution's packages. What the distribution has too old or not at all is unpacked into
`.tools` from a newer suite of the same distribution. Only the standard library is used: this runs
before anything is installed.
"""
