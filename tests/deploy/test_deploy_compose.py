"""compose.yaml and the image: valid, pinned, confined, and nothing mounted that is not there.

No Docker runs here. The file is held against the schema of the compose specification and the Dockerfile
against hadolint; what the schema can not say is checked below. The wheel is built with the very files
that the Dockerfile copies.
"""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.bench_deployment import Deployment
from deploy.compose_file import DEPLOY, FILE, ROOT, compose, env

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
STAYING = [name for name, service in SERVICES.items() if service["restart"] != "no"]
BIN = Path(sys.executable).parent


def run(*command: str | Path) -> str:
    """What a program says; the test fails if it complains."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- the linters ----


def test_compose_is_what_the_specification_allows() -> None:
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)


def test_the_linter_sees_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("healthcheck:", "heathcheck:"))
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", wrong]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_the_dockerfile_is_as_hadolint_wants_it() -> None:
    assert run(BIN / "hadolint", DEPLOY / "gateway" / "Dockerfile") == ""


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_yaml_says_nothing_twice(path: Path) -> None:
    nodes = [yaml.compose(path.read_text(), yaml.SafeLoader)]
    assert nodes[0] is not None
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            assert len(names) == len(set(names)), f"{path.name}:{node.start_mark.line + 1}: {names}"
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


# ---- versions ----


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_of_one_exact_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_the_gateways_image_has_the_projects_version() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert project
    ours = [service for service in SERVICES.values() if "needletrail" in service["image"]]
    assert {service["image"] for service in ours} == {f"needletrail-gateway:{project[1]}"}
    assert {service["pull_policy"] for service in ours} == {"never"}


def test_the_dockerfile_begins_with_exact_versions() -> None:
    text = (DEPLOY / "gateway" / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)


def pins() -> dict[str, str]:
    lines = (DEPLOY / "gateway" / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def needed(name: str, extras: tuple[str, ...] = ()) -> Iterator[Requirement]:
    """What a package needs on the image's Python, and what that needs."""
    for line in requires(name) or []:
        one = Requirement(line)
        place = {"python_version": "3.13", "python_full_version": "3.13.7", "sys_platform": "linux"}
        if one.marker is None or any(
            one.marker.evaluate(place | {"extra": extra}) for extra in (*extras, "")
        ):
            yield one
            yield from needed(one.name, tuple(one.extras))


def test_every_package_in_the_image_is_pinned_within_what_is_asked_for() -> None:
    wanted = list(needed("needletrail"))
    assert {canonicalize_name(one.name) for one in wanted} == set(pins())
    for one in wanted:
        assert one.specifier.contains(pins()[canonicalize_name(one.name)]), one


# ---- the image's content ----


def test_the_wheel_is_made_of_what_the_dockerfile_copies(tmp_path: Path) -> None:
    """Built in a folder that holds nothing else, so that a file that is not copied is missed."""
    text = (DEPLOY / "gateway" / "Dockerfile").read_text()
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for line in re.findall(r"^COPY (?!--from)(.+) /src/\S*$", text, re.M):
        for name in line.split():
            target = tmp_path / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=ignored)
            else:
                shutil.copyfile(ROOT / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    run(*command, "--wheel-dir", tmp_path, tmp_path / "src")
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "gateway" / "needletrail_gateway"
    sources = {
        str(path.relative_to(package.parent))
        for path in package.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert sources <= names
    for name in ("data/packs/default.toml", "data/clinic/registry.toml", "data/device/main.py"):
        assert f"needletrail_gateway/{name}" in names


def test_nothing_but_sources_goes_to_the_builder() -> None:
    """All is left out, then a few are let in, and none of them holds a secret."""
    lines = (DEPLOY / "gateway" / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert not [rule for rule in rules[1:] if not rule.startswith(("!", "**/"))]
    text = (DEPLOY / "gateway" / "Dockerfile").read_text()
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for name in line.split()
    }
    assert all(any(name == one or name.startswith(one + "/") for one in let_in) for name in copied)
    assert not [one for one in let_in if "secrets" in one or one in ("deploy", "deploy/")]


# ---- what is mounted ----


def binds(name: str) -> list[dict[str, Any]]:
    return [one for one in SERVICES[name].get("volumes", []) if one["type"] == "bind"]


def test_what_is_mounted_is_in_the_repository_or_made_by_make_secrets(tmp_path: Path) -> None:
    one = Deployment(tmp_path)
    one.make_secrets("--clinic", "harbor")
    given = {env()["NEEDLETRAIL_CHECKPOINTS"], env()["NEEDLETRAIL_BACKUPS"]}
    sources = {mount["source"] for name in SERVICES for mount in binds(name)} - given
    sources |= {secret["file"] for secret in compose()["secrets"].values()}
    assert sources
    for source in sources:
        if source.startswith("./secrets/"):
            assert (one.etc / source.removeprefix("./secrets/")).exists(), source
        else:
            assert (DEPLOY / source).resolve().exists(), source


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_missing_is_an_error_and_not_a_new_folder_of_roots(name: str) -> None:
    for mount in binds(name):
        assert mount["bind"]["create_host_path"] is False


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_can_not_be_written_but_for_data(name: str) -> None:
    data = {"/var/lib/needletrail/checkpoints", "/var/backups/needletrail"}
    for mount in binds(name):
        assert mount.get("read_only", False) is (mount["target"] not in data)


def test_every_volume_network_and_secret_is_named_once_and_used() -> None:
    volumes = {one["source"] for name in SERVICES for one in SERVICES[name].get("volumes", [])}
    volumes -= {one["source"] for name in SERVICES for one in binds(name)}
    assert volumes == set(compose()["volumes"])
    networks = {one for service in SERVICES.values() for one in service.get("networks", [])}
    assert networks == set(compose()["networks"])
    secrets = [one for service in SERVICES.values() for one in service.get("secrets", [])]
    used = {one if isinstance(one, str) else one["source"] for one in secrets}
    assert used == set(compose()["secrets"])


def test_the_places_in_the_configuration_files_are_mounted() -> None:
    """Each path under /etc/needletrail that a file names is there in the container that reads it."""
    for name, files in {
        "mosquitto": ["mosquitto/mosquitto.conf"],
        "gateway": ["gateway.toml"],
        "grafana": ["grafana/grafana.ini", "grafana/provisioning/datasources/needletrail.yaml"],
    }.items():
        targets = [one["target"] for one in SERVICES[name]["volumes"]]
        for file in files:
            found = re.findall(r"/(?:etc|var/lib)/needletrail[\w./-]*", (DEPLOY / file).read_text())
            assert found
            for path in found:
                assert any(path == one or path.startswith(one + "/") for one in targets), (file, path)


# ---- how services run ----


@pytest.mark.parametrize("name", STAYING)
def test_every_server_says_whether_it_is_well(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "start_period", "retries"} <= check.keys()


def test_which_run_once() -> None:
    assert sorted(set(SERVICES) - set(STAYING)) == ["backup", "influx-setup"]
    assert SERVICES["backup"]["profiles"] == ["backup"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert "privileged" not in service
    if name == "influxdb":  # its image starts as root, gives itself the volume, and steps down
        assert set(service["cap_add"]) == {
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "SETGID",
            "SETUID",
            "KILL",
        }
    else:
        assert "cap_add" not in service
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_waits_for_what_does_not_say_that_it_is_well(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_healthy" if other in STAYING else "service_completed_successfully"
        assert how["condition"] == wanted


def test_doors_to_the_outside_are_the_brokers_and_grafanas() -> None:
    found = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert found == {"mosquitto": ["0.0.0.0:8883:8883"], "grafana": ["127.0.0.1:3000:3000"]}
    assert compose()["networks"]["series"] == {"internal": True}
    assert SERVICES["influxdb"]["networks"] == ["series"]


def test_the_sample_has_every_variable_and_no_other() -> None:
    asked = set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    assert asked == set(env())


def test_the_administrators_token_is_shown_to_two_only() -> None:
    having = [
        name
        for name, service in SERVICES.items()
        if "influxdb-admin-token" in str(service.get("secrets", ""))
    ]
    assert sorted(having) == ["influx-setup", "influxdb"]


# ---- nothing secret in the repository ----


@pytest.mark.parametrize(
    "name", ["deploy/.env", "deploy/secrets/ca.key", "deploy/backups/x", "deploy/checkpoints/x"]
)
def test_git_does_not_take_what_make_secrets_makes(name: str) -> None:
    run("git", "check-ignore", "--quiet", name)


def test_no_secret_is_written_in_a_file_of_deploy() -> None:
    pattern = re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE|\$7\$\d+\$|"
        r"(?i:password|token|secret)\w*\s*[=:]\s*[\"']?[\w+-]{16,}[\"']?\s*$"
    )
    assert pattern.search("admin_password = 1cT5bHnK0Zk3Y9ux")
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "deploy").split()
    assert "deploy/compose.yaml" in tracked
    for name in tracked:
        for line in (ROOT / name).read_text().splitlines():
            assert not pattern.search(line), f"{name}: {line}"


# ---- Grafana ----


def test_grafana_reads_its_password_from_a_file_and_lets_nobody_in_without_one() -> None:
    read = configparser.ConfigParser(interpolation=None)
    read.read_string((DEPLOY / "grafana" / "grafana.ini").read_text())
    assert read["security"]["admin_password"] == "$__file{/etc/needletrail/grafana/admin-password}"
    assert read["auth.anonymous"]["enabled"] == "false"
    assert read["users"]["allow_sign_up"] == "false"


def test_the_datasource_is_the_one_that_dashboards_name() -> None:
    file = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/needletrail.yaml").read_text())
    (source,) = file["datasources"]
    assert (source["uid"], source["type"], source["isDefault"]) == ("needletrail", "influxdb", True)
    assert source["jsonData"]["version"] == "InfluxQL"
    assert source["jsonData"]["dbName"] == "needletrail"
    folder = ROOT / "dashboards/out/provisioning/alerting"
    alerting = "".join((folder / name).read_text() for name in ("contact-points.yaml", "rules.yaml"))
    variables = set(re.findall(r"\$\{(NEEDLETRAIL_\w+)\}", alerting))
    variables |= set(re.findall(r"\$(NEEDLETRAIL_\w+)", (DEPLOY / "grafana/grafana.ini").read_text()))
    variables |= set(re.findall(r"\$__env\{(\w+)\}", (DEPLOY / "grafana/grafana.ini").read_text()))
    variables.add(source["url"].removeprefix("$"))
    assert variables == set(SERVICES["grafana"]["environment"])
