"""The gateway's settings: a TOML file, each value also settable from the environment.

`gateway/gateway.sample.toml` shows every setting; a test reads it. A variable's name is NEEDLETRAIL_,
the section, two underscores, the key: NEEDLETRAIL_MQTT__PASSWORD keeps a secret out of the file.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
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

    url: str
    bucket: str = "needletrail"
    org: str = "-"
    token: SecretStr = SecretStr("")


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
        """The environment goes before the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


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
            f"{path}: {'.'.join(str(part) for part in found['loc'])}: {found['msg']}."
            for found in error.errors()
        ]
        raise DocumentError("\n".join(complaints)) from error
    except ValueError as error:  # tomllib's error is one
        raise DocumentError(f"{path}: is not valid TOML: {error}.") from error
