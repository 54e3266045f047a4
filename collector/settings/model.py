"""The settings themselves: keys, defaults, reasons, and what is valid."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from collector.http.access import Scope
from collector.http.tokens import tokens_in
from collector.settings.clusters import ClusterSettings
from collector.settings.values import Duration, Size, several
from collector.store import wrong_dsn
from wire.http.certificate import CertificateError, ServerCertificate

__all__ = ["PREFIX", "Settings"]

PREFIX: Final = "FORKLORE_COLLECTOR_"


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

    cert_file: Path | None = None
    """Certificate of the collector with its chain (PEM), for TLS 1.2 and 1.3. This file and the next are read again when they
    change; open connections stay. Required for every address that other machines reach, unless `tls` is off."""

    key_file: Path | None = None
    """Its key (PEM, without a password). Default: it is in `cert_file`."""

    tls: bool = True
    """`off`: plain HTTP on any address: everybody on the way can read events, and take tokens. For a collector behind a proxy
    that has TLS, on a network of their own."""

    token_file: Path | None = None
    """File with bearer tokens, one a line, for agents and viewers; read again when it changes. All of them are valid at once,
    so that they can be exchanged. A line `TOKEN node=NAME` (and `cluster=NAME`) is the token of that node's agent alone; it may
    send, and reads nothing."""

    read_token_file: Path | None = None
    """As `token_file`; these may read, and send nothing."""

    ingest_token_file: Path | None = None
    """As `token_file`; these may send events, and read nothing."""

    generated_read_token_file: Path | None = None
    """File in which the collector makes a token that may read, when it starts and the file is not there. `forklore collector
    token` prints it."""

    clusters: tuple[ClusterSettings, ...] = ()
    """Clusters whose agents show the tokens of their service account, which are verified offline and bind an agent to its node.
    Kubernetes issues such tokens since 1.30."""

    audience: Annotated[str, Field(min_length=1, max_length=253)] = "forklore-collector"
    """The audience of these tokens: a token for another service, such as the API server, is refused."""

    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(several)] = ()
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
    """Bodies of `max_body` bytes held in memory at once, and more of smaller ones; those of one credential, or of one address
    without one, take at most half. More get 503."""

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

    @field_validator("cert_file")
    @classmethod
    def _cert_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("a file with a certificate in it, which can be read")
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
    def token_files(self) -> dict[Scope, tuple[Path, ...]]:
        """By what their tokens are good for."""
        read = (self.token_file, self.read_token_file, self.generated_read_token_file)
        return {
            Scope.READ: tuple(filter(None, read)),
            Scope.INGEST: tuple(filter(None, (self.token_file, self.ingest_token_file))),
        }

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

    @field_validator("clusters")
    @classmethod
    def _clusters(cls, value: tuple[ClusterSettings, ...]) -> tuple[ClusterSettings, ...]:
        """A cluster may be there twice, with two issuers, while the issuer is exchanged."""
        if len({(one.name, one.issuer) for one in value}) < len(value):
            raise ValueError("a name for each cluster; of these, two have the same name and issuer")
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
        tokens = self.clusters or any(self.token_files.values())
        if self.access == "open" and (tokens or self.trusted_proxies):
            raise ValueError("access: 'open' is wrong; right would be: closed, because there are tokens or trusted proxies")
        if self.access == "closed" and not (tokens or self.trusted_proxies or _is_loopback(self.listen)):
            raise ValueError(
                f"listen: {self.listen!r} is wrong; right would be: a token_file (or read_token_file and ingest_token_file), "
                "clusters, trusted_proxies, an address of this machine alone such as 127.0.0.1:9910, or, where everyone may "
                "read and write, access: open"
            )
        return self

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError(f"key_file: '{self.key_file}' is the key of a cert_file: set that, too")
        if self.cert_file is None:
            if self.tls and not _is_loopback(self.listen):
                raise ValueError(
                    f"listen: {self.listen!r} is wrong without TLS; right would be: cert_file and key_file, an address of this "
                    "machine alone such as 127.0.0.1:9910, or, where everybody on the network may read tokens and events, "
                    "tls: off"
                )
            return self
        if not self.tls:
            raise ValueError("tls: off is wrong with a cert_file; right would be: one of them")
        try:
            ServerCertificate(self.cert_file, self.key_file)
        except CertificateError as error:
            raise ValueError(f"cert_file: is wrong: {error}") from None
        return self


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
