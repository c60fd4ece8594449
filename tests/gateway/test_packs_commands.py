"""`needletrail policy` as a person types it: tables, JSON, exit codes, and mistakes with their line."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pack_files import HEAD, SHIPPED, SMALL, line_with, write

from needletrail_gateway import cli
from needletrail_gateway.shell.documents import packs_folder, read_policy


class Answer(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Policy = Callable[..., Answer]


@pytest.fixture
def policy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Policy:
    """Type `needletrail policy …` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("NEEDLETRAIL_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["needletrail", "policy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        code = ended.value.code
        return Answer(code if isinstance(code, int) else int(code is not None), *captured)

    return run


def document(answer: Answer) -> Any:
    assert answer.code == 0
    assert answer.err == ""
    return json.loads(answer.out)


def row(answer: Answer, start: str) -> str:
    """The line of a table that begins so."""
    [found] = [line for line in answer.out.splitlines() if line.startswith(start)]
    return found


# ---- show ----


def test_show_names_each_line_and_where_it_is_from(policy: Policy) -> None:
    shown = policy("show", "us-ca")
    assert shown.code == 0
    assert shown.out.startswith(f"us-ca {read_policy('us-ca').version}, in force from 2026-01-01\n")
    assert "Extends default" in shown.out
    assert "Takes away from it: tier.medical.who.master_esthetician." in shown.out
    assert row(shown, "cosmetic who esthetician").split()[-1] == "us-ca"
    assert row(shown, "cosmetic who nurse ").split()[-1] == "default"
    assert "0 mm: the skin is not broken" in row(shown, "cosmetic who esthetician")
    assert "violation, hard: The pen worked deeper" in row(shown, "finding DEPTH_EXCEEDED")
    assert "Depths are settings of the pen's ring" in shown.out
    assert "16 CCR" not in shown.out


def test_show_one_tier_with_citations(policy: Policy) -> None:
    shown = policy("show", "us-ca", "--tier", "nano", "--citations")
    assert "16 CCR 991(b)(3): any penetration by a metal needle is invasive" in shown.out
    assert "002: “The penetration depth is .25mm and does not cause bleeding.”" in shown.out
    assert not [line for line in shown.out.splitlines() if line.startswith(("cosmetic ", "finding "))]


@pytest.mark.parametrize("name", SHIPPED)
def test_show_as_json(name: str, policy: Policy) -> None:
    found = document(policy("show", name, "--json"))
    assert (found["name"], found["version"]) == (name, read_policy(name).version)
    assert found["removed"] == read_policy(name).remove
    for line in found["lines"]:
        assert line.keys() == {"subject", "words", "from", "citations"}
    origins = {line["from"] for line in found["lines"]}
    assert origins == {name, "default"}


def test_a_pack_can_be_a_file(policy: Policy, tmp_path: Path) -> None:
    write(tmp_path, small=SMALL, child=HEAD)
    assert document(policy("show", "child.toml", "--json"))["lineage"] == ["small 1"]


def test_a_pack_is_found_in_a_folder_of_ones_own(policy: Policy, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder, small=SMALL)
    (tmp_path / "gateway.toml").write_text(
        f'[mqtt]\nhost = "127.0.0.1"\n[ledger]\nlocation = "l.db"\n[policy]\nfolder = "{folder}"\n'
    )
    for command in ("show", "explain"):
        assert policy(command, "small", "--config", "gateway.toml").code == 0
        unknown = policy(command, "small")
        assert unknown.code == 2
        assert "there is no policy pack 'small'" in unknown.err
    assert policy("diff", "small", "small", "--config", "gateway.toml").code == 0


@pytest.mark.parametrize("command", ["show", "explain"])
def test_a_tier_that_is_not_there_is_told_with_those_that_are(command: str, policy: Policy) -> None:
    answer = policy(command, "default", "--tier", "deep")
    assert answer.code == 2
    assert answer.out == ""
    assert "--tier: default has no tier 'deep'. Its tiers: cosmetic, medical, home" in answer.err


# ---- check ----


def test_check_says_what_is_in_order(policy: Policy) -> None:
    files = [packs_folder() / f"{name}.toml" for name in SHIPPED]
    checked = policy("check", *files)
    assert (checked.code, checked.err) == (0, "")
    lines = checked.out.splitlines()
    assert len(lines) == len(SHIPPED)
    assert all(": in order. " in line for line in lines)
    found = {one["name"]: one for one in document(policy("check", *files, "--json"))}
    assert list(found) == SHIPPED
    assert found["default"]["own_rules"] == found["default"]["rules"]
    assert 0 < found["us-ca"]["own_rules"] < found["us-ca"]["rules"]
    assert all(one["errors"] == [] for one in found.values())


def test_check_tells_every_mistake_of_every_file(policy: Policy, tmp_path: Path) -> None:
    broken = SMALL.replace("needed = true", "needed = 7").replace("max_mm = 2.5", "max_mm = 25")
    write(tmp_path, small=broken, good=SMALL.replace('name = "small"', 'name = "good"'))
    (tmp_path / "worse.toml").write_text("[tier")
    checked = policy("check", "small.toml", "good.toml", "worse.toml", "absent.toml")
    assert checked.code == 2
    assert checked.err.startswith("needletrail: ")
    for text in ("needed = 7", "max_mm = 25"):
        assert f"small.toml:{line_with(broken, text)}: tier.1." in checked.err
    assert "worse.toml: is not valid TOML" in checked.err
    assert "absent.toml: can not be read" in checked.err
    assert checked.out.startswith("good.toml: in order. good 1: ")
    as_json = policy("check", "small.toml", "good.toml", "worse.toml", "--json")
    assert as_json.code == 2
    small, good, worse = json.loads(as_json.out)
    assert [one["line"] for one in small["errors"]] == sorted(
        line_with(broken, text) for text in ("needed = 7", "max_mm = 25")
    )
    assert small["errors"][0].keys() == {"file", "line", "place", "message"}
    assert good["errors"] == []
    assert len(worse["errors"]) == 1


# ---- diff ----


def test_diff_in_words(policy: Policy) -> None:
    there = policy("diff", "default", "us-ca").out
    assert there.splitlines()[0].startswith("us-ca ")
    assert " is stricter than default " in there
    assert "\nMilder:" not in there
    wanted = (
        "  cosmetic who esthetician: without supervision → without supervision, 0 mm: the skin is not"
    )
    assert wanted in there
    assert (
        "  medical who master_esthetician: without supervision, up to and including 1.5 mm → not perm"
        in there
    )
    back = policy("diff", "us-ca", "default").out
    assert " is milder than us-ca " in back
    assert "\nStricter:" not in back


def test_diff_of_what_is_only_said_otherwise(policy: Policy) -> None:
    plain = policy("diff", "default", "us-ut")
    assert "us-ut 2026.12.1 allows and forbids the same as default" in plain.out
    assert "Stricter" not in plain.out
    two = policy("diff", "default", "document-004").out
    assert "rules have only other words or another authority (--citations)." in two
    cited = policy("diff", "default", "document-004", "--citations").out
    assert "The same, in other words or on another authority:" in cited
    assert "004: “Estheticians are able to use skin needling devices" in cited


def test_diff_as_json(policy: Policy) -> None:
    found = document(policy("diff", "default", "document-003", "--json"))
    assert found["before"]["name"] == "default"
    assert found["after"]["name"] == "document-003"
    assert found["overall"] == "different"
    changes = {" ".join(one["subject"]): one for one in found["changes"]}
    assert changes["medical depth"] == {
        "subject": ["medical", "depth"],
        "direction": "milder",
        "before": "from 0.5 mm, up to and including 2.5 mm",
        "after": "from 0.5 mm, up to and including 3 mm",
        "citations": [
            "003: “This form of mirco-needling penetrates deeper into the skin using a needle that is "
            "0.5 to 3.0 mms.”"
        ],
    }
    assert changes["cosmetic who nurse"]["after"] is None


# ---- explain ----


def test_may_an_esthetician_work_at_half_a_millimetre_here(policy: Policy) -> None:
    asked = ("--credential", "esthetician", "--depth", "0.5")
    no = policy("explain", "us-ca", *asked)
    lines = no.out.splitlines()
    assert lines[0].startswith(
        "May a practitioner with the credential esthetician work at 0.5 mm? By us-ca"
    )
    assert lines[1] == "No."
    assert "16 CCR 991(b)(3)" in no.out
    assert policy("explain", "us-az", *asked).out.splitlines()[1] == "Yes."
    assert policy("explain", "document-001", *asked).out.splitlines()[1] == "Yes, under conditions."


def test_explain_as_json(policy: Policy) -> None:
    found = document(
        policy("explain", "default", "--tier", "medical", "--credential", "nurse", "--json")
    )
    assert found["answer"] == "if"
    [medical] = found["tiers"]
    assert medical["tier"] == "medical"
    assert medical["against"] == []
    nurse = next(one for one in medical["conditions"] if one["text"].startswith("nurse: "))
    assert nurse["from"] == "default"
    assert nurse["citations"][0].startswith("000: “medical needling, which must be performed by")


@pytest.mark.parametrize("depth", ["-1", "21", "deep"])
def test_a_depth_that_is_none_is_refused(depth: str, policy: Policy) -> None:
    answer = policy("explain", "default", f"--depth={depth}")
    assert answer.code == 2
    assert "--depth" in answer.err


# ---- schema ----


def test_schema_is_the_file_beside_the_packs(policy: Policy) -> None:
    printed = policy("schema")
    assert printed.code == 0
    assert printed.out == (packs_folder() / "pack.schema.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["show", "check", "diff", "explain", "schema"])
def test_help_teaches_with_an_example(command: str, policy: Policy) -> None:
    shown = policy(command, "--help")
    assert shown.code == 0
    assert f"Example: needletrail policy {command}" in " ".join(shown.out.split())
