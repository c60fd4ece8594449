"""The gateway's health check: 0 if it holds a connection to the broker, 1 if not.

The broker ends a connection that is silent, and the gateway makes a new one for as long as it lives; so
an established connection from this network namespace to the broker's port is a gateway that is being
served. Read from /proc/net (proc(5)), which takes no connection, no password and no program.
"""

import os
import sys
from pathlib import Path

ESTABLISHED = "01"  # TCP_ESTABLISHED of the kernel's include/net/tcp_states.h


def is_connected(table: str, port: int) -> bool:
    """True if a table of /proc/net has an established connection to a port of any host."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[3] == ESTABLISHED and int(columns[2].rsplit(":", 1)[1], 16) == port:
            return True
    return False


if __name__ == "__main__":
    wanted = int(os.environ.get("NEEDLETRAIL_MQTT__PORT", "8883"))
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    sys.exit(not any(is_connected(one.read_text(), wanted) for one in tables if one.exists()))
