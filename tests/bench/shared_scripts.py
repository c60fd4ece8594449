"""The treatments of tapes/bench, written once more as scripts.

They were told from the readings: the original scripts are not with the tapes. If the recorder
counts the same truth for them as the tapes' own, it lays out and counts as the tapes' maker did.
"""

import json
from typing import Any

from needletrail_gateway.bench.recorder import Script

from .truth import BENCH_TAPES


def _passes(depth_mm: float, *durations_s: float) -> list[dict[str, Any]]:
    return [
        {"kind": "pass", "depth_mm": depth_mm, "duration_ms": round(seconds * 1000)}
        for seconds in durations_s
    ]


def _spiked() -> list[dict[str, Any]]:
    steps = _passes(0.3, 10, 10, 10)
    for step in steps:
        step["spikes"] = [
            {"at_ms": 2000},
            {"at_ms": 4000, "readings": 2},
            {"at_ms": 7000, "readings": 2},
        ]
        step["flickers"] = [{"at_ms": 3000, "readings": 3}, {"at_ms": 6000, "readings": 4}]
    return steps


_STEPS: dict[str, list[dict[str, Any]]] = {
    "01-cosmetic-within": _passes(0.25, 8, 10, 9),
    "02-cosmetic-exceeded": [
        *_passes(0.3, 8),
        *[step | {"excursions": [{"at_ms": 6000, "depth_mm": 0.75}]} for step in _passes(0.3, 12)],
        *_passes(0.75, 6),
        *_passes(0.25, 6),
    ],
    "03-cosmetic-at-limit": _passes(0.5, 8, 8),
    "04-sensor-spikes": _spiked(),
    "05-dial-turned-in-air": [
        *_passes(0.25, 8),
        {"kind": "air", "depth_mm": 1.5, "hold_ms": 2000},
        *_passes(0.25, 8),
    ],
    "06-medical-within": _passes(1.5, 12, 14, 12, 10, 12, 9),
    "07-medical-over-label": _passes(2.75, 8, 8),
    "08-license-expired": _passes(1.0, 8, 8),
    "09-cartridge-reused": _passes(0.25, 8, 8),
    "10-cartridge-expired": _passes(0.25, 8),
    "11-badge-unknown": _passes(0.25, 8),
    "12-no-cartridge-tag": _passes(0.25, 8),
    "13-unsupervised-medical": _passes(1.0, 8),
    "14-ten-minutes": _passes(2.0, *[20] * 27),
    "15-inclusive-limit": _passes(1.5, 9, 9),
}


def shared_truth(name: str) -> dict[str, Any]:
    text = (BENCH_TAPES / f"{name}.truth.json").read_text(encoding="utf-8")
    truth: dict[str, Any] = json.loads(text)
    return truth


def shared_script(name: str) -> Script:
    truth = shared_truth(name)
    cartridge = truth["cartridge"]
    if cartridge is not None:
        yymmdd = cartridge["expires"]
        cartridge = cartridge | {"expires": f"20{yymmdd[:2]}-{yymmdd[2:4]}-{yymmdd[4:]}"}
    return Script.model_validate(
        {
            "tape": name,
            "pen": truth["pen"],
            "start": truth["start"],
            "badge": truth["practitioner"],
            "cartridge": cartridge,
            "strokes_per_min": 8000 if name == "06-medical-within" else 7000,
            "steps": _STEPS[name],
        }
    )


NAMES = tuple(_STEPS)
