"""A cluster whose agents show the tokens of their service account."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from collector.http.service_accounts import keys_of

__all__ = ["ClusterSettings"]

_ACCOUNT: Final = re.compile("/".join([r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"] * 2))


class ClusterSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The cluster's name, as `cluster` of its agents has it. The key that signed a token decides the cluster."""

    issuer: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """The issuer of its tokens, such as `https://kubernetes.default.svc.cluster.local`; many clusters may have the same. With
    `api_server` the default is what that says."""

    jwks: str | None = None
    """The keys: a file with a JSON Web Key Set, as `kubectl get --raw /openid/v1/jwks` prints it, or an https address of one. A
    file is read again when it changes, an address every 5 minutes. With neither `jwks` nor `api_server` they are found by the
    issuer's OpenID discovery."""

    api_server: str | None = None
    """https address of an API server, such as `https://kubernetes.default.svc`, which gives issuer and keys."""

    ca_file: Path | None = None
    """CAs (PEM) for the certificate of `api_server`, `jwks` or the issuer, instead of the system's."""

    token_file: Path | None = None
    """File with a bearer token for `api_server`, where it answers no anonymous questions. It is sent to no other server."""

    service_account: str = "forklore/forklore-agent"
    """Namespace and name of the service account whose tokens may send; those of no other may."""

    @field_validator("service_account")
    @classmethod
    def _service_account(cls, value: str) -> str:
        if not _ACCOUNT.fullmatch(value):
            raise ValueError("namespace/name of a service account, such as forklore/forklore-agent")
        return value

    @field_validator("jwks")
    @classmethod
    def _jwks(cls, value: str | None) -> str | None:
        if value is None or _is_https(value):
            return value
        if not value.startswith("/"):
            raise ValueError("the absolute path of a file, or an https address")
        try:
            keys_of(orjson.loads(Path(value).read_bytes()))
        except OSError as error:
            raise ValueError(f"a readable file with a JSON Web Key Set ({error.strerror})") from None
        except ValueError as error:
            raise ValueError(f"a file with a JSON Web Key Set; this one {error}") from None
        return value

    @field_validator("api_server")
    @classmethod
    def _api_server(cls, value: str | None) -> str | None:
        if value is not None and not _is_https(value):
            raise ValueError("an https address, such as https://kubernetes.default.svc")
        return value

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.jwks is not None and self.api_server is not None:
            raise ValueError("either jwks or api_server, for both give keys")
        if self.issuer is None and self.api_server is None:
            raise ValueError("an issuer, or an api_server that tells it")
        if self.jwks is None and self.api_server is None and not _is_https(str(self.issuer)):
            raise ValueError("jwks or api_server, because keys are discovered at an https issuer only")
        return self


def _is_https(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and parts.username is None
