"""Settings: file and environment, and what is wrong with them told with file and key."""

import tomllib
from pathlib import Path

import pytest

from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.settings import Settings, read_settings

SAMPLE = Path(__file__).resolve().parents[2] / "gateway" / "gateway.sample.toml"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("NEEDLETRAIL_"):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DocumentError) as caught:
        read_settings(path)
    return str(caught.value)


def uncommented(text: str) -> str:
    """The sample with every setting in it turned on."""
    lines = []
    for line in text.splitlines():
        is_setting = line.startswith("# ") and ("=" in line or line.startswith("# ["))
        is_prose = line.startswith(("# Settings", "# NEEDLE"))
        lines.append(line[2:] if is_setting and not is_prose else line)
    return "\n".join(lines)


def every_key(model: type, prefix: str = "") -> set[str]:
    """Each setting's name, section and key."""
    found: set[str] = set()
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        options = getattr(field.annotation, "__args__", (field.annotation,))
        section = next((one for one in options if hasattr(one, "model_fields")), None)
        found |= every_key(section, f"{name}.") if section else {prefix + name}
    return found


def test_the_sample_loads() -> None:
    assert read_settings(SAMPLE).ledger.location == "needletrail.sqlite"


def test_the_sample_names_every_setting_and_no_other(tmp_path: Path) -> None:
    text = uncommented(SAMPLE.read_text(encoding="utf-8"))
    document = tomllib.loads(text)
    named = {f"{section}.{key}" for section, keys in document.items() for key in keys}
    assert named == every_key(Settings)
    settings = read_settings(written(tmp_path, text))
    assert settings.influx is not None
    assert settings.mqtt.tls_ca is not None


LEDGER = '[ledger]\nlocation = "here.sqlite"\n'


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, LEDGER + '[mqtt]\nhost = "file"\nport = 2\n')
    monkeypatch.setenv("NEEDLETRAIL_MQTT__HOST", "environment")
    monkeypatch.setenv("NEEDLETRAIL_MQTT__PASSWORD", "secret")
    settings = read_settings(path)
    assert (settings.mqtt.host, settings.mqtt.port) == ("environment", 2)
    assert settings.mqtt.password is not None
    assert settings.mqtt.password.get_secret_value() == "secret"
    assert "secret" not in repr(settings)


def test_a_token_must_fit_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would end whoever sends it, with a traceback that shows it."""
    path = written(tmp_path, LEDGER + '[influx]\nurl = "http://127.0.0.1:1"\n')
    monkeypatch.setenv("NEEDLETRAIL_INFLUX__TOKEN", "from-a-file==\n")
    settings = read_settings(path)
    assert settings.influx is not None
    assert settings.influx.token.get_secret_value() == "from-a-file=="
    for token in ("\u2026", "wr\u00f6ng", "two\nlines", "nul\x7f"):
        monkeypatch.setenv("NEEDLETRAIL_INFLUX__TOKEN", token)
        with pytest.raises(DocumentError, match=r"influx\.token") as error:
            read_settings(path)
        assert token not in str(error.value)


def test_a_section_can_come_from_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEEDLETRAIL_INFLUX__URL", "http://127.0.0.1:1")
    settings = read_settings(written(tmp_path, LEDGER))
    assert settings.influx is not None
    assert settings.influx.bucket == "needletrail"


def test_a_secret_without_its_section_is_told_with_both_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEEDLETRAIL_INFLUX__TOKEN", "hush")
    said = refusal(written(tmp_path, '[ledger]\nlocation = "x.sqlite"\n'))
    assert "gateway.toml: influx.url: is missing" in said
    assert "by the environment" in said
    assert "NEEDLETRAIL_INFLUX__URL" in said
    assert "hush" not in said


def test_a_missing_section_is_told_with_a_start(tmp_path: Path) -> None:
    said = refusal(written(tmp_path, ""))
    assert "ledger: the section [ledger] is missing. gateway/gateway.sample.toml" in said


def test_without_influx_there_is_none(tmp_path: Path) -> None:
    assert read_settings(written(tmp_path, LEDGER)).influx is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ledger"),
        (LEDGER + "[mqtt]\nprot = 1883\n", "mqtt.prot"),
        (LEDGER + "[mttq]\nport = 1883\n", "mttq"),
        (LEDGER + "[mqtt]\nport = 0\n", "mqtt.port"),
        (LEDGER + '[mqtt]\nport = "many"\n', "mqtt.port"),
        (LEDGER + '[influx]\nbucket = "x"\n', "influx.url"),
        ('[ledger]\nlocation = ""\n', "ledger.location"),
        ("[ledger\n", "not valid TOML"),
        ("ledger = 5\n", "ledger"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    found = refusal(path)
    assert found.startswith(f"{path}: ")
    assert said in found


def test_a_secret_is_not_shown_by_an_error(tmp_path: Path) -> None:
    found = refusal(written(tmp_path, LEDGER + '[mqtt]\npassword = ["hush"]\nport = 0\n'))
    assert "hush" not in found


def test_an_unknown_key_in_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEEDLETRAIL_MQTT__PASWORD", "secret")
    found = refusal(written(tmp_path, LEDGER))
    assert "mqtt.pasword" in found
    assert "secret" not in found


def test_a_file_that_is_not_there_is_told_with_a_start(tmp_path: Path) -> None:
    assert "gateway.sample.toml is a start" in refusal(tmp_path / "nowhere.toml")
    assert "there is no such file" in refusal(tmp_path)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(path).startswith(f"{path}: ")


def test_a_secret_may_be_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Docker and systemd hand secrets over: nothing in the environment, nothing in the settings."""
    ours, systemds = tmp_path / "ours", tmp_path / "systemds"
    for folder in (ours, systemds):
        folder.mkdir()
        (folder / "NEEDLETRAIL_MQTT__PASSWORD").write_text(f"of {folder.name}\n")
    (systemds / "NEEDLETRAIL_INFLUX__TOKEN").write_text("a token")
    (systemds / "ledger.key").write_text("not a setting")
    path = written(
        tmp_path,
        '[mqtt]\npassword = "of the file"\n[ledger]\nlocation = "x"\n[influx]\nurl = "http://x"\n',
    )

    def password() -> str:
        found = read_settings(path).mqtt.password
        assert found is not None
        return found.get_secret_value()

    assert password() == "of the file"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(systemds))
    assert password() == "of systemds"
    influx = read_settings(path).influx
    assert influx is not None
    assert influx.token.get_secret_value() == "a token"
    monkeypatch.setenv("NEEDLETRAIL_SECRETS", f"{tmp_path}:{ours}")
    assert password() == "of ours"
    monkeypatch.setenv("NEEDLETRAIL_MQTT__PASSWORD", "of the environment")
    assert password() == "of the environment"


def test_a_folder_of_secrets_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEEDLETRAIL_SECRETS", str(tmp_path / "none"))
    assert "the folders of secrets: directory" in refusal(
        written(tmp_path, '[ledger]\nlocation = "x"\n')
    )
