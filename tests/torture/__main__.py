"""The program: `python -m torture` with tests, device and protocol on the path; see `make torture`."""

import sys

from torture.campaign import main

if __name__ == "__main__":
    sys.exit(main())
