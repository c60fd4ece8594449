"""Reading a ledger back, the way an inspector would: every reading of every session."""

from typing import Any

from needletrail_gateway.record.ledger import Ledger
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import Readings, decode_record

Reading = tuple[int, int, int, bool]


def readings(ledger: Ledger) -> dict[str, list[Reading]]:
    """(t_ms, dial counts, strokes, contact) of each session, in the order of the ledger."""
    found: dict[str, list[Reading]] = {}
    after = 0
    while entries := ledger.entries(after):
        after = entries[-1].id
        for entry in entries:
            if entry.kind != "record":
                continue
            record = decode_record(open_envelope(entry.body)[1])
            if record.kind == messages.SAMPLES:
                columns = Readings(record)
                found.setdefault(entry.session_id or "", []).extend(
                    zip(columns.t_ms, columns.dial, columns.strokes, columns.contact, strict=True)
                )
    return found


def statements(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The verdicts' statements by session; of alerts, the codes and whether they reached the pen."""
    found = {}
    for row in ledger.sessions():
        statement = ledger.statement(row)
        assert statement is not None, f"{row['session_id']} was not judged"
        del statement["grant"]  # issued by the clock on the wall
        statement["alerts"] = sorted(
            (alert["code"], alert["reached_pen"]) for alert in statement["alerts"]
        )
        found[row["session_id"]] = statement
    return found
