"""How `needletrail play` looks: a bar on stderr while it runs, a table of answers at the end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from needletrail_gateway.bench.tapes import Tape

COLOURS = {"compliant": "green", "review": "yellow", "violation": "bold red"}
MARKS = {"compliant": "✓", "review": "?", "violation": "✗"}


class Bar:
    """A progress bar over the readings of all tapes."""

    def __init__(self, console: Console, tapes: Sequence[tuple[Path, Tape]]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=sum(len(tape.rows) for _, tape in tapes))
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def started(self, tape: Tape) -> None:
        """A tape begins."""
        self._progress.update(self._task, description=tape.name)

    def played(self, _tape: Tape, readings: int) -> None:
        """So many of its readings are in the ledger."""
        self._progress.update(self._task, completed=self._done + readings)

    def ended(self, tape: Tape, answer: Mapping[str, Any]) -> None:
        """The answer for it is known."""
        self._done += len(tape.rows)
        self._progress.update(self._task, completed=self._done)
        self._progress.console.print(
            f"{tape.name}: {answer['verdict']} {' '.join(answer['reasons'])}", highlight=False
        )


def show_answers(console: Console, answers: Sequence[Mapping[str, Any]]) -> None:
    """The answers as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("tape", "who", "peak mm", "limit mm", "breach", "verdict"):
        justify: JustifyMethod = "right" if "mm" in name or name == "breach" else "left"
        table.add_column(name, justify=justify, no_wrap=True)
    for answer in answers:
        if answer["session_id"] is None:
            table.add_row(answer["tape"], *[""] * 4, "no session")
            continue
        limit = "≤" if answer["scope_inclusive"] else "<"
        table.add_row(
            answer["tape"],
            answer["practitioner"] or "nobody",
            f"{answer['peak_mm']:.2f}",
            f"{limit} {answer['scope_mm']:.2f}",
            f"{answer['breach_ms'] / 1000:.1f} s" if answer["breach_ms"] else "",
            verdict_text(answer["verdict"], answer["reasons"], "\n  "),
        )
    console.print(table)


def verdict_text(verdict: str, reasons: Sequence[str], between: str = " ") -> str:
    """A verdict with its mark, colour and reasons, as rich markup."""
    said = between.join([f"{MARKS[verdict]} {verdict}", *reasons])
    return f"[{COLOURS[verdict]}]{said}[/]"
