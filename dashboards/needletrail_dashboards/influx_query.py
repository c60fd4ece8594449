"""A query to InfluxDB in Grafana's JSON: the class that the SDK has not.

The members are those of a raw query (InfluxQL as text) in Grafana's datasource plug-in `influxdb`:
query, rawQuery, resultFormat, alias, policy, refId. Others of that plug-in belong to its query editor.
Registering it makes the SDK read such queries back as what they are.
"""

from typing import Any, Literal, Self

from grafana_foundation_sdk.cog import builder as cogbuilder
from grafana_foundation_sdk.cog import runtime as cogruntime
from grafana_foundation_sdk.cog import variants as cogvariants
from grafana_foundation_sdk.models import dashboard

PLUGIN = "influxdb"
DATASOURCE_UID = "needletrail"  # of the provisioned datasource; alert rules can not take a variable

ResultFormat = Literal["time_series", "table"]

CHOSEN_DATASOURCE = dashboard.DataSourceRef(type_val=PLUGIN, uid="${datasource}")
FIXED_DATASOURCE = dashboard.DataSourceRef(type_val=PLUGIN, uid=DATASOURCE_UID)


class InfluxQuery(cogvariants.Dataquery):
    """A raw InfluxQL query. `alias` names a series: $col, $tag_pen and so on."""

    def __init__(
        self,
        query: str,
        result_format: ResultFormat = "time_series",
        ref_id: str = "A",
        alias: str | None = None,
        policy: str | None = None,
        hide: bool | None = None,
        datasource: dashboard.DataSourceRef | None = None,
        interval_ms: int | None = None,
        max_data_points: int | None = None,
    ) -> None:
        self.query = query
        self.result_format = result_format
        self.ref_id = ref_id
        self.alias = alias
        self.policy = policy
        self.hide = hide
        self.datasource = datasource
        self.interval_ms = interval_ms
        self.max_data_points = max_data_points

    def to_json(self) -> dict[str, object]:
        """As it stands in a dashboard."""
        payload: dict[str, object] = {
            "refId": self.ref_id,
            "rawQuery": True,
            "query": self.query,
            "resultFormat": self.result_format,
        }
        optional = {
            "alias": self.alias,
            "policy": self.policy,
            "hide": self.hide,
            "datasource": self.datasource,
            "intervalMs": self.interval_ms,
            "maxDataPoints": self.max_data_points,
        }
        return payload | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Of a dashboard. ValueError for a query that is not raw, or has members not known here."""
        known = {
            *("refId", "rawQuery", "query", "resultFormat", "alias", "policy", "hide", "datasource"),
            *("intervalMs", "maxDataPoints"),
        }
        if data.get("rawQuery") is not True or not set(data) <= known:
            raise ValueError(f"no raw InfluxQL query: {data}")
        source = data.get("datasource")
        return cls(
            data["query"],
            data["resultFormat"],
            data["refId"],
            data.get("alias"),
            data.get("policy"),
            data.get("hide"),
            None if source is None else dashboard.DataSourceRef.from_json(source),
            data.get("intervalMs"),
            data.get("maxDataPoints"),
        )


class InfluxQueryBuilder(cogbuilder.Builder[cogvariants.Dataquery]):
    """What the SDK's panel builders take."""

    def __init__(self, query: InfluxQuery) -> None:
        self._query = query

    def build(self) -> cogvariants.Dataquery:
        """The query."""
        return self._query


def register() -> None:
    """Let the SDK read queries of this kind back from JSON."""
    config = cogruntime.DataqueryConfig(identifier=PLUGIN, from_json_hook=InfluxQuery.from_json)
    cogruntime.register_dataquery_variant(config)
