"""The vectors' script makes exactly the files that are published."""

from wire_oracle import VECTORS, oracle


def test_the_script_makes_the_published_files_byte_for_byte(tmp_path):
    oracle.main(tmp_path)
    for folder in ("valid", "invalid"):
        made = {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        published = {path.name: path.read_bytes() for path in (VECTORS / folder).iterdir()}
        assert made.keys() == published.keys()
        assert [name for name in made if made[name] != published[name]] == []


def test_the_script_removes_what_it_no_longer_makes(tmp_path):
    (tmp_path / "valid").mkdir()
    stale = tmp_path / "valid" / "no-longer-made.json"
    stale.write_text("{}")
    oracle.main(tmp_path)
    assert not stale.exists()


def test_the_script_takes_nothing_from_our_package():
    text = (VECTORS.parent / "make_vectors.py").read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if "import" in line and "needletrail" in line]
