"""Renders dashboards, rules and their documentation: the files that Grafana is given.

`python -m needletrail_dashboards.render` writes dashboards/out and docs/reference/dashboards.md;
`--check` writes nothing and fails if a file is not what it should be. The same sources always give the
same bytes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from needletrail_dashboards import reference, rules
from needletrail_dashboards.board import boards_of
from needletrail_dashboards.boards import compliance, consumables, fleet, owner, session
from needletrail_dashboards.yaml_text import yaml_text

ROOT = Path(__file__).resolve().parents[2]
OUT = Path("dashboards/out")
REFERENCE = Path("docs/reference/dashboards.md")

BOARDS = boards_of((compliance, consumables, session, fleet, owner))

MADE = "Made by `make dashboards`; do not edit."
# Where Grafana finds the dashboards' files; deploy/ puts them there.
DASHBOARDS_FOLDER = "/etc/needletrail/dashboards"


def plain(value: object) -> Any:
    """Dictionaries and lists of the SDK's models."""
    return json.loads(json.dumps(value, cls=JSONEncoder))


def providers() -> dict[str, object]:
    """Says Grafana where dashboards are."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "needletrail",
                "orgId": 1,
                "type": "file",
                "folder": rules.FOLDER,
                "folderUid": "needletrail",
                "disableDeletion": True,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 60,
                "options": {"path": DASHBOARDS_FOLDER, "foldersFromFilesStructure": False},
            }
        ],
    }


def rendered() -> dict[Path, str]:
    """Every file's text, by its place below the project's root."""
    files: dict[Path, str] = {}
    for board in BOARDS:
        text = json.dumps(plain(board.model()), indent=2, ensure_ascii=False) + "\n"
        files[OUT / "dashboards" / f"{board.name}.json"] = text
    provisioning = OUT / "provisioning"
    files[provisioning / "dashboards" / "needletrail.yaml"] = yaml_text(providers(), MADE)
    groups = [group.provisioned() for group in rules.GROUPS]
    files[provisioning / "alerting" / "rules.yaml"] = yaml_text(
        plain({"apiVersion": 1, "groups": groups}), MADE
    )
    files[provisioning / "alerting" / "contact-points.yaml"] = yaml_text(
        {"apiVersion": 1, "contactPoints": rules.contact_points()},
        f"{MADE}\nGrafana's environment must have the addresses: {rules.EMAIL}, {rules.WEBHOOK}.",
    )
    files[provisioning / "alerting" / "policies.yaml"] = yaml_text(
        {"apiVersion": 1, "policies": [rules.policy()]},
        f"{MADE}\nThis is the whole tree of notification policies of Grafana's organisation 1.",
    )
    files[REFERENCE] = reference.page(BOARDS, rules.GROUPS)
    return files


def strangers(root: Path, files: dict[Path, str]) -> list[Path]:
    """Files below `out` that nothing renders any more."""
    there = [path.relative_to(root) for path in (root / OUT).rglob("*") if path.is_file()]
    return sorted(set(there) - set(files))


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    arguments = parser.parse_args()
    root: Path = arguments.root
    files = rendered()
    old = strangers(root, files)
    differ = [
        path
        for path, text in files.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]
    if arguments.check:
        for path in (*differ, *old):
            print(f"✗ {path} is not what the sources say; run `make dashboards`", file=sys.stderr)
        sys.exit(1 if differ or old else 0)
    for path in old:
        (root / path).unlink()
    for path in differ:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(files[path], encoding="utf-8")
    print(f"{len(files)} files, {len(differ) + len(old)} of them changed")


if __name__ == "__main__":
    main()
