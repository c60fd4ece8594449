"""The registry at the desk: TOML and CSV in and out, what is wrong with a file, what became of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.core.registry.changes import SECTIONS
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.tables import read_table

SAMPLE = Path(__file__).parents[2] / "tapes" / "clinic" / "registry.toml"
HEAD = "id,name,credential,license,license_expires,tier\r\n"
NURSE = "rn-09,Nurse nine,nurse,N-9,2028-01-31,medical\r\n"


class Desk:
    """A ledger with the sample clinic, and the command line before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "clinic.sqlite"
        self.run("import", str(SAMPLE))

    def run(self, *arguments: str, wrong: bool = False) -> str:
        """What a command prints; with `wrong`, why it refused."""
        command = ["registry", *arguments, "--ledger", str(self.path)]
        done = CliRunner().invoke(app, command)
        if wrong:
            assert isinstance(done.exception, DocumentError), done.output
            return str(done.exception)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done.stdout

    def table(self, text: str, name: str = "rows.csv") -> str:
        """A file of rows."""
        path = self.folder / name
        path.write_bytes(text.encode())
        return str(path)

    def state(self) -> Any:
        return json.loads(self.run("export", "--json"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_exported_is_what_was_imported(desk: Desk) -> None:
    before = desk.state()
    desk.run("export", "--out", str(desk.folder / "out.toml"))
    said = json.loads(desk.run("import", str(desk.folder / "out.toml"), "--json"))
    assert said["changes"] == []
    assert desk.state() == before


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_as_a_table_is_what_was_imported(desk: Desk, section: str) -> None:
    path = str(desk.folder / "rows.csv")
    desk.run("export", "--section", section, "--out", path)
    said = json.loads(desk.run("import", path, "--section", section, "--replace", "--json"))
    assert said["changes"] == []


def test_rows_are_added_and_changed_and_others_stay(desk: Desk) -> None:
    before = desk.state()["practitioner"]
    desk.run("import", desk.table(HEAD + NURSE), "--section", "practitioner")
    added = desk.state()["practitioner"]
    assert next(one for one in added if one["id"] == "rn-09")["license_expires"] == "2028-01-31"
    assert [one for one in added if one["id"] != "rn-09"] == before
    changed = NURSE.replace("2028", "2029")
    said = desk.run("import", desk.table(HEAD + changed), "--section", "practitioner")
    assert "practitioner rn-09: license_expires 2028-01-31 → 2029-01-31" in said


def test_with_replace_the_others_are_gone(desk: Desk) -> None:
    before = desk.state()
    lots = before["cartridge_lot"]
    text = f"gtin,lot,received\r\n{lots[0]['gtin']},{lots[0]['lot']},7\r\n"
    desk.run("import", desk.table(text), "--section", "cartridge_lot", "--replace")
    assert [(one["lot"], one["received"]) for one in desk.state()["cartridge_lot"]] == [
        (lots[0]["lot"], 7)
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "rows.csv:1: the column 'id' is missing"),
        ("id,id\r\n", "rows.csv:1: the column 'id' is there twice"),
        ("id,colour\r\n", "rows.csv:1: there is no column 'colour'"),
        (HEAD + NURSE + NURSE, "rows.csv:3: rn-09 stands in line 2 already"),
        (HEAD + "rn-09,Nurse nine\r\n", "rows.csv:2: 2 cells where there are 6 columns"),
        (HEAD + NURSE.replace("2028-01-31", "31.1.2028"), "rows.csv:2: license_expires: "),
        (HEAD + NURSE.replace("medical", "surgical"), "rows.csv:2: tier: "),
        (HEAD + NURSE.replace("Nurse nine", ""), "rows.csv:2: name: must be given"),
        (HEAD + '"a\r\nb",x,nurse,N,2028-01-31,medical\r\n', "rows.csv:3: id: "),
        (HEAD + '"rn-09', "is not CSV"),
    ],
)
def test_a_bad_row_names_line_and_column_and_changes_nothing(
    desk: Desk, text: str, complaint: str
) -> None:
    before = desk.state()
    said = desk.run("import", desk.table(text), "--section", "practitioner", wrong=True)
    assert complaint in said
    assert desk.state() == before


def test_all_that_is_wrong_is_said_at_once(desk: Desk) -> None:
    rows = NURSE + NURSE.replace("rn-09", "rn 10") + NURSE.replace("rn-09", "rn-11").replace("nine", "")
    broken = HEAD + rows.replace("2028", "20-28").replace("Nurse ,", ",")
    said = desk.run("import", desk.table(broken), "--section", "practitioner", wrong=True).splitlines()
    assert [line.split("rows.csv:")[1][:1] for line in said] == ["2", "3", "3", "4", "4"]


def test_what_only_the_whole_shows_names_the_row(desk: Desk) -> None:
    text = HEAD.replace("tier", "tier,supervision,supervisor")
    rows = NURSE.replace("medical", "medical,on_premises,nobody")
    said = desk.run("import", desk.table(text + rows), "--section", "practitioner", wrong=True)
    assert "practitioner rn-09: supervisor: nobody is not registered" in said
    lots = "gtin,lot,received\r\n09506000134376,X,7\r\n"
    said = desk.run("import", desk.table(lots), "--section", "cartridge_lot", wrong=True)
    assert "cartridge_lot 09506000134376 X: gtin: no cartridge_product" in said


def test_a_table_that_is_no_text_or_not_there(desk: Desk) -> None:
    (desk.folder / "rows.csv").write_bytes(b"id\r\n\xff")
    path = str(desk.folder / "rows.csv")
    assert "is not UTF-8" in desk.run("import", path, "--section", "practitioner", wrong=True)
    missing = str(desk.folder / "none.csv")
    assert "can not be read" in desk.run("import", missing, "--section", "practitioner", wrong=True)


def test_a_spreadsheet_s_mark_and_empty_lines_do_no_harm(desk: Desk) -> None:
    text = "\ufeff" + HEAD + "\r\n" + NURSE + ",,,,,\r\n"
    assert list(read_table(Path(desk.table(text)), "practitioner")) == ["rn-09"]


def test_a_dry_run_records_nothing(desk: Desk) -> None:
    before = desk.state()
    said = desk.run("import", desk.table(HEAD + NURSE), "--section", "practitioner", "--dry-run")
    assert "practitioner rn-09: new" in said
    assert desk.state() == before


def test_the_history_says_who_when_why_and_what(desk: Desk) -> None:
    table = desk.table(HEAD + NURSE)
    by = ("--who", "md-01", "--why", "hired for the summer")
    desk.run("import", table, "--section", "practitioner", *by)
    found = json.loads(desk.run("history", "rn-09", "--json"))
    assert [(one["who"], one["why"], one["before"]) for one in found] == [
        ("md-01", "hired for the summer", None)
    ]
    assert found[0]["after"]["license"] == "N-9"
    assert "hired for the summer" in " ".join(desk.run("history", "rn-09").split())
    assert "never had a row" in desk.run("history", "rn-77", wrong=True)
    everything = json.loads(desk.run("history", "--json"))
    assert {one["why"] for one in everything} == {"import of registry.toml", "hired for the summer"}


def test_the_registry_as_it_stood(desk: Desk) -> None:
    ledger = Ledger.open(desk.path)
    first = ledger.versions()[0].utc_ms
    ledger.close()
    desk.run("import", desk.table(HEAD + NURSE), "--section", "practitioner")
    ids = {one["id"] for one in desk.state()["practitioner"]}
    assert "rn-09" in ids
    moment = f"{first / 1000:.3f}"
    assert "neither a day" in desk.run("export", "--at", moment, wrong=True)
    before = json.loads(desk.run("export", "--json", "--at", "2020-01-01"))
    assert {one["id"] for one in before["practitioner"]} == ids - {"rn-09"}
    now = json.loads(desk.run("export", "--json", "--at", "2999-01-01T00:00:00Z"))
    assert now == desk.state()


def test_options_that_do_not_go_together(desk: Desk) -> None:
    table = desk.table(HEAD + NURSE)
    assert "--section goes with" in desk.run("import", table, wrong=True)
    assert "--section goes with" in desk.run("import", str(SAMPLE), "--section", "pen", wrong=True)
    assert "--replace goes with" in desk.run("import", str(SAMPLE), "--replace", wrong=True)
    why = ("--section", "practitioner", "--why", " ")
    assert "--why: give one line" in desk.run("import", table, *why, wrong=True)
    empty = Desk.__new__(Desk)
    empty.folder, empty.path = desk.folder, desk.folder / "empty.sqlite"
    section = ("--section", "practitioner")
    assert "no registry yet" in empty.run("import", table, *section, wrong=True)
    assert "no registry yet" in empty.run("export", wrong=True)
    out = str(desk.folder / "rows.csv")
    assert "is there already" in desk.run("export", "--out", out, wrong=True)
