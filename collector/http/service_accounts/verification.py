"""Checks one service account token against the keys of the clusters, and gives its cluster and node. Pure.

Many clusters share one issuer (kubeadm: `https://kubernetes.default.svc.cluster.local`), so the key that signed a token decides
which one it is of. Claims: "Bound service account tokens" in
kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson

from collector.http.token_refusals import Reason, TokenRefused
from collector.model import Credential

__all__ = ["LONGEST", "Issuer", "Keys", "Verified", "issuer_of", "keys_of", "verify"]

ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256"}  # what API servers sign with, by the kind of key
LONGEST: Final = 16 << 10  # characters; a projected token has about a thousand
MOST_KEYS: Final = 32  # of one issuer: an old, a new, a few of rotations
LEEWAY_S: Final = 60  # between the collector's clock and the API server's
_RSA_BYTES: Final = range(256, 1025)  # of a modulus: a shorter one is weak, a longer one slow
# The signature alone; claims are checked here: each refusal has a sentence of its own, and times are compared with one clock.
_JWS: Final = jwt.PyJWS()

Keys = Mapping[str, jwt.PyJWK]  # by key id


@dataclass(frozen=True, slots=True)
class Issuer:
    """A cluster whose tokens are taken. `url`: as in its tokens. `service_account`: `namespace/name` of its agents."""

    cluster: str
    url: str
    keys: Keys
    service_account: str


@dataclass(frozen=True, slots=True)
class Verified:
    """`until`: when the token is valid no more, seconds since 1970."""

    credential: Credential
    until: float


def keys_of(jwks: object) -> Keys:
    """The keys of a JSON Web Key Set, as `/openid/v1/jwks` gives it; those of other kinds are left out. Raises ValueError."""
    entries = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(entries, list):
        raise ValueError("is no JSON Web Key Set: it has no list `keys`")
    if len(entries) > MOST_KEYS:
        raise ValueError(f"has more than {MOST_KEYS} keys")
    keys = {}
    for entry in entries:
        if isinstance(entry, dict) and (algorithm := _algorithm(entry)):
            try:
                keys[entry["kid"]] = jwt.PyJWK(entry, algorithm)
            except (jwt.PyJWTError, ValueError, TypeError) as error:
                raise ValueError(f"has a key that can't be read: {error}") from error
    if not keys:
        raise ValueError("has no key for RS256 or ES256 to verify signatures with")
    return keys


def _algorithm(entry: Mapping[str, Any]) -> str | None:
    """What the key verifies; None where API servers sign with no such key."""
    algorithm = ALGORITHMS.get(str(entry.get("kty")))
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm or not isinstance(entry.get("kid"), str):
        return None
    if algorithm == "ES256":
        return algorithm if entry.get("crv") == "P-256" else None
    return algorithm if len(str(entry.get("n", ""))) * 3 // 4 in _RSA_BYTES else None


def verify(token: str, issuers: Sequence[Issuer], audience: str, now: float) -> Verified:
    """`now`: seconds since 1970. Raises TokenRefused."""
    if len(token) > LONGEST:
        raise TokenRefused(Reason.MALFORMED, f"the token is longer than {LONGEST} characters")
    header, claimed = _unverified(token)
    if header.get("alg") not in ALGORITHMS.values():
        raise TokenRefused(Reason.ALGORITHM, f"the token is not signed by {' or '.join(ALGORITHMS.values())}")
    named = [issuer for issuer in issuers if issuer.url == claimed.get("iss")]
    if not named:
        raise TokenRefused(Reason.ISSUER, "the token's issuer is none of the clusters in this collector's settings")
    kid = str(header.get("kid"))
    known = [issuer for issuer in named if kid in issuer.keys]
    if not known:
        raise TokenRefused(Reason.KEY, "the token is signed by a key that its issuer's clusters do not have")
    signers = [issuer for issuer in known if _has_signed(issuer.keys[kid], token)]
    if not signers:
        raise TokenRefused(Reason.SIGNATURE, "the token's signature is wrong")
    if len({issuer.cluster for issuer in signers}) > 1:
        raise TokenRefused(Reason.TWO_CLUSTERS, "two clusters have the key that signed the token, so its cluster is unknown")
    return _checked(claimed, signers, audience, now)


def issuer_of(token: str) -> object:
    """What the token says, which is not verified. Raises TokenRefused."""
    return _unverified(token)[1].get("iss")


def _unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims."""
    try:
        found = _JWS.decode_complete(token, options={"verify_signature": False})
        claimed = orjson.loads(found["payload"])
    except (jwt.PyJWTError, ValueError, RecursionError):
        claimed = None
    if not isinstance(claimed, dict):
        raise TokenRefused(Reason.MALFORMED, "the token is no JSON Web Token")
    return found["header"], claimed


def _has_signed(key: jwt.PyJWK, token: str) -> bool:
    try:
        # The key's own algorithm, whatever the token says.
        _JWS.decode(token, key.key, algorithms=[str(key.algorithm_name)])
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True


def _checked(claims: Mapping[str, Any], signers: Sequence[Issuer], audience: str, now: float) -> Verified:
    """The claims of a token whose signature is right."""
    for name in ("aud", "exp", "iat", "sub"):
        if name not in claims:
            raise TokenRefused(Reason.CLAIM, f"the token lacks the claim {name}")
    audiences = claims["aud"]
    if audience != audiences and not (isinstance(audiences, list) and audience in audiences):
        raise TokenRefused(Reason.AUDIENCE, f"the token is for another audience than {audience}")
    expires, begins = _seconds(claims, "exp"), _seconds(claims, "nbf" if "nbf" in claims else "iat")
    if now > expires + LEEWAY_S:
        raise TokenRefused(Reason.EXPIRED, f"the token expired {now - expires:.0f} s ago")
    if now < begins - LEEWAY_S:
        raise TokenRefused(Reason.NOT_YET, "the token is not valid yet: one of the two clocks is wrong")
    allowed = {issuer.service_account for issuer in signers}
    if claims["sub"] not in [f"system:serviceaccount:{account.replace('/', ':')}" for account in allowed]:
        names = " or ".join(sorted(allowed))
        raise TokenRefused(Reason.SERVICE_ACCOUNT, f"the token is not of the service account {names}, which may send")
    node = _node(claims)
    if node is None:
        raise TokenRefused(
            Reason.NODE,
            "the token names no node: Kubernetes below 1.30 issues none that does, and its agents need a static token",
        )
    cluster = signers[0].cluster
    return Verified(Credential(f"{cluster}/{node}", cluster, node), expires + LEEWAY_S)


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise TokenRefused(Reason.CLAIM, f"the token's claim {name} is no time")
    return float(value)


def _node(claims: Mapping[str, Any]) -> str | None:
    """The node of the pod that the token is bound to."""
    bound = claims.get("kubernetes.io")
    node = bound.get("node") if isinstance(bound, dict) else None
    name = node.get("name") if isinstance(node, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= 253 and name.isprintable() else None
