"""An alert rule evaluated as Grafana does: its query, each series' newest number, the comparison.

What Grafana's scheduler keeps from one evaluation to the next is here, too (ngalert/state): a
series is pending until it has been beyond the bound for the rule's `for`, then it alerts; a series that
is gone counts as well after two evaluations without it.
"""

from dataclasses import dataclass, field
from typing import Any

from grafana_macros import Influx, View, expanded, is_beyond, reduced, time_series

MISSING_EVALUATIONS = 2
Labels = tuple[tuple[str, str], ...]


def seconds(text: str) -> int:
    """Prometheus' durations, as the rules use them."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[text[-1]]


def beyond(influx: Influx, rule: dict[str, Any], now_ms: int) -> dict[Labels, bool]:
    """One evaluation: for each series whether it is beyond the bound. Empty: no data."""
    question, newest, compared = rule["data"]
    assert rule["condition"] == compared["refId"]
    assert newest["model"]["expression"] == question["refId"]
    assert compared["model"]["expression"] == newest["refId"]
    back = question["relativeTimeRange"]
    view = View(now_ms - back["from"] * 1000, now_ms - back["to"] * 1000)
    text = expanded(question["model"]["query"], view, question["model"]["intervalMs"])
    assert question["model"]["resultFormat"] == "time_series"
    numbers = reduced(time_series(influx.rows(text), None), newest["model"]["reducer"])
    (condition,) = compared["model"]["conditions"]
    evaluator = condition["evaluator"]
    return {
        labels: is_beyond(number, evaluator["type"], evaluator["params"])
        for labels, number in numbers.items()
    }


@dataclass
class Watch:
    """A rule under Grafana's scheduler. `fired` has when each series began to alert."""

    influx: Influx
    rule: dict[str, Any]
    every_s: int
    fired: list[tuple[int, Labels]] = field(default_factory=list)
    ended: list[tuple[int, Labels]] = field(default_factory=list)
    _since: dict[Labels, int] = field(default_factory=dict)
    _alerting: dict[Labels, int] = field(default_factory=dict)

    def run(self, from_ms: int, to_ms: int) -> "Watch":
        """Evaluate again and again."""
        for now_ms in range(from_ms, to_ms + 1, self.every_s * 1000):
            self._evaluate(now_ms)
        return self

    def _evaluate(self, now_ms: int) -> None:
        found = beyond(self.influx, self.rule, now_ms)
        if not found:
            assert self.rule["noDataState"] == "OK"
        for labels, is_over in found.items():
            if not is_over:
                self._since.pop(labels, None)
                self._end(labels, now_ms)
                continue
            since = self._since.setdefault(labels, now_ms)
            if now_ms - since >= seconds(self.rule["for"]) * 1000:
                if labels not in self._alerting:
                    self.fired.append((now_ms, labels))
                self._alerting[labels] = 0
        for labels in list(self._alerting):
            if labels not in found:
                self._alerting[labels] += 1
                if self._alerting[labels] >= MISSING_EVALUATIONS or not found:
                    self._since.pop(labels, None)
                    self._end(labels, now_ms)

    def _end(self, labels: Labels, now_ms: int) -> None:
        if self._alerting.pop(labels, None) is not None:
            self.ended.append((now_ms, labels))
