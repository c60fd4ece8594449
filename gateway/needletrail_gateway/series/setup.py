"""What InfluxDB must have before it can be told: two buckets, and their names in InfluxQL.

Looks first and changes only what is not as it should be, so it may run again. InfluxDB 2: buckets
through its API, a mapping of database and retention policy to each (DBRP), tokens if wanted.
InfluxDB 1: a database with its default policy and one named `raw`, in InfluxQL. What InfluxDB 3 needs
is done by hand (docs/how-to/influxdb.md).

Buckets that are there stay, with what is in them; only how long they keep it is changed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from influxdb_client.domain.authorization_post_request import AuthorizationPostRequest
from influxdb_client.domain.bucket import Bucket
from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules
from influxdb_client.domain.dbrp import DBRP
from influxdb_client.domain.dbrp_create import DBRPCreate
from influxdb_client.domain.dbrp_update import DBRPUpdate
from influxdb_client.domain.patch_bucket_request import PatchBucketRequest
from influxdb_client.domain.patch_retention_rule import PatchRetentionRule
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource
from influxdb_client.domain.post_bucket_request import PostBucketRequest
from influxdb_client.service.authorizations_service import AuthorizationsService
from influxdb_client.service.buckets_service import BucketsService
from influxdb_client.service.dbr_ps_service import DBRPsService
from influxdb_client.service.organizations_service import OrganizationsService

from needletrail_gateway.core.series.schema import Retention
from needletrail_gateway.series.target import LONG_POLICY, RAW_POLICY, Kept, Refused, Server, Target

Outcome = Literal["made", "changed", "there"]

DAY_S = 86_400
_SHORT_DAYS = 180
_RETENTIONS: tuple[Retention, ...] = ("long", "raw")
_POLICIES: dict[Retention, str] = {"long": LONG_POLICY, "raw": RAW_POLICY}
_ABOUT: dict[Retention, str] = {
    "long": "Needletrail: sessions, alerts, stock, health and one-second readings",
    "raw": "Needletrail: every reading",
}
_DURATION = re.compile(r"(\d+)([wdhms])")
_SECONDS = {"w": 7 * DAY_S, "d": DAY_S, "h": 3_600, "m": 60, "s": 1}


class SetupError(Exception):
    """InfluxDB can not be set up; the text says why and what to do."""


@dataclass(frozen=True)
class Step:
    """One thing that is now as it should be. text: what it is. secret: a token, if one was made."""

    outcome: Outcome
    text: str
    secret: str | None = None


def set_up(target: Target, *, is_dry_run: bool = False, with_tokens: bool = False) -> list[Step]:
    """Make what is missing and change what differs; if it is a dry run, only say so.

    with_tokens: also one token for the gateway and one for Grafana (InfluxDB 2). SetupError if it can
    not be; what was done before stays done, and the next run goes on.
    """
    try:
        server = target.server()
        if server.kind == "1":
            return _OfVersion1(target, is_dry_run).steps(with_tokens)
        if server.kind == "2":
            return _OfVersion2(target, is_dry_run).steps(with_tokens)
    except Kept as kept:
        raise SetupError(f"{kept}. {_remedy(kept)}".strip()) from kept
    except Refused as refused:
        raise SetupError(f"InfluxDB refuses: {refused}") from refused
    raise SetupError(_by_hand(target, server))


def _remedy(kept: Kept) -> str:
    if kept.status in (401, 403):
        return "Setting up takes a token that may read organisations and write buckets: --admin-token"
    return kept.remedy


def _by_hand(target: Target, server: Server) -> str:
    if server.kind == "3":
        return (
            f"this is InfluxDB {server.version}. Its databases are made by hand: "
            f"{target.bucket('long')}, and {target.bucket('raw')} with a retention period. "
            "docs/how-to/influxdb.md says how."
        )
    return f"{target.settings.url} does not say which InfluxDB it is. Is it one?"


class _OfVersion1:
    def __init__(self, target: Target, is_dry_run: bool) -> None:
        self._target = target
        self._is_dry_run = is_dry_run

    def steps(self, with_tokens: bool) -> list[Step]:
        if with_tokens:
            raise SetupError(
                "InfluxDB 1 has users and no tokens: CREATE USER and GRANT, "
                "then USER:PASSWORD is the token."
            )
        name = self._target.settings.bucket
        databases = {row.columns["name"] for row in self._target.query("SHOW DATABASES")}
        is_there = name in databases
        steps = [self._step(is_there, f"database {name}", f'CREATE DATABASE "{name}"')]
        policies = {}
        if is_there:
            rows = self._target.query(f'SHOW RETENTION POLICIES ON "{name}"')
            policies = {row.columns["name"]: row.columns for row in rows}
            default = next((one for one in policies.values() if one["default"]), None)
            if default is not None:
                steps.append(self._policy(str(default["name"]), default, 0))
        steps.append(self._policy(RAW_POLICY, policies.get(RAW_POLICY), self._target.settings.raw_days))
        return steps

    def _policy(self, name: str, known: dict[str, Any] | None, keep_days: int) -> Step:
        duration = f"{keep_days}d" if keep_days else "INF"
        on = f'"{name}" ON "{self._target.settings.bucket}" DURATION {duration}'
        text = f"retention policy {name}, {_kept_for(keep_days)}"
        if known is None:
            return self._step(False, text, f"CREATE RETENTION POLICY {on} REPLICATION 1")
        is_right = seconds_of(known["duration"]) == keep_days * DAY_S
        change = f"ALTER RETENTION POLICY {on} SHARD DURATION {_shard(keep_days)}"
        return self._step(is_right, text, change, "changed")

    def _step(self, is_right: bool, text: str, change: str, outcome: Outcome = "made") -> Step:
        if is_right:
            return Step("there", text)
        if not self._is_dry_run:
            self._target.query(change, is_change=True)
        return Step(outcome, text)


class _OfVersion2:
    """Follows the published API of InfluxDB 2 (/api/v2/orgs, buckets, dbrps, authorizations)."""

    def __init__(self, target: Target, is_dry_run: bool) -> None:
        api = target.client.api_client
        self._target = target
        self._is_dry_run = is_dry_run
        self._orgs = OrganizationsService(api)
        self._buckets = BucketsService(api)
        self._mappings = DBRPsService(api)
        self._tokens = AuthorizationsService(api)

    def _ask(self, call: Callable[..., Any], /, **arguments: Any) -> Any:
        return self._target.ask(lambda: call(**arguments))

    def _found(self, call: Callable[..., Any], part: str, /, **arguments: Any) -> list[Any]:
        """That part of the answer, a list. Asked for something by name, InfluxDB may answer 404."""
        try:
            return list(getattr(self._ask(call, **arguments), part) or ())
        except Kept as kept:
            if kept.status == 404:
                return []
            raise

    def steps(self, with_tokens: bool) -> list[Step]:
        org_id = self._org_id()
        steps, buckets = [], {}
        for retention in _RETENTIONS:
            step, buckets[retention] = self._bucket(org_id, retention)
            steps.append(step)
        database = self._target.settings.bucket
        known = self._found(self._mappings.get_dbr_ps, "content", org_id=org_id, db=database)
        for retention in _RETENTIONS:
            steps.append(self._mapping(org_id, retention, buckets[retention], known))
        if with_tokens:
            steps += self._make_tokens(org_id, [one for one in buckets.values() if one is not None])
        return steps

    def _org_id(self) -> str:
        name = self._target.settings.org
        for org in self._found(self._orgs.get_orgs, "orgs", org=name):
            if org.name == name:
                return str(org.id)
        raise SetupError(
            f"InfluxDB shows this token no organisation {name}. [influx] org in the settings names it; "
            "to set one up takes a token that may read organisations and write buckets."
        )

    def _bucket(self, org_id: str, retention: Retention) -> tuple[Step, Bucket | None]:
        name = self._target.bucket(retention)
        keep_days = 0 if retention == "long" else self._target.settings.raw_days
        text = f"bucket {name}, {_kept_for(keep_days)}"
        keep_s = keep_days * DAY_S
        listed = self._found(self._buckets.get_buckets, "buckets", org_id=org_id, name=name)
        bucket: Bucket | None = next((one for one in listed if one.name == name), None)
        if bucket is None:
            rules = [BucketRetentionRules(type="expire", every_seconds=keep_s)] if keep_s else []
            wanted = PostBucketRequest(
                org_id=org_id, name=name, description=_ABOUT[retention], retention_rules=rules
            )
            if not self._is_dry_run:
                bucket = self._ask(self._buckets.post_buckets, post_bucket_request=wanted)
            return Step("made", text), bucket
        if sum(rule.every_seconds for rule in bucket.retention_rules or []) == keep_s:
            return Step("there", text), bucket
        rule = PatchRetentionRule(type="expire", every_seconds=keep_s)
        change = PatchBucketRequest(retention_rules=[rule])
        if not self._is_dry_run:
            self._ask(self._buckets.patch_buckets_id, bucket_id=bucket.id, patch_bucket_request=change)
        return Step("changed", text), bucket

    def _mapping(
        self, org_id: str, retention: Retention, bucket: Bucket | None, known: list[DBRP]
    ) -> Step:
        database, policy = self._target.settings.bucket, _POLICIES[retention]
        is_default = retention == "long"
        text = f"InfluxQL name {database}.{policy} of bucket {self._target.bucket(retention)}"
        same = [
            one
            for one in known
            if (one.database, one.retention_policy) == (database, policy) and not one.virtual
        ]
        if not same:
            if not self._is_dry_run and bucket is not None:
                wanted = DBRPCreate(
                    org_id=org_id,
                    bucket_id=bucket.id,
                    database=database,
                    retention_policy=policy,
                    default=is_default,
                )
                self._ask(self._mappings.post_dbrp, dbrp_create=wanted)
            return Step("made", text)
        [mapping] = same
        if bucket is None or mapping.bucket_id != bucket.id:
            raise SetupError(
                f"the InfluxQL name {database}.{policy} belongs to another bucket. Delete that mapping "
                f"(influx v1 dbrp delete --id {mapping.id}), or name another bucket."
            )
        if bool(mapping.default) == is_default or not is_default:
            return Step("there", text)
        if not self._is_dry_run:
            self._ask(
                self._mappings.patch_dbrpid,
                dbrp_id=mapping.id,
                dbrp_update=DBRPUpdate(default=True),
                org_id=org_id,
            )
        return Step("changed", text)

    def _make_tokens(self, org_id: str, buckets: list[Bucket]) -> list[Step]:
        listed = self._found(self._tokens.get_authorizations, "authorizations", org_id=org_id)
        known = {one.description for one in listed}
        is_checked = self._target.settings.check_at != "off"
        name = self._target.settings.bucket
        gateway = ("write", "read") if is_checked else ("write",)
        return [
            self._token(org_id, f"Needletrail gateway, {name}", gateway, buckets, known),
            self._token(org_id, f"Needletrail dashboards, {name}", ("read",), buckets, known),
        ]

    def _token(
        self,
        org_id: str,
        description: str,
        actions: tuple[str, ...],
        buckets: list[Bucket],
        known: set[str],
    ) -> Step:
        text = f"token “{description}” ({' and '.join(actions)})"
        if description in known:
            return Step("there", f"{text}; delete it in InfluxDB to have a new one")
        if self._is_dry_run:
            return Step("made", text)
        permissions = [
            Permission(
                action=action,
                resource=PermissionResource(type="buckets", id=bucket.id, org_id=org_id),
            )
            for bucket in buckets
            for action in actions
        ]
        wanted = AuthorizationPostRequest(
            org_id=org_id, description=description, permissions=permissions
        )
        made = self._ask(self._tokens.post_authorizations, authorization_post_request=wanted)
        return Step("made", text, made.token)


def _shard(keep_days: int) -> str:
    """What InfluxDB 1 itself would choose; left alone, it keeps the old one, which may be too long."""
    if keep_days == 0 or keep_days > _SHORT_DAYS:
        return "7d"
    return "1d" if keep_days >= 2 else "1h"


def seconds_of(duration: str) -> int:
    """Seconds of a duration as InfluxDB 1 writes it (2160h0m0s); 0 is for ever."""
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION.findall(duration))


def _kept_for(keep_days: int) -> str:
    return f"kept for {keep_days} days" if keep_days else "kept for ever"
