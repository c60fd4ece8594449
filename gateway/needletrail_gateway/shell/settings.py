"""The gateway's settings: a TOML file, each value also settable from the environment.

`gateway/gateway.sample.toml` shows every setting; a test reads it. A variable's name is NEEDLETRAIL_,
the section, two underscores, the key: NEEDLETRAIL_MQTT__PASSWORD keeps a secret out of the file. A
secret need not be in the environment, either: a file of that name in the folder NEEDLETRAIL_SECRETS, or
among systemd's credentials (systemd.exec(5), LoadCredential), says the same.
"""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from needletrail_gateway.record.checkpoints import CheckpointSettings
from needletrail_gateway.shell.documents import DocumentError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MqttSettings(_Section):
    """The broker."""

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    tls_ca: Path | None = None


class LedgerSettings(_Section):
    """Where the record is kept: a file (SQLite) or a database URL."""

    location: str = Field(min_length=1)


class PolicySettings(_Section):
    """Where policy packs are; those that come with Needletrail, if not given."""

    folder: Path | None = None


class InfluxSettings(_Section):
    """An InfluxDB for the time series; leave the section out to do without."""

    url: str = Field(pattern=r"^https?://[^/]")
    bucket: str = Field(default="needletrail", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    org: str = "-"
    token: SecretStr = SecretStr("")
    raw_days: int = Field(default=90, ge=0, le=36_500)
    check_at: str = Field(default="03:30", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|off)$")

    @field_validator("token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value().strip()  # a file often ends with a line's end
        if not text.isascii() or not text.isprintable():
            raise ValueError("is no token: it must be one line of ASCII")
        return SecretStr(text)


class Settings(BaseSettings):
    """All settings of `needletrail gateway`."""

    model_config = SettingsConfigDict(
        env_prefix="NEEDLETRAIL_", env_nested_delimiter="__", extra="forbid"
    )

    mqtt: MqttSettings = MqttSettings()
    ledger: LedgerSettings
    checkpoint: CheckpointSettings | None = None
    policy: PolicySettings = PolicySettings()
    influx: InfluxSettings | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *_unused: PydanticBaseSettingsSource,
        **_also_unused: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before files of secrets, and these before the file of settings."""
        folders = SecretsSettingsSource(settings_cls, secrets_dir=_secret_folders())
        secrets = NestedSecretsSettingsSource(folders, secrets_dir_missing="error")
        return init_settings, env_settings, secrets, TomlConfigSettingsSource(settings_cls)


def _secret_folders() -> list[str]:
    """Folders that hold one file for each secret; of two with the same name the later counts."""
    named = [os.environ.get("CREDENTIALS_DIRECTORY", "")]
    named += os.environ.get("NEEDLETRAIL_SECRETS", "").split(os.pathsep)
    return [folder for folder in named if folder]


def read_settings(path: Path) -> Settings:
    """Settings from a TOML file and the environment; DocumentError if they can not be used."""
    if not path.is_file():
        raise DocumentError(f"{path}: there is no such file. gateway/gateway.sample.toml is a start.")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return FromFile()
    except ValidationError as error:
        complaints = [
            f"{path}: {'.'.join(str(part) for part in found['loc'])}: {_complaint(found)}"
            for found in error.errors()
        ]
        raise DocumentError("\n".join(complaints)) from error
    except SettingsError as error:
        raise DocumentError(f"the folders of secrets: {error}.") from error
    except ValueError as error:  # tomllib's error is one
        raise DocumentError(f"{path}: is not valid TOML: {error}.") from error


def _complaint(found: ErrorDetails) -> str:
    """What is wrong with a setting, and what to do if it is not there."""
    if found["type"] != "missing":
        return f"{found['msg']}."
    section, *keys = (str(part) for part in found["loc"])
    if not keys:
        return f"the section [{section}] is missing. gateway/gateway.sample.toml shows it."
    variable = "__".join((section, *keys)).upper()
    return (
        f"is missing, though other settings of [{section}] are given, there or by the environment or a "
        f"file of secrets. Write it there, or set NEEDLETRAIL_{variable}."
    )
