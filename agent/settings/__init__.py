"""The agent's settings: one frozen object from a YAML file and FORKLORE_* variables, which override the file.

Each setting has its unit, its default and the reason for it. A wrong one is reported with its key, its value and what is valid.
This package must not use the settings.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from agent.settings.sinks import BatchSettings, SinkSettings
from agent.settings.values import Listen, SettingsModel, in_range, parse_duration, parse_ring_size
from wire.http.certificate import CertificateError, ServerCertificate

__all__ = ["BatchSettings", "CaptureSettings", "KubernetesSettings", "Settings", "SettingsError", "SinkSettings", "load"]

_CREDENTIALS = re.compile(r"//.*@")  # of a URL; they are never shown
# Variables that Kubernetes sets in every pod of a namespace for a Service named forklore-*. They are no settings.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$", re.ASCII)
# Of `forklore top`, `tree` and `tail`.
_TERMINAL_VARIABLES = ("FORKLORE_COLLECTOR", "FORKLORE_TOKEN_FILE", "FORKLORE_CA_FILE")


class CaptureSettings(SettingsModel):
    threads: bool = False
    """Send an event for each thread too. Threads are always counted; there are often ten times as many as processes."""
    ring_bytes: Annotated[int, in_range(parse_ring_size, "64Ki", "1Gi")] = Field("16Mi", validate_default=True)
    """Size of the kernel's ring buffer. A fork takes 256 bytes, so 16Mi holds 3 s at 20,000 forks a second."""
    summary_interval: Annotated[float, in_range(parse_duration, "1s", "5m")] = Field("10s", validate_default=True)
    """How often each container's exact counts are sent, which is the resolution of every rate."""
    storm_limit: int = Field(default=2000, ge=0, le=10_000_000)
    """Forks a second of one pod, or of one systemd unit outside pods, above which only its exact counts are sent, until it was
    below for 5 s. Less when the ring is over half full: what then is free is shared. 0: no limit."""
    uniqueness_limit: int = Field(default=500, ge=0, le=1_000_000)
    """New parent tasks and cgroups a second of one container, over 10 s, above which only its exact counts are sent, for 10 s.
    Each costs the agent up to 0.1 ms a sink; forks of a known task cost a tenth. 0: no limit."""
    pin: Path | None = Path("/sys/fs/bpf/forklore")
    """Folder in a BPF file system where capture is pinned, so that a crash or an upgrade misses no fork. null: not pinned."""
    keep: bool = False
    """Stay attached after a clean exit too, for the next agent to take over. The chart sets true, for upgrades."""


class KubernetesSettings(SettingsModel):
    enabled: bool = True
    """Read names from the Kubernetes API. Without it events have the ids of the cgroup's path: pod uid and container id."""
    kubeconfig: Path | None = None
    """Default: the pod's own service account."""
    strict_x509: bool = False
    """Refuse API certificates whose CA lacks extensions that RFC 5280 demands. kubectl and the kubelet accept them, and some
    clusters have such a CA."""
    wait: Annotated[float, in_range(parse_duration, "0s", "60s")] = Field("5s", validate_default=True)
    """How long a fork may wait for its container to be known. A kubelet reports a container about a second after its start."""
    kubelet_cgroup_root: Annotated[str, Field(pattern=r"^(/[^/]+)+$", max_length=960)] | None = None
    """The path of the kubelet's cgroup with all pods, from the hierarchy: /kubepods, /kubepods.slice, or (kind) below the
    node's container. Default: it is learned from where the API's containers are. A path elsewhere is never a pod's."""
    sandboxes: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = (
        "*kata*", "*gvisor*", "*runsc*", "*firecracker*", "*peerpod*", "*peer-pod*", "*edera*", "*urunc*", "*quark*"
    )  # fmt: skip
    """RuntimeClasses, by name (`*` and `?` as in a shell), whose pods have a kernel of their own. The node's BPF programs can't
    see their forks, so these pods are reported as not observable, never as 0 forks."""


class PodMetricsSettings(SettingsModel):
    enabled: bool = False
    """Add series for each pod to /metrics, as long as the pod exists. The events have the same numbers."""
    most: int = Field(default=200, ge=1, le=5000)
    """Pods with series, four each; forklore_pods_without_series counts the others. A node has at most 110 pods by default."""


class MetricsSettings(SettingsModel):
    pods: PodMetricsSettings = PodMetricsSettings()


class Settings(BaseSettings):
    """The settings of the agent."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="FORKLORE_", env_nested_delimiter="__")
    file: ClassVar[Path | None] = None

    node: str = Field(default_factory=lambda: os.environ.get("NODE_NAME") or os.uname().nodename, min_length=1, max_length=253)
    """This node's name in Kubernetes. Default: $NODE_NAME, else the host's name."""
    cluster: str = Field(default="default", min_length=1, max_length=253)
    """Name of the cluster in every event."""
    capture: CaptureSettings = CaptureSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    state_dir: Path = Path("/var/lib/forklore")
    """Folder of the journal (batches that wait for the sinks, and state for the next agent) and of the last ledger."""
    status: Listen = "0.0.0.0:9911"  # for the kubelet's checks and Prometheus' scrapes
    """Address and port of /healthz, /readyz, /metrics, /v1/pods and /v1/ledger."""
    status_token_file: Path | None = None
    """File with a bearer token that /v1/pods and /v1/ledger then require, because they name pods."""
    status_cert_file: Path | None = None
    """Certificate of the status port with its chain (PEM), which then speaks TLS. This file and the next are read again when
    they change. Default: plain HTTP, with the token in the clear."""
    status_key_file: Path | None = Field(None, validate_default=True)
    """Its key (PEM, without a password). Default: it is in `status_cert_file`."""
    metrics: MetricsSettings = MetricsSettings()
    sinks: tuple[SinkSettings, ...] = ()
    """Receivers of the events, each with a queue and an account of its own."""

    @field_validator("status_key_file")
    @classmethod
    def _status_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("status_cert_file")
        if certificate is None and key is not None:
            raise ValueError("is the key of a status_cert_file: give that, too")
        if certificate is not None:
            try:
                ServerCertificate(certificate, key)
            except CertificateError as error:
                raise ValueError(f"can't be used: {error}") from None
        return key

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


class SettingsError(Exception):
    """`lines`: one for each mistake: key, value, what is valid."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def load(file: Path | None) -> Settings:
    """Reads the settings; without a file, from the environment alone. Raises SettingsError."""
    if file is not None and not file.is_file():
        raise SettingsError([f"--config: {file} does not exist"])
    bound = type("Settings", (Settings,), {"file": file, "__doc__": Settings.__doc__, "__module__": __name__})
    try:
        settings: Settings = bound()
    except ValidationError as error:
        raise SettingsError([_error_line(one) for one in error.errors()]) from error
    except (yaml.YAMLError, OSError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise SettingsError([f"{file or 'environment'}: {' '.join(str(error).split())}"]) from error
    if unknown := [key for key in os.environ if _is_unknown(key)]:
        raise SettingsError([f"{key}: there is no such setting" for key in unknown])
    names = [sink.name for sink in settings.sinks]
    if len(set(names)) < len(names):
        raise SettingsError(["sinks: two have the same name; each needs its own"])
    return settings


def _is_unknown(variable: str) -> bool:
    """A FORKLORE_ variable that sets nothing: probably a typing error, so it is refused."""
    if not variable.startswith("FORKLORE_") or variable.startswith("FORKLORE_COLLECTOR_") or _SERVICE_LINK.search(variable):
        return False
    if variable in _TERMINAL_VARIABLES:
        return False
    return variable.removeprefix("FORKLORE_").split("__")[0].lower() not in Settings.model_fields


def _error_line(error: Any) -> str:  # noqa: ANN401  pydantic's ErrorDetails, a TypedDict of its own core
    key = ".".join(str(part) for part in error["loc"])
    key = key if key.isprintable() else key.encode("unicode_escape").decode()  # the file may have any characters
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such setting"
    value = error.get("input")
    shown = "" if isinstance(value, dict | list) else f" = {_CREDENTIALS.sub('//...@', repr(value)):.80}"
    return f"{key}{shown}: {message[:1].lower()}{message[1:]}"
