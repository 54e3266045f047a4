"""Reads the settings from a file and the environment; each mistake becomes one line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml
from pydantic import ValidationError

from collector.settings.clusters import ClusterSettings
from collector.settings.model import PREFIX, Settings

__all__ = ["WrongSettings", "load"]

# Kubernetes sets these in every pod of a namespace with a Service named `forklore-collector`. They are no settings.
_SERVICE_LINK: Final = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?")


class WrongSettings(Exception):
    """`mistakes`: one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


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
        known = ClusterSettings if error["loc"][0] == "clusters" else Settings
        return f"{key}: is no setting; there are {', '.join(known.model_fields)}"
    right = error["msg"].removeprefix("Value error, ")
    given = "***" if key == "store" and "@" in str(error["input"]) else str(error["input"])[:200]  # it may hold a password
    return f"{key}: {given!r} is wrong; right would be: {right}"
