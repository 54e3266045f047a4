"""Not used by the server yet: verifies the service account tokens of agents offline, for their node (decision 0012).

A kubelet mounts such a token into the agent's pod, with an audience of its own; since Kubernetes 1.30 it names the node. Many
clusters share one issuer (kubeadm's `https://kubernetes.default.svc.cluster.local`), so the key that signed it decides the
cluster. Claims: kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin, "Bound service account tokens".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

__all__ = ["Issuer", "NodeCredential", "TokenRefused", "keys_of", "verify"]

ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256"}  # what API servers sign with, by the kind of key
LONGEST: Final = 16 << 10  # characters; a projected token has about a thousand
MOST_KEYS: Final = 32  # of one issuer: an old, a new, a few of rotations
_LEEWAY_S: Final = 60  # between the collector's clock and the API server's

Keys = Mapping[str, jwt.PyJWK]  # by key id


class TokenRefused(Exception):
    """Its text is a sentence that says what is wrong with the token, without any part of it."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A cluster whose tokens are taken. `service_account`: `namespace:name` of its agents."""

    cluster: str
    url: str
    keys: Keys
    audience: str
    service_account: str


@dataclass(frozen=True, slots=True)
class NodeCredential:
    """Who has sent a batch. `node` None: the API server is older than 1.30, and its tokens name no node."""

    cluster: str
    node: str | None
    pod: str | None

    @property
    def name(self) -> str:
        """Stable for one agent, and no secret."""
        return f"{self.cluster}/{self.node or self.pod or '?'}"


def keys_of(jwks: object) -> Keys:
    """The keys of a JSON Web Key Set, as `/openid/v1/jwks` gives it; those of other kinds are left out. Raises ValueError."""
    entries = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(entries, list):
        raise ValueError("is no JSON Web Key Set: it has no list `keys`")
    keys = {}
    for entry in entries[:MOST_KEYS]:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
            continue
        algorithm = ALGORITHMS.get(str(entry.get("kty")))
        if algorithm and entry.get("alg", algorithm) == algorithm:
            try:
                keys[entry["kid"]] = jwt.PyJWK(entry, algorithm)
            except (jwt.PyJWTError, ValueError) as error:
                raise ValueError(f"has a key that can't be read: {error}") from error
    if not keys:
        raise ValueError("has no RSA or EC key to verify signatures with")
    return keys


def verify(token: str, issuers: Sequence[Issuer], clock: Callable[[], float] = time.time) -> NodeCredential:
    """Raises TokenRefused."""
    if len(token) > LONGEST:
        raise TokenRefused(f"the token is longer than {LONGEST} characters")
    try:
        header, claimed = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenRefused("the token is no JSON Web Token") from None
    if header.get("alg") not in ALGORITHMS.values():
        raise TokenRefused(f"the token is not signed by {' or '.join(ALGORITHMS.values())}")
    named = [issuer for issuer in issuers if issuer.url == claimed.get("iss")]
    if not named:
        raise TokenRefused("the token's issuer is none of the clusters in the settings")
    for issuer in named:
        key = issuer.keys.get(str(header.get("kid")))
        if key is not None:
            return _of_issuer(token, issuer, key, clock())
    raise TokenRefused("the token is signed by a key that its issuer does not have")


def _of_issuer(token: str, issuer: Issuer, key: jwt.PyJWK, now: float) -> NodeCredential:
    try:
        # Times are checked here, against one clock that tests can set.
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[str(key.algorithm_name)],  # the key's own, whatever the token says
            audience=issuer.audience,
            issuer=issuer.url,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iat", "sub"]},
        )
    except jwt.InvalidAudienceError:
        raise TokenRefused(f"the token is for another audience than {issuer.audience}") from None
    except jwt.MissingRequiredClaimError as error:
        raise TokenRefused(f"the token lacks the claim {error.claim}") from None
    except (jwt.InvalidSignatureError, jwt.InvalidKeyError, jwt.InvalidAlgorithmError):
        raise TokenRefused("the token's signature is wrong") from None
    except jwt.PyJWTError as error:
        raise TokenRefused(f"the token is refused: {type(error).__name__}") from None
    expires, begins = _seconds(claims, "exp"), _seconds(claims, "nbf" if "nbf" in claims else "iat")
    if now > expires + _LEEWAY_S:
        raise TokenRefused(f"the token expired {int(now - expires)} s ago")
    if now < begins - _LEEWAY_S:
        raise TokenRefused("the token is not valid yet: one of the two clocks is wrong")
    if claims["sub"] != f"system:serviceaccount:{issuer.service_account}":
        raise TokenRefused(f"the token is not of the service account {issuer.service_account}")
    bound = claims.get("kubernetes.io")
    bound = bound if isinstance(bound, dict) else {}
    return NodeCredential(issuer.cluster, _name(bound, "node"), _name(bound, "pod"))


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"the token's claim {name} is no time")
    return float(value)


def _name(bound: Mapping[str, Any], kind: str) -> str | None:
    """Of the object that the token is bound to."""
    value = bound.get(kind)
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= 253 else None
