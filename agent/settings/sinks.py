"""The settings of a sink: address, protocol, schema, and which fields leave the node.

Settings that exclude each other are refused at the later key, with what is valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from agent.settings.selection import AnnotationKeys, LabelPatterns, SelectSettings
from agent.settings.values import SettingsModel, in_range, parse_duration, parse_size

__all__ = ["CHOICES", "BatchSettings", "SinkSettings"]

# What each protocol allows, its default first.
CHOICES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "schema_": {
        "http": ("native", "ecs", "ocsf"),
        "splunk_hec": ("native", "ocsf"),
        "elasticsearch": ("ecs",),
        "otlp": ("otel",),
    },
    "auth": {
        "http": ("bearer", "basic", "header"),
        "splunk_hec": ("splunk", "bearer"),
        "elasticsearch": ("api_key", "basic", "bearer"),
        "otlp": ("bearer", "basic", "header"),
    },
    "compression": {
        "http": ("gzip", "zstd", "none"),
        "splunk_hec": ("gzip", "none"),
        "elasticsearch": ("gzip", "none"),
        "otlp": ("gzip", "zstd", "none"),
    },
}
# The keys that only some protocols have.
_PROTOCOLS_OF: Final[dict[str, tuple[str, ...]]] = {
    "framing": ("http",),
    "index": ("splunk_hec", "elasticsearch"),
    "source": ("splunk_hec",),
    "sourcetype": ("splunk_hec",),
    "data_stream": ("elasticsearch",),
}
_INDICES: Final[dict[str, tuple[str, str]]] = {
    "splunk_hec": (r"[a-z0-9][a-z0-9_-]{0,79}", "small letters, digits, _ and -, as Splunk names its indexes"),
    "elasticsearch": (r"[a-z0-9][a-z0-9._-]{0,254}", "small letters, digits, ., _ and -, as Elasticsearch names its indices"),
}
_DATA_STREAM: Final = re.compile(r"(logs|metrics|traces|synthetics)-[a-z0-9][a-z0-9._]{0,99}-[a-z0-9._]{1,100}", re.ASCII)
# Fields by which a receiver identifies and orders events, and fields that the schema requires.
_REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "native": ("event", "id", "timestamp", "kind"),
    "ecs": (
        "@timestamp", "ecs.version", "event.id", "event.kind", "event.category", "event.type", "event.action", "data_stream",
    ),
    "ocsf": (
        "metadata.uid", "metadata.version", "metadata.product", "time", "class_uid", "category_uid", "activity_id", "type_uid",
        "severity_id",
    ),
    "otel": ("log.record.uid",),
}  # fmt: skip
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)  # RFC 9110, 5.6.2
_OWN_HEADERS: Final = frozenset(
    {
        "content-encoding",
        "content-length",
        "forklore-delivered",
        "forklore-sink",
        "host",
        "idempotency-key",
        "transfer-encoding",
    }
)


class BatchSettings(SettingsModel):
    events: int = Field(default=5000, ge=1, le=100_000)
    """Most events in a POST."""
    bytes: Annotated[int, in_range(parse_size, "1Ki", "64Mi")] = Field("4Mi", validate_default=True)
    """Most bytes in a POST, before compression to about a tenth. A POST costs as much CPU as a hundred forks."""
    wait: Annotated[float, in_range(parse_duration, "50ms", "60s")] = Field("1s", validate_default=True)
    """How long an event may wait for others to fill its batch, which is the delay of events on a quiet node."""


class SinkSettings(SettingsModel):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
    """A label in metrics and in the ledger."""
    url: str = Field(pattern=r"^https?://[^\s]+$", max_length=2048)
    """Address of the POSTs. `http` uses it unchanged; the others add their own path when it has none:
    `/services/collector/event`, `/<data stream or index>/_bulk`, `/v1/logs`."""
    protocol: Literal["http", "splunk_hec", "elasticsearch", "otlp"] = "http"
    """Protocol of the batches. `http`: a POST that any 2xx accepts. `splunk_hec`: Splunk, Falcon LogScale, Cribl.
    `elasticsearch`: `_bulk`, and OpenSearch's. `otlp`: OpenTelemetry logs over HTTP, protobuf."""
    schema_: Literal["native", "ecs", "ocsf", "otel"] = Field(None, alias="schema", validate_default=True)
    """Schema of the events: `native` (every field, as bpf/README.md lists them), `ecs`, `ocsf`, `otel`. `http` allows
    native, ecs or ocsf; `splunk_hec` native or ocsf; `elasticsearch` ecs; `otlp` otel. Default: the first of them."""
    framing: Literal["ndjson", "json"] = "ndjson"
    """`http` only. `json`: one array in each POST, for receivers without newline-delimited JSON."""
    token_file: Path | None = None
    """File with the receiver's token, or user:password. Read again for every batch, so it can be replaced at any time."""
    auth: Literal["bearer", "basic", "header", "splunk", "api_key"] = Field(None, validate_default=True)
    """How the token is sent. `http` and `otlp`: bearer, basic, header (see `token_header`); `splunk_hec`: splunk, bearer (for
    LogScale); `elasticsearch`: api_key (id:key, or both in base64 as Kibana shows it), basic, bearer. Default: the first."""
    username: str | None = Field(default=None, pattern=r"^[^:\x00-\x1f\x7f]{1,128}$")
    """For `auth: basic`; then `token_file` holds the password only."""
    token_header: str | None = None
    """For `auth: header`: the name of the header with the token alone, like `DD-API-KEY`."""
    index: str | None = None
    """`splunk_hec`: index of the events; default: the token's own. `elasticsearch`: an index that is no data stream."""
    source: str = Field(default="forklore", min_length=1, max_length=256)
    """`splunk_hec` only."""
    sourcetype: str | None = Field(default=None, min_length=1, max_length=256)
    """`splunk_hec` only. Default: `forklore:` and the schema, so that searches can distinguish them."""
    data_stream: str | None = None
    """`elasticsearch` only: type-dataset-namespace. Default: `logs-forklore.process-default`, when neither `index` nor the
    URL's path names another."""
    headers: dict[str, str] = Field(default={})
    """Sent with every batch."""
    proxy: str | None = Field(default=None, repr=False)
    """`http://host:port`, or `https://`, with `user:password@` if required. HTTPS_PROXY and its like are ignored."""
    ca_file: Path | None = None
    """CAs for the receiver's certificate (PEM), instead of the system's. This file and the next two are read again when they
    are replaced. Certificates are always verified."""
    cert_file: Path | None = None
    """Client certificate with its chain (PEM), for a receiver that requires one."""
    key_file: Path | None = None
    """Its key (PEM, without a password). Default: it is in `cert_file`."""
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    """All receivers support gzip, which leaves a seventh or less; zstd leaves half of that. Both cost 1 us a fork. Splunk and
    Elasticsearch do not support zstd."""
    batch: BatchSettings = BatchSettings()
    journal_bytes: Annotated[int, in_range(parse_size, "1Mi", "64Gi")] = Field("512Mi", validate_default=True)
    """Compressed bytes that may wait for the sink, in `state_dir`; then the oldest are dropped, counted as
    lost{journal_full}. A fork takes 250: 512Mi is half an hour at 1,000 forks a second."""
    select: SelectSettings = SelectSettings()
    labels: LabelPatterns | None = None
    """Labels of a pod that leave the node: keys, or prefixes like `app.kubernetes.io/*`. Default: all."""
    annotations: AnnotationKeys = ()
    """Annotations of a pod that leave the node, by their whole keys, 32 at most; each is cut at 1,024 characters. Only these
    are kept in memory."""
    drop_fields: tuple[str, ...] = Field(default=(), max_length=64)
    """Fields that never leave the node, by their dotted names in the schema, with all below them: `k8s.labels`,
    `process.user.id`. Costs 5 us more for each event, which is parsed and encoded again; nothing with `otel`, where
    each is an attribute's whole name, or `body`. Fields that identify an event can't be dropped."""

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            if parts.hostname and parts.port != 0 and not parts.fragment:
                return url
        except ValueError:
            pass
        raise ValueError("give a whole URL without a fragment, like https://siem.example:8088/path")

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, url: str) -> str:
        if "@" in urlsplit(url).netloc:
            raise ValueError("leave user and password out: they go into token_file, with auth: basic")
        return url

    @field_validator("proxy")
    @classmethod
    def _proxy(cls, proxy: str | None) -> str | None:
        with suppress(ValueError):  # urlsplit's
            parts = urlsplit(proxy or "http://none:1")
            whole = parts.hostname and parts.port and not (parts.path.strip("/") or parts.query)
            if whole and parts.scheme in ("http", "https"):
                return proxy
        raise ValueError("give http://host:port or https://host:port, with user:password@ before the host if it wants them")

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        urls = (info.data.get("url") or "https", info.data.get("proxy") or "")
        if file is not None and not any(url.startswith("https") for url in urls):
            raise ValueError("goes with an https:// url only: over http:// there are no certificates")
        if file is not None and info.field_name == "key_file" and info.data.get("cert_file") is None:
            raise ValueError("is the key of a cert_file: give that, too")
        return file

    @field_validator("schema_", "auth", mode="before")
    @classmethod
    def _usual(cls, value: object, info: ValidationInfo) -> object:
        """Not set: the default of the protocol."""
        return _choices(info)[0] if value is None else value

    @field_validator(*CHOICES)
    @classmethod
    def _choice(cls, value: str, info: ValidationInfo) -> str:
        if value not in (choices := _choices(info)):
            owners = [protocol for protocol, those in CHOICES[str(info.field_name)].items() if value in those]
            raise ValueError(f"{info.data['protocol']} takes {_or(choices)}; {value} goes with {_or(owners)}")
        return value

    @field_validator(*_PROTOCOLS_OF)
    @classmethod
    def _owned(cls, value: str | None, info: ValidationInfo) -> str | None:
        owners = _PROTOCOLS_OF[str(info.field_name)]
        if value is not None and info.data.get("protocol", owners[0]) not in owners:
            raise ValueError(f"is a key of {_or(owners)}; {info.data['protocol']} has no such key")
        return value

    @field_validator("username", "token_header")
    @classmethod
    def _of_auth(cls, value: str | None, info: ValidationInfo) -> str | None:
        auth = "basic" if info.field_name == "username" else "header"
        if value is not None and info.data.get("auth", auth) != auth:
            raise ValueError(f"goes with auth: {auth} only")
        if value is not None and auth == "header" and (not _TOKEN.fullmatch(value) or value.lower() in _OWN_HEADERS):
            raise ValueError("give the name of a header, like DD-API-KEY")
        return value

    @field_validator("index")
    @classmethod
    def _index(cls, index: str | None, info: ValidationInfo) -> str | None:
        pattern, words = _INDICES.get(info.data.get("protocol", ""), (".*", ""))
        if index is not None and not re.fullmatch(pattern, index, re.ASCII):
            raise ValueError(f"give {words}")
        return index

    @field_validator("data_stream")
    @classmethod
    def _data_stream(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and not _DATA_STREAM.fullmatch(name):
            raise ValueError("give type-dataset-namespace in small letters, like logs-forklore.process-default")
        if name is not None and info.data.get("index") is not None:
            raise ValueError("give either index or data_stream: events go to one of them")
        return name

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, value in headers.items():  # a value may be a secret: it is not shown
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r:.80} is not the name of a header")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"the value of {name}: give printable ASCII on one line")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"leave {name} out: forklore sets that itself")
            if name.lower() == _token_header(info.data):
                raise ValueError(f"give either {name} or token_file: both set the same header")
        return headers

    @field_validator("drop_fields")
    @classmethod
    def _drop_fields(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in names:
            if not name.isprintable() or not all(name.split(".")) or len(name) > 512:
                raise ValueError(f"{name!r:.80} is no field: give dotted names, like k8s.labels")
            for kept in _REQUIRED.get(info.data.get("schema_", ""), ()):
                if f"{kept}.".startswith(f"{name}.") or f"{name}.".startswith(f"{kept}."):
                    raise ValueError(f"leave {name} out: every event keeps {kept}, by which a receiver identifies it")
        return names

    @model_validator(mode="after")
    def _whole(self) -> SinkSettings:
        if self.token_file is None and self.model_fields_set & {"auth", "username", "token_header"}:
            raise ValueError("auth, username and token_header describe how token_file is sent: give that, too")
        if self.auth == "header" and self.token_header is None:
            raise ValueError("auth: header needs token_header, the name of the header")
        return self


def _choices(info: ValidationInfo) -> tuple[str, ...]:
    """All choices, when the protocol itself is wrong and has been refused."""
    choices = CHOICES[str(info.field_name)]
    return choices.get(info.data.get("protocol", "")) or tuple(one for those in choices.values() for one in those)


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _token_header(data: Mapping[str, Any]) -> str | None:
    """In small letters; None: there is no token."""
    if data.get("token_file") is None:
        return None
    return str(data.get("token_header") or "Authorization").lower()
