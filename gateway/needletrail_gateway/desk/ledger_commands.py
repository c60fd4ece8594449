"""`needletrail ledger`: prove the record, sign it, move it, copy it, and remove what has expired.

Exit codes are those of cli.py, and 3 if a ledger was read and is not intact.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from needletrail_gateway.core.notes import STOCK, StockNote, body_of
from needletrail_gateway.core.packs import words
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.treatment import utc
from needletrail_gateway.desk.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    WhoOption,
    WhyOption,
    checked,
    day_of,
    now_utc_ms,
    opened_ledger,
    place_of,
    who_is_it,
)
from needletrail_gateway.desk.progress import progress_bar
from needletrail_gateway.record import archive, checkpoints, retention
from needletrail_gateway.record.checkpoints import Checkpoint, CheckpointError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.proof import Proof, prove
from needletrail_gateway.shell.documents import DocumentError, read_policy
from needletrail_gateway.shell.rulebook import pack_in_force
from needletrail_gateway.shell.settings import read_settings

EXIT_NOT_INTACT = 3
_SHOWN = 10  # findings; --json has more

ledger_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The record itself: prove it, sign it, move it, copy it, and let readings expire.",
)

KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The key that signs; left out: that of the settings."),
]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


# ---- proving ----


@ledger_app.command(
    "verify",
    short_help="Prove that nothing was altered.",
    help="Check every entry's link, every record's MAC, the numbers, the other tables and the "
    "checkpoints, and name the first entry that is wrong. Only reads; the gateway may run. "
    "Exit code 3: it is not intact.",
    epilog="Example: needletrail ledger verify --ledger needletrail.sqlite "
    "--checkpoint kept/harbor-000000012000.checkpoint --public-key ledger.key.pub",
)
def verify(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="A checkpoint that was kept elsewhere; may repeat."
        ),
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            "--public-key", metavar="FILE", help="Who may have signed checkpoints; may repeat."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Every link, MAC, number, table and checkpoint."""
    location, _ = place_of(config, ledger)
    kept = [_read_checkpoint(path) for path in checkpoint or ()]
    keys = [checkpoints.read_public_key(path) for path in public_key or ()]
    with progress_bar("Checking entries", as_json) as progress:
        proof = prove(location, kept, keys, progress)
    if as_json:
        print(json.dumps(proof_statement(proof), ensure_ascii=False, indent=1))
    else:
        _show(proof, kept, keys)
    if not proof.is_intact:
        raise SystemExit(EXIT_NOT_INTACT)


def _read_checkpoint(path: Path) -> Checkpoint:
    try:
        return Checkpoint.read(path.read_bytes(), str(path))
    except OSError as error:
        raise CheckpointError(f"{path}: can not be read: {error.strerror}.") from error


def proof_statement(proof: Proof) -> dict[str, Any]:
    """A proof for machines."""
    return {
        "intact": proof.is_intact,
        "entries": proof.entries,
        "link": proof.link,
        "kinds": dict(sorted(proof.kinds.items())),
        "records": proof.records,
        "macs_checked": proof.macs_checked,
        "keys_missing": proof.keys_missing,
        "removed": proof.removed,
        "checkpoints": {
            "in_ledger": proof.checkpoints,
            "signature_good": proof.signed,
            "kept_and_agree": proof.kept,
            "vouched_entry": proof.vouched,
        },
        "findings": [{"entry": one.entry, "said": one.said} for one in proof.findings],
        "more_findings": proof.more_findings,
        "remarks": proof.remarks,
    }


def _show(proof: Proof, kept: Sequence[Checkpoint], keys: Sequence[Ed25519PublicKey]) -> None:
    if proof.is_intact:
        print(f"Intact: {proof.entries} entries, each linked to the one before.")
    else:
        count = len(proof.findings) + proof.more_findings
        print(f"NOT INTACT. First: {proof.findings[0]}.")
        for finding in proof.findings[1:_SHOWN]:
            print(f"Also: {finding}.")
        if count > _SHOWN:
            print(f"And {count - _SHOWN} more.")
    print(f"MACs checked: {proof.macs_checked} of {proof.records} records.")
    if proof.checkpoints or kept:
        signed = f", {proof.signed} with a good signature" if keys else ""
        print(f"Checkpoints in the ledger: {proof.checkpoints}{signed}.")
    if kept:
        print(f"Checkpoints kept elsewhere: {proof.kept} of {len(kept)} agree.")
    print(f"Last link: {proof.link}")
    for remark in proof.remarks:
        print(remark)


# ---- checkpoints ----


@ledger_app.command(
    "key",
    short_help="Make the key that signs checkpoints.",
    help="Make the private key that signs checkpoints, which you alone can read, and FILE.pub for "
    "whoever is to check them. A file that is there is kept.",
    epilog="Example: needletrail ledger key /etc/needletrail/ledger.key",
)
def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key's file.")],
    as_json: JsonOption = False,
) -> None:
    """A new signing key."""
    name = checkpoints.make_key(file)
    public = checkpoints.public_file(file)
    if as_json:
        print(json.dumps({"key": name, "private": str(file), "public": str(public)}))
    else:
        print(f"Key {name} is in {file}. Give {public} to whoever is to check the record.")


@ledger_app.command(
    "checkpoint",
    short_help="Sign what the ledger holds now.",
    help="Sign what the ledger holds now, and print the checkpoint: two lines. Keep them where whoever "
    "can change the ledger can not. A gateway with a [checkpoint] section does so by itself.",
    epilog="Example: needletrail ledger checkpoint --config gateway.toml > today.checkpoint",
)
def checkpoint(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    key_file: KeyOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it into this file instead of printing it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """One checkpoint now."""
    location, _ = place_of(config, ledger)
    folder = None
    if config is not None:
        section = read_settings(config).checkpoint
        if section is not None:
            key_file, folder = key_file or section.key, section.folder
    if key_file is None:
        raise DocumentError("give the key that signs: --key FILE, or [checkpoint] in the settings")
    secret = checkpoints.read_key(key_file)
    with opened_ledger(location) as opened:
        made = checkpoints.make(opened, secret, now_utc_ms())
        if folder is not None:
            checkpoints.hand_out(opened, folder)
    if out is not None:
        checkpoints.write_whole(out, made.data)
    if as_json:
        said = json.loads(made.text) | {"signature": made.signature.hex(), "sha256": made.sha256}
        print(json.dumps(said, ensure_ascii=False))
    elif out is None:
        print(made.data.decode(), end="")
    else:
        print(f"Entries 1 to {made.entry}, signed by key {made.key}, are vouched for in {out}.")


# ---- moving ----


@ledger_app.command(
    "export",
    short_help="The whole ledger as one file.",
    help="Write the whole ledger into a new file: JSON lines in gzip, for another gateway or another "
    "program. The gateway may run. Keys of pens are left out, and so the file can be handed on.",
    epilog="Example: needletrail ledger export harbor-2027.jsonl.gz --config gateway.toml",
)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    with_keys: Annotated[
        bool,
        typer.Option("--with-keys", help="Also the keys of pens: whoever has the file is the pens."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """All of it, in a format that others can read."""
    location, _ = place_of(config, ledger)
    with progress_bar("Writing entries", as_json) as progress:
        moved = archive.export(location, file, with_keys=with_keys, progress=progress)
    if as_json:
        print(json.dumps(_moved(moved)))
    else:
        print(f"{moved.entries} entries are in {file} ({moved.bytes} bytes).{_keys(moved)}")


@ledger_app.command(
    "import",
    short_help="A new ledger from an export.",
    help="Make a new ledger of an export, and prove it. A file that was cut short or altered leaves "
    "nothing behind.",
    epilog="Example: needletrail ledger import harbor-2027.jsonl.gz --ledger new.sqlite",
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The export.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """A ledger that says the same."""
    location, _ = place_of(config, ledger)
    with progress_bar("Reading entries", as_json) as progress:
        moved, proof = archive.import_from(file, location, progress)
    if as_json:
        print(json.dumps(_moved(moved) | {"link": proof.link}))
    else:
        print(f"{moved.entries} entries are in {location}, and intact.{_keys(moved)}")
        print(f"Last link: {proof.link}")


def _moved(moved: archive.Moved) -> dict[str, Any]:
    return {
        "entries": moved.entries,
        "rows": moved.rows,
        "keys": moved.keys,
        "bytes": moved.bytes,
    }


def _keys(moved: archive.Moved) -> str:
    if moved.keys:
        return f" With {moved.keys} keys of pens: keep the file as you keep a key."
    return " Without the keys of pens."


@ledger_app.command(
    "backup",
    short_help="A copy of the database, at any time.",
    help="Copy the ledger's database as it is at this moment, keys of pens included, and prove the "
    "copy. The gateway may run. Exit code 3: the ledger is not intact; it is copied all the same.",
    epilog="Example: needletrail ledger backup /mnt/backup/monday.sqlite --config gateway.toml",
)
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """The file itself."""
    location, _ = place_of(config, ledger)
    with progress_bar("Copying", as_json) as progress:
        proof = archive.backup(location, file, progress)
    if as_json:
        print(json.dumps({"file": str(file)} | proof_statement(proof), ensure_ascii=False))
    elif proof.is_intact:
        print(f"{proof.entries} entries are in {file}, and intact. Keep it as you keep a key.")
    else:
        print(f"{file} is a copy of a ledger that is NOT INTACT. First: {proof.findings[0]}.")
    if not proof.is_intact:
        raise SystemExit(EXIT_NOT_INTACT)


# ---- removing ----


@ledger_app.command(
    "expire",
    short_help="Remove old readings.",
    help="Remove the readings of sessions that were judged before a day. Verdicts, alerts and all else "
    "stay, and the chain with them; an entry says who removed how many, when and why. If the policy "
    "says how many years readings are kept, the day follows from that, and a later one is refused.",
    epilog="Example: needletrail ledger expire --before 2023-01-01 --dry-run --config gateway.toml",
)
def expire(
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="DAY",
            help="The first day that is kept (UTC); left out: as the policy has it.",
        ),
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    who: WhoOption = None,
    why: WhyOption = "the readings' time of retention is over",
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Readings that need not be kept any longer."""
    location, folder = place_of(config, ledger)
    now = now_utc_ms()
    name = who_is_it(who)
    checked("--why", why)
    given = None if before is None else day_of("--before", before)
    with opened_ledger(location) as opened:
        policy = pack_in_force(opened, lambda wanted: read_policy(wanted, folder))
        day = _first_kept(given, policy, utc(now).date())
        before_utc_ms = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        with progress_bar("Looking at sessions", as_json) as progress:
            done = retention.expire(
                opened, before_utc_ms, name, why, now, is_dry=dry_run, progress=progress
            )
    if as_json:
        counts = {"sessions": done.sessions, "entries": done.entries, "bytes": done.bytes}
        print(json.dumps(counts | {"before": day.isoformat(), "dry_run": dry_run}))
    else:
        verb = "would be" if dry_run else "were"
        print(
            f"Readings of {done.sessions} sessions judged before {day} {verb} removed: "
            f"{done.entries} entries, {done.bytes} bytes."
        )


def _first_kept(given: date | None, policy: Policy, today: date) -> date:
    """The first day of which readings are kept; DocumentError if the policy keeps more than that."""
    rule = policy.retention
    if given is not None and given > today:
        raise DocumentError(f"--before: {given} has not come yet.")
    if rule is None:
        if given is None:
            raise DocumentError(
                f"give --before DAY: the pack {policy.name} does not say how many years readings are "
                "kept ([retention] samples_kept_years), so they are kept for ever"
            )
        return given
    kept_from = rule.kept_from(today)
    if given is not None and given > kept_from:
        raise DocumentError(
            f"--before: {given} is too late, {kept_from} is the latest day: by the pack {policy.name} "
            f"{words.retention_words(rule)}. {rule.citation[0]}"
        )
    return kept_from if given is None else given


@ledger_app.command(
    "forget",
    short_help="Remove what is said of a client.",
    help="Remove every note on a client. The chain stays whole; an entry says who did it, when and "
    "why, but not whom. Copies that were made before are not reached.",
    epilog="Example: needletrail ledger forget c-7k2m9qxa --why 'asked for it' --config gateway.toml",
)
def forget(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="The client's pseudonym.")],
    why: WhyOption,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    who: WhoOption = None,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """A client's notes."""
    location, _ = place_of(config, ledger)
    name = who_is_it(who)
    checked("--why", why)
    if client in why or client in name:
        raise DocumentError("--why and --who stay in the record: do not name the client there.")
    with opened_ledger(location) as opened:
        found = retention.entries_of_client(opened, client)
        entry = None
        if found and not dry_run:
            _keep_stock(opened, found, name)
            entry = retention.redact(opened, found, why, name, now_utc_ms())
    if as_json:
        print(json.dumps({"entries": found, "said_in": entry, "dry_run": dry_run}))
    elif not found:
        print("No entry speaks of this client.")
    elif dry_run:
        print(f"{len(found)} entries would be forgotten.")
    else:
        print(f"{len(found)} entries are forgotten; entry {entry} says so.")


def _keep_stock(ledger: Ledger, entries: Sequence[int], who: str) -> None:
    """What those treatments used stays used, although nobody can read any more whom it was for."""
    used: Counter[str] = Counter()
    for number in entries:
        used.update(ledger.entries(number - 1, most=1)[0].json().get("used", {}))
    for item, count in sorted(used.items()):
        why = "used in treatments whose notes are forgotten"
        note = StockNote(who=who, why=why, consumable=item, change=-count, cause="used")
        ledger.note(STOCK, body_of(note), now_utc_ms())
