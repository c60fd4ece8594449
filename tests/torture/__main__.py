"""The program: `python -m torture` with tests, device and protocol on the path; see `make torture`.

With --real-time it is another one: the tapes at their own speed, with an outage (real_time). With
--ledger it alters every entry of a ledger (altered_ledger).
"""

import sys


def _main() -> int:
    if "--real-time" in sys.argv:
        from torture import real_time

        return real_time.main()
    if "--ledger" in sys.argv:
        from torture import altered_ledger

        return altered_ledger.main()
    from torture import campaign

    return campaign.main()


if __name__ == "__main__":
    sys.exit(_main())
