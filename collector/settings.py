"""The collector's settings: one frozen object out of a YAML file and the environment.

`FORKLORE_COLLECTOR_<KEY>` overrides the file. Every mistake is reported in one line with key, value and what is valid.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from collector.http.tokens import tokens_in
from collector.store import wrong_dsn
from wire import units

__all__ = ["Settings", "WrongSettings", "load"]

PREFIX: Final = "FORKLORE_COLLECTOR_"
# Kubernetes sets these in every pod of a namespace with a Service named `forklore-collector`. They are no settings.
_SERVICE_LINK: Final = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?")


class WrongSettings(Exception):
    """`mistakes`: one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def _size(value: object) -> object:
    """`16Mi` -> bytes."""
    if isinstance(value, str):
        size_bytes = units.size(value)
        if size_bytes is None:
            raise ValueError("a size is a whole number and a unit, such as 512Ki, 16Mi, 1Gi")
        return size_bytes
    return value


def _duration(value: object) -> object:
    """`7d` -> seconds."""
    if isinstance(value, str):
        seconds = units.seconds(value)
        if seconds is None:
            raise ValueError("a duration is a number and a unit, such as 500ms, 10s, 5m, 12h, 7d")
        return seconds
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError("a duration is a number and a unit, such as 500ms, 10s, 5m, 12h, 7d")
    raise ValueError(f"{value} of what? A duration has a unit, such as {value}s, {value}m, {value}h, {value}d")


def _several(value: object) -> object:
    """`a, b` -> both, for a variable of the environment."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size), Field(ge=1, le=2**40)]
Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0, le=3660 * 86400)]


class Settings(BaseSettings):
    """After validation sizes are in bytes, durations in seconds."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", validate_default=True
    )

    listen: str = "127.0.0.1:9910"
    """Address and port. `0.0.0.0:9910` (or `[::]:9910`) for agents on other nodes, which requires tokens. Port 0: any free
    port."""

    store: str = "chdb:///var/lib/forklore/store"
    """`chdb:///absolute/path` of a folder of its own, `https://user@host:8443/forklore` of a ClickHouse server or cluster, or
    `memory:`, which is deleted at the end."""

    store_password_file: Path | None = None
    """File with the password for a ClickHouse server, so that it is in no address. Read when the collector starts."""

    token_file: Path | None = None
    """File with bearer tokens, one a line, for agents and viewers; read again when it changes. All of them are valid at once,
    so that they can be exchanged."""

    read_token_file: Path | None = None
    """As `token_file`; these may read, and send nothing."""

    ingest_token_file: Path | None = None
    """As `token_file`; these may send events, and read nothing."""

    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_several)] = ()
    """Networks, such as `10.0.0.7/32`, of proxies that authenticate: users that they name in X-Forwarded-User may read, and
    their X-Forwarded-For is trusted. They must remove these headers from their clients' requests."""

    access: Literal["closed", "open"] = "closed"
    """`open`: every client that reaches `listen` may read and write, without a token. `closed`: without tokens only this
    machine may."""

    read_rate: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Requests a second of one client address to the API, and as many to the pages; four times as many may come at once, more
    get 429. An open page makes at most one a second."""

    streams: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Readers of /v1/stream at once; more get 503."""

    exports: Annotated[int, Field(ge=1, le=1000)] = 4
    """Exports of /v1/forks at once; more get 503."""

    export_forks: Annotated[int, Field(ge=1, le=2**53)] = 1_000_000
    """Most forks in one export; the last line of a longer one has the cursor to continue from."""

    retention: Duration = "7d"  # type: ignore[assignment]
    """How long events are kept after their receipt. Most incidents are noticed within a week."""

    max_body: Size = "16Mi"  # type: ignore[assignment]
    """Bytes of one request as received. An agent's batch has at most 4Mi, before compression."""

    max_batch: Size = "64Mi"  # type: ignore[assignment]
    """Bytes of one request after decompression; more is never decompressed."""

    max_line: Size = "256Ki"  # type: ignore[assignment]
    """Bytes of one event; a longer one is refused, the others of its batch are not. A usual fork has 2 KB."""

    max_lines: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Events of one request, which bounds the answer to a request of invalid lines."""

    body_timeout: Duration = "30s"  # type: ignore[assignment]
    """How long the receipt of a request's body may take."""

    batches: Annotated[int, Field(ge=1, le=1000)] = 8
    """Requests held in memory at once, and 32 times as many of at most 32Ki; more wait, and get 503 after 5 s."""

    stop_timeout: Duration = "10s"  # type: ignore[assignment]
    """How long running requests may continue after SIGTERM. Shorter than Kubernetes' 30 s."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not port.isascii() or int(port) > 65535 or (":" in host) != (host[:1] == "["):
            raise ValueError("an address and a port from 0 to 65535, such as 0.0.0.0:9910 or [::]:9910")
        return value

    @field_validator("store_password_file")
    @classmethod
    def _store_password_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                value.read_text()
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "not UTF-8"
                raise ValueError(f"a readable file with the password in it ({why})") from None
        return value

    @property
    def store_password(self) -> str | None:
        """Raises OSError when its file is gone."""
        return None if self.store_password_file is None else self.store_password_file.read_text().strip()

    @field_validator("store")
    @classmethod
    def _store(cls, value: str) -> str:
        if mistake := wrong_dsn(value):
            raise ValueError(mistake)
        return value

    @field_validator("token_file", "read_token_file", "ingest_token_file")
    @classmethod
    def _token_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                tokens_in(value.read_bytes())
            except OSError as error:
                raise ValueError(f"a readable file with a token in it ({error.strerror})") from None
            except ValueError as error:
                raise ValueError(f"a file with a token in each line; of this one: {error}") from None
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _trusted_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"networks such as 10.0.0.7/32, fd00::/8 ({error})") from None
        return value

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        """Checks settings together."""
        tokens = self.token_file or self.read_token_file or self.ingest_token_file
        if self.access == "open" and (tokens or self.trusted_proxies):
            raise ValueError("access: 'open' is wrong; right would be: closed, because there are tokens or trusted proxies")
        if self.access == "closed" and not (tokens or self.trusted_proxies or _is_loopback(self.listen)):
            raise ValueError(
                f"listen: {self.listen!r} is wrong; right would be: a token_file (or read_token_file and ingest_token_file), "
                "trusted_proxies, an address of this machine alone such as 127.0.0.1:9910, or, where everyone may read and "
                "write, access: open"
            )
        return self


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load(path: Path | None) -> Settings:
    """The file's settings, overridden by the environment's. Raises `WrongSettings`."""
    given, mistakes = _file(path), _stray_environment()
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise WrongSettings(mistakes + [_line(cast("Mapping[str, Any]", one)) for one in error.errors()]) from None
    if mistakes:
        raise WrongSettings(mistakes)
    return settings


def _file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        given = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings([f"--config {path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from None
    except yaml.YAMLError as error:
        raise WrongSettings([f"--config {path}: is not YAML: {' '.join(str(error).split())}"]) from None
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise WrongSettings([f"--config {path}: keys and values are required, such as listen: 0.0.0.0:9910"])
    return given


def _stray_environment() -> list[str]:
    known = ", ".join(PREFIX + key.upper() for key in Settings.model_fields)
    return [
        f"{name}={value}: is no setting; there are {known}"
        for name, value in sorted(os.environ.items())
        if name.upper().startswith(PREFIX)
        and (key := name[len(PREFIX) :]).lower() not in Settings.model_fields
        and not _SERVICE_LINK.fullmatch(key)
    ]


def _line(error: Mapping[str, Any]) -> str:
    if not error["loc"]:  # about several settings; the message names them
        return str(error["msg"].removeprefix("Value error, "))
    key = ".".join(str(part) for part in error["loc"])
    key = key if key.isprintable() else key.encode("unicode_escape").decode()  # the file may have any characters
    if error["type"] == "extra_forbidden":
        return f"{key}: is no setting; there are {', '.join(Settings.model_fields)}"
    right = error["msg"].removeprefix("Value error, ")
    given = "***" if key == "store" and "@" in str(error["input"]) else str(error["input"])[:200]  # it may hold a password
    return f"{key}: {given!r} is wrong; right would be: {right}"
