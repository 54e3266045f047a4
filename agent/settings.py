"""One frozen Settings, from a YAML file and FORKLORE_* environment variables, the environment first.

Each setting has its unit, its default and the reason for it. A wrong one names key, value and what would be right. Must not
live here: what any of them does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

__all__ = ["BatchSettings", "CaptureSettings", "KubernetesSettings", "Settings", "SettingsWrong", "SinkSettings", "load"]

_SIZES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}
# What Kubernetes puts into every pod of a namespace for a Service called forklore-something. They are no settings.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$", re.ASCII)
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _size(value: object) -> int:
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,15})\s*(Ki|Mi|Gi|k|M|G|)", value.strip(), re.ASCII)):
        return int(found[1]) * _SIZES[found[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("give bytes, as a number or like 512Ki, 16Mi, 1Gi")


def _ring_size(value: object) -> int:
    size = _size(value)
    if size & (size - 1):
        raise ValueError("give a power of two, like 8Mi, 16Mi, 32Mi: the kernel's ring buffer has no others")
    return size


def _duration(value: object) -> float:
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)", value.strip(), re.ASCII)):
        return float(found[1]) * _DURATIONS[found[2]]
    raise ValueError("give a time with its unit, like 500ms, 10s, 5m")


def _between(parse: Callable[[object], float], least: str, most: str) -> BeforeValidator:
    """Checked here, so that a wrong value is shown as it was written and not as it was read."""

    def check(value: object) -> float:
        number = parse(value)
        if not parse(least) <= number <= parse(most):
            raise ValueError(f"give {least} to {most}")
        return number

    return BeforeValidator(check)


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("give address and port, like 0.0.0.0:9911 or [::]:9911")
    return value


Listen = Annotated[str, AfterValidator(_listen)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaptureSettings(_Part):
    threads: bool = False
    """Send each thread as an event, too. They are always counted; there are often ten times as many."""
    ring_bytes: Annotated[int, _between(_ring_size, "64Ki", "1Gi")] = Field("16Mi", validate_default=True)
    """Bytes of kernel memory that forks wait in; 256 a fork, so 16Mi is 3 s at 20,000 forks a second."""
    summary_interval: Annotated[float, _between(_duration, "1s", "5m")] = Field("10s", validate_default=True)
    """How often each container's exact counts are sent; the resolution of every rate."""


class KubernetesSettings(_Part):
    enabled: bool = True
    """Ask the Kubernetes API for names. Without it events carry what the cgroup's path says: pod uid and container id."""
    kubeconfig: Path | None = None
    """Default: the pod's own service account."""
    wait: Annotated[float, _between(_duration, "0s", "60s")] = Field("5s", validate_default=True)
    """How long a fork may wait for its container to be known: a kubelet reports one about a second after its start."""


class BatchSettings(_Part):
    events: int = Field(default=5000, ge=1, le=100_000)
    """Lines a POST has at most."""
    bytes: Annotated[int, _between(_size, "1Ki", "64Mi")] = Field("4Mi", validate_default=True)
    """Bytes a POST has at most, before compression, which leaves a twentieth. A POST costs as much as a hundred forks."""
    wait: Annotated[float, _between(_duration, "50ms", "60s")] = Field("1s", validate_default=True)
    """How long an event may wait for others to fill its batch: what a quiet node's events are late by."""


class SinkSettings(_Part):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
    """A label in metrics and in the ledger."""
    url: str = Field(pattern=r"^https?://[^\s]+$")
    """Where batches are POSTed to, as it is."""
    protocol: Literal["http"] = "http"
    """`http`: newline-delimited JSON; any 2xx takes the batch."""
    schema_: Literal["native"] = Field(default="native", alias="schema")
    """`native`: every field, as bpf/README.md lists them."""
    token_file: Path | None = None
    """Sent as a bearer token; read again for every batch, so it can be replaced at any time."""
    headers: dict[str, str] = {}
    """Sent with every batch."""
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    """gzip is understood everywhere; both cost 1 us a fork and leave a twentieth."""
    batch: BatchSettings = BatchSettings()
    journal_bytes: Annotated[int, _between(_size, "1Mi", "64Gi")] = Field("32Mi", validate_default=True)
    """Compressed bytes that may wait for the sink, in memory; then the oldest go, counted as lost{journal_full}."""


class Settings(BaseSettings):
    """The agent's."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="FORKLORE_", env_nested_delimiter="__")
    file: ClassVar[Path | None] = None

    node: str = Field(default_factory=lambda: os.environ.get("NODE_NAME") or os.uname().nodename, min_length=1, max_length=253)
    """This node's name in Kubernetes. Default: $NODE_NAME, else the host's name."""
    cluster: str = Field(default="default", min_length=1, max_length=253)
    """What the cluster is called in every event."""
    capture: CaptureSettings = CaptureSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    state_dir: Path = Path("/var/lib/forklore")
    """Where the last ledger is written at a clean exit."""
    status: Listen = "0.0.0.0:9911"  # probes come from the kubelet, scrapes from Prometheus
    """Where /healthz, /readyz, /metrics, /v1/pods and /v1/ledger are served."""
    status_token_file: Path | None = None
    """When set, /v1/pods and /v1/ledger want this bearer token: they name pods."""
    sinks: tuple[SinkSettings, ...] = ()
    """Where forks go; each has a queue and an account of its own."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if cls.file is None:
            return init_settings, env_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=cls.file)


class SettingsWrong(Exception):
    """`lines`: one for each mistake: key, value, what would be right."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def load(file: Path | None) -> Settings:
    """Raises SettingsWrong."""
    if file is not None and not file.is_file():
        raise SettingsWrong([f"--config: {file} is not there"])
    bound = type("Settings", (Settings,), {"file": file, "__doc__": Settings.__doc__, "__module__": __name__})
    try:
        settings: Settings = bound()
    except ValidationError as error:
        raise SettingsWrong([_line(one) for one in error.errors()]) from error
    except (yaml.YAMLError, OSError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise SettingsWrong([f"{file or 'environment'}: {' '.join(str(error).split())}"]) from error
    if strangers := [key for key in os.environ if _is_stranger(key)]:
        raise SettingsWrong([f"{key}: there is no such setting" for key in strangers])
    names = [sink.name for sink in settings.sinks]
    if len(set(names)) < len(names):
        raise SettingsWrong(["sinks: two have the same name; each needs its own"])
    return settings


def _is_stranger(variable: str) -> bool:
    """A FORKLORE_ variable that sets nothing: a typing error, which must not pass for a setting."""
    if not variable.startswith("FORKLORE_") or variable.startswith("FORKLORE_COLLECTOR_") or _SERVICE_LINK.search(variable):
        return False
    return variable.removeprefix("FORKLORE_").split("__")[0].lower() not in Settings.model_fields


def _line(error: Any) -> str:  # noqa: ANN401  pydantic's ErrorDetails, a TypedDict of its own core
    key = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such setting"
    value = error.get("input")
    shown = "" if isinstance(value, dict | list) else f" = {value!r:.80}"
    return f"{key}{shown}: {message[:1].lower()}{message[1:]}"
