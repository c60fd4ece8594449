"""A running gateway signs its record, and is proven, exported and copied while it serves."""

import time
from pathlib import Path

import pytest

from needletrail_gateway.bench.house import House
from needletrail_gateway.record import checkpoints
from needletrail_gateway.record.archive import backup, export, import_from
from needletrail_gateway.record.checkpoints import Checkpoint
from needletrail_gateway.record.proof import prove
from needletrail_gateway.shell.documents import read_registry

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 30.0


@pytest.mark.timeout(120)
def test_the_gateway_signs_by_itself_and_can_be_proven_meanwhile(tmp_path: Path) -> None:
    kept_in = tmp_path / "elsewhere"
    kept_in.mkdir()
    key = tmp_path / "ledger.key"
    checkpoints.make_key(key)
    public = checkpoints.read_public_key(checkpoints.public_file(key))
    signing = {
        "NEEDLETRAIL_CHECKPOINT__KEY": str(key),
        "NEEDLETRAIL_CHECKPOINT__FOLDER": str(kept_in),
    }
    registry = read_registry(ROOT / "tapes" / "bench" / "registry.toml")
    place = tmp_path / "ledger.sqlite"
    (tmp_path / "house").mkdir()
    with House(tmp_path / "house", registry, place, signing) as house:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (files := list(kept_in.glob("*.checkpoint"))):
            house.check()
            assert time.monotonic() < deadline_s, house.gateway_log()
            time.sleep(0.05)
        kept = Checkpoint.read(files[0].read_bytes(), str(files[0]))
        found = prove(place, [kept], [public])
        assert found.findings == []
        assert found.kept == found.signed == 1
        assert backup(place, tmp_path / "copy.sqlite").is_intact
        export(place, tmp_path / "x.gz")
        house.check()
    assert import_from(tmp_path / "x.gz", tmp_path / "new.sqlite")[1].is_intact
    assert prove(tmp_path / "copy.sqlite", [kept], [public]).findings == []
