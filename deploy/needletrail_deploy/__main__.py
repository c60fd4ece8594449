"""The command behind `make secrets`: reads arguments, fills the folder, tells what there is now."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from needletrail_deploy import authority
from needletrail_deploy.folder import Folder, UnusableError
from needletrail_gateway.record.checkpoints import CheckpointError

HERE = Path(__file__).resolve().parents[1]
_UNUSABLE = 2
_FAILED = 1


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    found = argparse.ArgumentParser(
        prog="make secrets",
        description="Make what a deployment must not have from a repository: an authority of its own, "
        "the broker's certificate, accounts, passwords, the key for checkpoints. Nothing that is there "
        "is overwritten, but the broker's two lists, which follow from the accounts. Run it again "
        "after every new pen.",
        epilog='Example: make secrets ARGS="--clinic harbor --host gateway.lan --host 192.0.2.10"',
    )
    found.add_argument(
        "--clinic", metavar="ID", help="the clinic's id in the registry; needed the first time"
    )
    found.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        default=[],
        help="a name or address under which pens reach the broker; may be repeated (this machine)",
    )
    found.add_argument(
        "--renew", action="store_true", help="a new certificate for the broker, from the same authority"
    )
    found.add_argument(
        "--folder",
        metavar="DIR",
        type=Path,
        default=HERE / "secrets",
        help="where to keep them (deploy/secrets)",
    )
    found.add_argument(
        "--no-env", action="store_true", help="without containers: do not make deploy/.env"
    )
    return found


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0 done; 1 the machine failed; 2 something given can not be used."""
    given = parser().parse_args(arguments)
    folder = Folder(given.folder, datetime.now(UTC))
    is_first = not (given.folder / "mosquitto" / "server.pem").exists()
    hosts = given.host or ([socket.gethostname().lower()] if is_first else [])
    try:
        folder.fill(given.clinic, hosts, is_renewed=given.renew)
        env = None if given.no_env else make_env(given.folder.parent)
    except (UnusableError, CheckpointError) as error:
        print(f"make secrets: {error}", file=sys.stderr)
        return _UNUSABLE
    except OSError as error:
        print(f"make secrets: {error}", file=sys.stderr)
        return _FAILED
    tell(folder, env, is_with_containers=not given.no_env)
    return 0


def make_env(folder: Path) -> Path | None:
    """`.env` beside compose.yaml: the sample, with this account as the one that the servers run as."""
    env = folder / ".env"
    if env.exists():
        return None
    text = (HERE / "env.sample").read_text()
    for name, value in (("NEEDLETRAIL_UID", os.getuid()), ("NEEDLETRAIL_GID", os.getgid())):
        text = text.replace(f"\n{name}=1000\n", f"\n{name}={value or 1000}\n")
    part = env.with_name(".env.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(env)
    for name in ("checkpoints", "backups"):  # as the sample has them
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return env


def tell(folder: Folder, env: Path | None, *, is_with_containers: bool) -> None:
    """What was made, what was there, and what to do next. No secret is shown."""
    for path in [*folder.made, *([env] if env else [])]:
        print(f"✓ {path}")
    if folder.kept:
        print(f"  {len(folder.kept)} files were there and are as they were.")
    server = (folder.path / "mosquitto" / "server.pem").read_bytes()
    print(
        f"  The broker is {', '.join(authority.names_of(server))}; "
        f"its certificate is good until {authority.expiry_of(server):%Y-%m-%d}."
    )
    pens = folder.pens
    print(f"  Pens that may connect: {', '.join(pens) if pens else 'none yet'}.")
    if is_with_containers and os.getuid() == 0:
        folder.warnings.append(
            "You are root, and no server runs as root. Give the files away: "
            "chown -R 1000:1000 deploy/.env deploy/secrets deploy/checkpoints deploy/backups"
        )
    for warning in folder.warnings:
        print(f"✗ {warning}")
    print("\nNext:")
    print(
        f"  Keep {folder.path / 'ca.key'} somewhere else; it is needed only to renew the certificate."
    )
    print(f"  Enroll each pen:  needletrail pen enroll PEN --out {folder.path / 'pens' / 'PEN'} \\")
    print(f"                        --ca {folder.path / 'ca.pem'} …   then run this again.")
    if is_with_containers:
        compose = "docker compose --file deploy/compose.yaml"
        print(f"  Look through deploy/.env, then start:  {compose} up --detach")
        print(f"  If it runs already:  {compose} kill --signal HUP mosquitto")
    else:
        print("  If the broker runs already:  sudo systemctl reload mosquitto")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
