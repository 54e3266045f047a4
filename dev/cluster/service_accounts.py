"""Signs service account tokens as a kube-apiserver does (TokenRequest), and publishes the key that verifies them."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

__all__ = ["ISSUER", "TokenIssuer"]

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
_KEY_ID: Final = "stand-in"


class TokenIssuer:
    """One cluster's key. Claims: "Bound service account tokens" in
    kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)

    def token(
        self, account: tuple[str, str], node: str, pod: tuple[str, str], audience: str | None = None, seconds: int = 3607
    ) -> str:
        """`account`: namespace and name. `pod`: name and uid. `audience` None: the API server's own."""
        namespace, name = account
        now = int(time.time())
        claims = {
            "aud": [audience or ISSUER],
            "exp": now + seconds,
            "iat": now,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": node, "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, node))},
                "pod": {"name": pod[0], "uid": pod[1]},
                "serviceaccount": {"name": name, "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{namespace}"))},
            },
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": _KEY_ID})

    def is_own(self, token: str) -> bool:
        """It is a token for the API server, signed here and still valid."""
        try:
            jwt.decode(token, self._key.public_key(), algorithms=["RS256"], audience=ISSUER, issuer=ISSUER)
        except jwt.PyJWTError:
            return False
        return True

    def jwks(self) -> dict[str, Any]:
        """What `/openid/v1/jwks` has."""
        key = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "use": "sig", "kid": _KEY_ID, "alg": "RS256"}]}
