"""Checkpoints: made, signed, kept elsewhere, made by the gateway itself; and keys."""

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gateway_clinic import NOW_UTC_MS
from gateway_desk import Desk
from honest_ledger import signing_key
from honest_pen import HonestPen

from needletrail_gateway.record import checkpoints
from needletrail_gateway.record.checkpoints import Checkpoint, CheckpointError, Notary
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.proof import prove
from needletrail_gateway.shell.settings import CheckpointSettings

HOUR_MS = 3_600_000


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return signing_key(tmp_path)


@pytest.fixture
def key(key_file: Path) -> Ed25519PrivateKey:
    return checkpoints.read_key(key_file)


def work(desk: Desk, records: int, pen: HonestPen | None = None) -> HonestPen:
    """So many more entries."""
    pen = pen or HonestPen()
    desk.take([pen.boot() for _ in range(records)])
    return pen


def counted(desk: Desk, up_to: int) -> Counter[str]:
    """How many entries of each kind there are."""
    return Counter(entry.kind for entry in desk.ledger.entries(most=1_000) if entry.id <= up_to)


def refusal(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.read(data, "kept.checkpoint")
    return str(caught.value)


# ---- what it says ----


def test_it_says_what_the_ledger_holds(desk: Desk, key: Ed25519PrivateKey) -> None:
    work(desk, 5)
    work(desk, 2, HonestPen("pen-02"))
    made = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    last = desk.ledger.entries(made.entry - 1)[0]
    assert made.entry == last.id == desk.ledger.last_entry_id() - 1
    assert made.kinds == counted(desk, made.entry)
    assert made.kinds["record"] == 7
    assert set(made.pens) == {"pen-01 1", "pen-02 1"}
    assert made.pens["pen-02 1"]["entry"] == made.entry
    assert (made.clinic, made.previous, made.utc_ms) == ("harbor", None, NOW_UTC_MS)
    assert made.made == "2026-07-01T09:00:00.000Z"
    assert made.key == checkpoints.key_name(key.public_key())


def test_the_next_one_counts_on_and_follows(desk: Desk, key: Ed25519PrivateKey) -> None:
    pen = work(desk, 5)
    one = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    work(desk, 3, pen)
    two = checkpoints.make(desk.ledger, key, NOW_UTC_MS + 1)
    assert two.kinds == counted(desk, two.entry)
    assert (two.kinds["record"], two.kinds["checkpoint"]) == (8, 1)
    assert two.previous == one.sha256 == hashlib.sha256(one.text).hexdigest()
    assert two.pens["pen-01 1"]["entry"] == two.entry


def test_counting_on_and_counting_all_are_the_same(desk: Desk, key: Ed25519PrivateKey) -> None:
    """What another key signed is not believed, and counted again."""
    pen = work(desk, 4)
    checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    work(desk, 3, pen)
    other = Path(str(desk.ledger.engine.url.database) + ".copy")
    shutil.copyfile(str(desk.ledger.engine.url.database), other)
    wal = Path(str(desk.ledger.engine.url.database) + "-wal")
    shutil.copyfile(wal, str(other) + "-wal")
    copied = Ledger.open(other)
    ours = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    theirs = checkpoints.make(copied, Ed25519PrivateKey.generate(), NOW_UTC_MS)
    copied.close()
    assert (ours.kinds, ours.pens, ours.chain) == (theirs.kinds, theirs.pens, theirs.chain)
    assert ours.signature != theirs.signature


def test_nothing_new_gives_the_same_one_again(desk: Desk, key: Ed25519PrivateKey) -> None:
    work(desk, 2)
    one = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    before = desk.ledger.last_entry_id()
    assert checkpoints.make(desk.ledger, key, NOW_UTC_MS + HOUR_MS) == one
    assert desk.ledger.last_entry_id() == before


def test_a_ledger_without_a_registry_has_nothing_to_sign(
    tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    empty = Ledger.open(tmp_path / "empty.sqlite")
    with pytest.raises(LedgerError, match="nothing to sign"):
        checkpoints.make(empty, key, NOW_UTC_MS)
    empty.close()


# ---- the two lines ----


def test_the_two_lines_are_read_back(desk: Desk, key: Ed25519PrivateKey) -> None:
    made = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    assert Checkpoint.read(made.data, "x") == made
    line, signature, rest = made.data.split(b"\n")
    assert rest == b""
    assert json.loads(line)["entry"] == made.entry
    assert len(signature) == 128
    assert desk.ledger.entries(kind="checkpoint")[0].body == made.data


def test_whatever_is_altered_in_it_shows(desk: Desk, key: Ed25519PrivateKey) -> None:
    made = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    keys = [key.public_key()]
    assert made.is_signed_by(keys)
    assert not made.is_signed_by([Ed25519PrivateKey.generate().public_key()])
    assert made.is_signed_by([Ed25519PrivateKey.generate().public_key(), *keys])
    assert not made.is_signed_by([])
    for at in range(len(made.data)):
        altered = bytearray(made.data)
        altered[at] ^= 1
        try:
            assert not Checkpoint.read(bytes(altered), "x").is_signed_by(keys)
        except CheckpointError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"{}\n" + b"0" * 128 + b"\n",
        b'{"needletrail":"checkpoint"}\n' + b"0" * 128 + b"\n",
        b'{"needletrail":"checkpoint","version":1,"entry":"7"}\n' + b"0" * 128 + b"\n",
        b"[]\n" + b"0" * 128 + b"\n",
        b"\xff\n" + b"0" * 128 + b"\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    assert "kept.checkpoint: is not a checkpoint" in refusal(data)


def test_a_checkpoint_cut_short_or_of_a_later_version_is_refused(
    desk: Desk, key: Ed25519PrivateKey
) -> None:
    made = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    for end in range(len(made.data)):
        assert "is not a checkpoint" in refusal(made.data[:end])
    later = made.data.replace(b'"version":1', b'"version":2')
    assert "version 2" in refusal(later)
    assert "Upgrade" in refusal(later)


def test_openssl_agrees_with_the_signature(
    desk: Desk, key: Ed25519PrivateKey, key_file: Path, tmp_path: Path
) -> None:
    """As docs/how-to/prove-the-record.md says."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "openssl is not on this machine"
    made = checkpoints.make(desk.ledger, key, NOW_UTC_MS)
    for text, code in ((made.text, 0), (made.text + b" ", 1)):
        (tmp_path / "statement").write_bytes(text)
        (tmp_path / "signature").write_bytes(made.signature)
        command = [openssl, "pkeyutl", "-verify", "-pubin", "-rawin"]
        command += ["-inkey", str(key_file) + ".pub", "-in", str(tmp_path / "statement")]
        command += ["-sigfile", str(tmp_path / "signature")]
        done = subprocess.run(command, check=False, capture_output=True, timeout=60)
        assert done.returncode == code, done.stderr


# ---- keys ----


def test_a_key_can_be_read_by_its_owner_alone(key_file: Path) -> None:
    assert key_file.stat().st_mode & 0o777 == 0o600
    public = checkpoints.read_public_key(checkpoints.public_file(key_file))
    assert checkpoints.key_name(public) == checkpoints.key_name(
        checkpoints.read_key(key_file).public_key()
    )


def test_a_key_that_is_there_is_kept(key_file: Path, tmp_path: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(CheckpointError, match="is there already"):
        checkpoints.make_key(key_file)
    assert key_file.read_bytes() == before
    checkpoints.public_file(key_file).unlink()
    with pytest.raises(CheckpointError, match="is there already"):
        checkpoints.make_key(key_file)
    (tmp_path / "other.pub").write_text("x")
    with pytest.raises(CheckpointError, match="is there already"):
        checkpoints.make_key(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_key_that_others_may_read_is_not_used(key_file: Path) -> None:
    key_file.chmod(0o640)
    with pytest.raises(CheckpointError, match="chmod 600"):
        checkpoints.read_key(key_file)


def test_keys_that_can_not_be_used_are_told(key_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a private key\. Give the file that ends in \.pub"):
        checkpoints.read_public_key(key_file)
    with pytest.raises(CheckpointError, match="no private key"):
        public = checkpoints.public_file(key_file)
        public.chmod(0o600)
        checkpoints.read_key(public)
    with pytest.raises(CheckpointError, match="can not be read"):
        checkpoints.read_key(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="can not be read"):
        checkpoints.read_public_key(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="can not be written"):
        checkpoints.make_key(tmp_path / "nowhere" / "key")


# ---- elsewhere ----


def test_a_folder_gets_each_one_once(desk: Desk, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    pen = work(desk, 2)
    made = [checkpoints.make(desk.ledger, key, NOW_UTC_MS)]
    work(desk, 2, pen)
    made.append(checkpoints.make(desk.ledger, key, NOW_UTC_MS))
    written = checkpoints.hand_out(desk.ledger, folder)
    assert [path.read_bytes() for path in written] == [one.data for one in made]
    assert written == sorted(written)
    assert written[0].name == f"harbor-{made[0].entry:012}.checkpoint"
    assert checkpoints.hand_out(desk.ledger, folder) == []
    written[0].unlink()
    assert checkpoints.hand_out(desk.ledger, folder) == [], "whoever takes old ones away may"
    work(desk, 2, pen)
    made.append(checkpoints.make(desk.ledger, key, NOW_UTC_MS))
    assert [path.read_bytes() for path in checkpoints.hand_out(desk.ledger, folder)] == [made[2].data]
    assert not list(folder.glob("*.part"))


def notary(desk: Desk, key_file: Path, folder: Path | None, **more: float) -> Notary:
    settings = CheckpointSettings(key=key_file, folder=folder, **more)  # type: ignore[arg-type]
    return Notary(desk.ledger, settings, lambda: desk.now_utc_ms)


def test_the_gateway_signs_after_so_many_entries(desk: Desk, key_file: Path) -> None:
    one = notary(desk, key_file, None, every_entries=10)
    first = one.look()
    assert first is not None, "what is there when it starts"
    pen = work(desk, 9)
    assert one.look() is None
    work(desk, 1, pen)
    second = one.look()
    assert second is not None
    assert second.entry == first.entry + 11
    assert one.look() is None


def test_and_after_so_many_hours_if_there_is_anything_new(desk: Desk, key_file: Path) -> None:
    one = notary(desk, key_file, None, every_hours=24)
    one.look()
    desk.now_utc_ms += 25 * HOUR_MS
    assert one.look() is None, "nothing came"
    work(desk, 1)
    assert one.look() is not None
    desk.now_utc_ms += 23 * HOUR_MS
    work(desk, 1, HonestPen("pen-02"))
    assert one.look() is None
    desk.now_utc_ms += HOUR_MS
    assert one.look() is not None


def test_a_restart_does_not_sign_again(desk: Desk, key_file: Path) -> None:
    assert notary(desk, key_file, None).look() is not None
    assert notary(desk, key_file, None).look() is None


def test_a_folder_that_was_away_gets_what_it_missed(desk: Desk, key_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    one = notary(desk, key_file, folder, every_entries=1)
    one.look()
    folder.rename(tmp_path / "pulled out")
    pen = work(desk, 2)
    assert one.look() is not None, "it is made all the same"
    work(desk, 2, pen)
    assert one.look() is not None
    assert one.look() is None
    (tmp_path / "pulled out").rename(folder)
    assert one.look() is None
    assert len(list(folder.glob("*.checkpoint"))) == 3


def test_what_can_not_be_used_is_told_before_the_gateway_serves(
    desk: Desk, key_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        notary(desk, key_file, tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="can not be read"):
        notary(desk, tmp_path / "nowhere", None)


def test_what_the_gateway_signs_proves(desk: Desk, key_file: Path) -> None:
    one = notary(desk, key_file, None, every_entries=3)
    pen = HonestPen()
    for _ in range(10):
        work(desk, 2, pen)
        one.look()
    public = checkpoints.read_public_key(checkpoints.public_file(key_file))
    found = prove(str(desk.ledger.engine.url.database), (), [public])
    assert found.findings == []
    assert found.checkpoints == found.signed > 3
