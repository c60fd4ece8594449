"""Draw docs/pictures/demo.svg from the ledger of a kept demo: make_demo_picture.py FOLDER.

FOLDER is what `needletrail demo --keep FOLDER` left behind.
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from needletrail_gateway.bench.demo import View
from needletrail_gateway.core.treatment import Rules
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_policy


def main() -> None:
    """Draw the last picture of the morning."""
    ledger = Ledger.open(Path(sys.argv[1]) / "ledger.sqlite")
    found = ledger.registry()
    if found is None:
        raise SystemExit(f"{sys.argv[1]}: its ledger holds no registry")
    registry = found[1]
    view = View(ledger, Rules(read_policy(registry.clinic.policy), registry), len(ledger.sessions()))
    view.update()
    console = Console(record=True, width=140, file=io.StringIO(), force_terminal=True)
    console.print(view.picture(console.width))
    svg = console.export_svg(title="needletrail demo")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # a picture that fetches nothing
    Path(__file__).with_name("demo.svg").write_text(svg)


main()
