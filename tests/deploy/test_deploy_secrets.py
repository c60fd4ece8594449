"""`make secrets`: all is made once, only its owner may read it, a second run changes nothing."""

import os
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from needletrail_deploy import authority, broker_lists
from needletrail_deploy.__main__ import make_env, parser
from needletrail_deploy.folder import Folder, UnusableError

from deploy.bench_deployment import DEPLOY, Deployment
from needletrail_gateway.record.checkpoints import read_key
from needletrail_gateway.workshop.broker_access import Account, make_account, password_line

NOW = datetime(2027, 3, 1, tzinfo=UTC)
OPEN = {"ca.pem", "mosquitto/server.pem", "gateway/ledger.key.pub"}  # halves that are for everybody


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def filled(
    path: Path, hosts: tuple[str, ...] = ("gateway.lan", "192.0.2.10"), now: datetime = NOW
) -> Folder:
    one = Folder(path, now)
    one.fill("harbor", list(hosts), is_renewed=False)
    return one


def test_everything_is_made_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)  # an account that lets everybody read its files
    try:
        one = filled(tmp_path / "secrets")
    finally:
        os.umask(old)
    assert sorted(contents(one.path)) == [
        "ca.key",
        "ca.pem",
        "clinic",
        "gateway/NEEDLETRAIL_MQTT__PASSWORD",
        "gateway/ledger.key",
        "gateway/ledger.key.pub",
        "grafana/admin-password",
        "influxdb/admin-password",
        "influxdb/admin-token",
        "mosquitto/acl",
        "mosquitto/mosquitto_sub",
        "mosquitto/passwords",
        "mosquitto/server.key",
        "mosquitto/server.pem",
    ]
    for path in [one.path, *one.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = 0o700 if path.is_dir() else 0o644 if str(path.relative_to(one.path)) in OPEN else 0o600
        assert mode & ~0o022 == wanted, path
    read_key(one.path / "gateway" / "ledger.key")


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    before = contents(filled(tmp_path).path)
    again = Folder(tmp_path, NOW + timedelta(days=100))
    again.fill(None, [], is_renewed=False)
    assert contents(tmp_path) == before
    assert [path.name for path in again.made] == ["passwords", "acl"]


def test_two_deployments_share_nothing(tmp_path: Path) -> None:
    first, second = contents(filled(tmp_path / "1").path), contents(filled(tmp_path / "2").path)
    same = {name for name in first if first[name] == second[name]}
    assert same == {"clinic", "mosquitto/acl"}


@pytest.mark.parametrize(
    "missing", ["gateway/NEEDLETRAIL_MQTT__PASSWORD", "grafana/admin-password", "mosquitto/acl"]
)
def test_what_is_missing_is_made_and_the_rest_stays(tmp_path: Path, missing: str) -> None:
    before = contents(filled(tmp_path).path)
    (tmp_path / missing).unlink()
    filled(tmp_path, ())
    after = contents(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {missing, "mosquitto/passwords"}
    password = (tmp_path / "gateway/NEEDLETRAIL_MQTT__PASSWORD").read_text().strip()
    lines = (tmp_path / "mosquitto/passwords").read_text().splitlines()
    assert [broker_lists.fits(line, password) for line in lines] == [True, False]


def test_the_brokers_lists_follow_from_the_pens_that_are_enrolled(tmp_path: Path) -> None:
    filled(tmp_path)
    for name in ("pen-01", "pen-02"):
        (tmp_path / "pens" / name).mkdir()
        (tmp_path / "pens" / name / "mosquitto.password").write_text(
            password_line(make_account("harbor", name))
        )
    assert filled(tmp_path, ()).pens == ["harbor.pen-01", "harbor.pen-02"]
    assert (
        "user harbor.pen-02\ntopic write needletrail/1/harbor/pen-02/hello\n"
        in (tmp_path / "mosquitto/acl").read_text()
    )
    users = [
        line.partition(":")[0] for line in (tmp_path / "mosquitto/passwords").read_text().splitlines()
    ]
    assert users == ["gateway", "health", "harbor.pen-01", "harbor.pen-02"]
    (tmp_path / "pens" / "pen-01" / "mosquitto.password").unlink()
    filled(tmp_path, ())
    for name in ("mosquitto/acl", "mosquitto/passwords"):
        assert "pen-01" not in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    "line", ["", "harbor.pen-01:plain\n", "gateway:$7$101$AAAA$AAAA\n", "a.b.c:$7$101$AA==$AA==\n"]
)
def test_a_pens_line_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    filled(tmp_path)
    (tmp_path / "pens" / "pen-01").mkdir()
    (tmp_path / "pens" / "pen-01" / "mosquitto.password").write_text(line)
    before = contents(tmp_path)
    with pytest.raises(UnusableError, match=r"pen-01.*Enroll the pen again"):
        filled(tmp_path, ())
    assert contents(tmp_path) == before


def test_a_list_that_is_written_anew_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    """On Debian the lists belong to root and Mosquitto's group; a new pen must not change that."""
    filled(tmp_path)
    acl = tmp_path / "mosquitto" / "acl"
    acl.chmod(0o640)
    before = acl.stat()
    filled(tmp_path, ())
    after = acl.stat()
    assert after.st_ino != before.st_ino  # a new file: nobody reads half a list
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


# ---- certificates ----


def test_the_brokers_certificate_is_good_for_its_names_and_nothing_else(tmp_path: Path) -> None:
    one = filled(tmp_path)
    server = x509.load_pem_x509_certificate((one.path / "mosquitto/server.pem").read_bytes())
    issuer = x509.load_pem_x509_certificate((one.path / "ca.pem").read_bytes())
    server.verify_directly_issued_by(issuer)
    names = authority.names_of((one.path / "mosquitto/server.pem").read_bytes())
    assert names == ["gateway.lan", "192.0.2.10", "localhost", "127.0.0.1", "mosquitto"]
    constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (
        True,
        0,
        True,
    )
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    strict = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-attime",
        str(int(NOW.timestamp())),
    ]
    done = subprocess.run(
        [*strict, "-CAfile", one.path / "ca.pem", one.path / "mosquitto/server.pem"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ssl.create_default_context(cafile=str(one.path / "ca.pem")).load_cert_chain(
        one.path / "mosquitto/server.pem", one.path / "mosquitto/server.key"
    )


def test_a_renewed_certificate_has_the_same_authority_and_names(tmp_path: Path) -> None:
    before = contents(filled(tmp_path).path)
    again = Folder(tmp_path, NOW)
    again.fill(None, ["new.lan"], is_renewed=True)
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        "mosquitto/server.pem",
        "mosquitto/server.key",
    }
    assert authority.names_of(after["mosquitto/server.pem"])[:3] == [
        "new.lan",
        "gateway.lan",
        "192.0.2.10",
    ]


def test_a_certificate_that_ends_soon_or_lacks_a_name_is_told(tmp_path: Path) -> None:
    filled(tmp_path)
    late = Folder(tmp_path, NOW + authority.SERVER_LIFE - timedelta(days=59))
    late.fill(None, ["new.lan"], is_renewed=False)
    assert any("does not name new.lan" in text and "--renew" in text for text in late.warnings)
    assert any("ends on 2029-06-03" in text for text in late.warnings)
    early = Folder(tmp_path, NOW + authority.SERVER_LIFE - timedelta(days=61))
    early.fill(None, ["gateway.lan"], is_renewed=False)
    assert early.warnings == []


def test_without_the_authoritys_key_all_but_renewing_works(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "ca.key").unlink()
    filled(tmp_path, ())
    with pytest.raises(UnusableError, match=r"ca\.key.*Bring it back"):
        Folder(tmp_path, NOW).fill(None, [], is_renewed=True)


# ---- what can not be used ----


@pytest.mark.parametrize(
    ("clinic", "hosts", "said"),
    [
        (None, [], "--clinic ID"),
        ("Harbor Skin", [], "no clinic's id"),
        ("harbor", ["http://gateway"], "no name or address"),
        ("harbor", ["-x.lan"], "no name or address"),
        ("harbor", [""], "no name or address"),
    ],
)
def test_what_can_not_be_used_is_said_before_anything_is_made(
    tmp_path: Path, clinic: str | None, hosts: list[str], said: str
) -> None:
    with pytest.raises(UnusableError, match=said):
        Folder(tmp_path, NOW).fill(clinic, hosts, is_renewed=False)
    assert contents(tmp_path) == {}


def test_a_folder_is_of_one_clinic(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(UnusableError, match="of harbor, not of other"):
        Folder(tmp_path, NOW).fill("other", [], is_renewed=False)


# ---- the command ----


def test_the_command_tells_what_it_made_and_no_secret(tmp_path: Path) -> None:
    one = Deployment(tmp_path)
    first = one.make_secrets("--clinic", "harbor", "--host", "gateway.lan").stdout
    second = one.make_secrets().stdout
    assert f"✓ {one.etc / 'ca.pem'}" in first
    assert "10 files were there" in second
    for said in (first, second):
        assert "Next:" in said
        for name, content in contents(one.etc).items():
            if name not in OPEN | {"clinic"}:
                secret = content.decode().strip()
                assert secret not in said
                assert secret.split()[-1] not in said
    assert one.make_secrets("--clinic", "other", code=2).stderr.startswith("make secrets: ")


def test_every_option_explains_itself() -> None:
    text = parser().format_help()
    assert 'Example: make secrets ARGS="--clinic' in text
    for action in parser()._actions:
        assert action.help


def test_env_is_made_once_with_this_accounts_numbers(tmp_path: Path) -> None:
    made = make_env(tmp_path)
    assert made is not None
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert f"\nNEEDLETRAIL_UID={os.getuid() or 1000}\n" in made.read_text()
    assert (tmp_path / "checkpoints").is_dir()
    assert (tmp_path / "backups").is_dir()
    made.write_text("mine")
    assert make_env(tmp_path) is None
    assert made.read_text() == "mine"


def test_no_account_is_made_by_a_line_of_ours_that_mosquitto_would_read_otherwise() -> None:
    line = password_line(Account("harbor.pen-01", "one"))
    assert broker_lists.fits(line, "one")
    assert not broker_lists.fits(line, "two")
    assert not broker_lists.fits("harbor.pen-01:one", "one")
    with pytest.raises(ValueError, match="no pen's account"):
        broker_lists.access_list("harbor", ["gateway"])
    assert (DEPLOY / "mosquitto" / "mosquitto.conf").is_file()
