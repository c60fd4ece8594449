"""Installs packages by apt, and keeps their servers off.

A package for a server starts it on installation. The script below puts up Debian's own sign
against that, a `policy-rc.d` that says 101, unless the machine has one already, and takes its own
down whatever happens. It is one script run by root, so it finishes its work even if this program
is killed; a sign left behind by a power cut carries a mark, by which the next run knows it for
its own. Services that the packages enabled for the next boot are disabled again: they were not on
this machine before.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from bootstrap.progress import Log, SetupFailed

INSTALL = r"""
set -eu
services=$1
shift
sign=/usr/sbin/policy-rc.d
mark='# put up by the set-up of Needletrail; safe to remove'
exec 9>/run/needletrail-set-up.lock
flock 9
if [ ! -e "$sign" ] || grep -qxF "$mark" "$sign"; then
    trap 'rm -f "$sign"' EXIT
    trap 'exit 130' HUP INT TERM
    umask 022
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$sign.part"
    chmod 755 "$sign.part"
    mv "$sign.part" "$sign"
fi
dpkg --force-confdef --force-confold --configure -a 9>&- || true  # after an earlier interruption
apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    install --no-install-recommends "$@" 9>&-
for service in $services; do
    if command -v systemctl > /dev/null; then systemctl disable "$service" || true; fi
    if command -v update-rc.d > /dev/null; then update-rc.d "$service" disable || true; fi
done
"""
PASSED_ON = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


def rights(*, ask: bool) -> list[str] | None:
    """What to put before a command to run it as root; nothing if this account may not."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    quiet = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False)
    if quiet.returncode == 0:
        return [sudo, "-n"]
    if ask and sys.stdin.isatty() and subprocess.run([sudo, "-v"], check=False).returncode == 0:
        return [sudo]
    return None


def update(as_root: Sequence[str], log: Log) -> None:
    """One broken third-party entry must not stop us, so a failure only goes to the log."""
    command = [*as_root, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=600", "update"]
    try:
        log.run(command, what="apt-get update")
    except SetupFailed:
        return


def candidate(package: str, log: Log) -> str:
    """The version that apt would install; empty if it knows none."""
    return candidate_in(log.capture(["apt-cache", "policy", package], what="apt-cache"))


def candidate_in(policy: str) -> str:
    for line in policy.splitlines():
        name, _, value = line.strip().partition(": ")
        if name == "Candidate" and value.strip() != "(none)":
            return value.strip()
    return ""


def install(packages: Sequence[str], services: Sequence[str], as_root: Sequence[str], log: Log) -> None:
    passed_on = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
    settings = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *passed_on]
    script = ["sh", "-c", INSTALL, "needletrail-set-up", " ".join(services), *packages]
    log.run([*as_root, *settings, *script], what=f"Installing {', '.join(packages)}")
