"""Service account tokens and keys in the shape in which Kubernetes issues them, signed by real keys."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "forklore-collector"
ACCOUNT = "forklore/forklore-agent"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = rsa.generate_private_key(65537, 2048)
_ACCOUNT_UID = "1f2e3d4c-5b6a-7980-90a1-b2c3d4e5f607"


def jwks(**keys: Any) -> dict[str, Any]:
    """As `/openid/v1/jwks` gives it: by key id."""
    found = []
    for kid, key in keys.items():
        algorithm, name = (RSAAlgorithm, "RS256") if isinstance(key, rsa.RSAPrivateKey) else (ECAlgorithm, "ES256")
        found.append({**json.loads(algorithm.to_jwk(key.public_key())), "use": "sig", "kid": kid, "alg": name})
    return {"keys": found}


def claims(now: float | None = None, **changed: Any) -> dict[str, Any]:
    """A projected token's, as a 1.36 API server made it. None: without this claim. `node`: the claim's name of the node."""
    begins = int(time.time() if now is None else now)
    namespace, account = ACCOUNT.split("/")
    node = changed.pop("node", "worker-17")
    bound: dict[str, Any] = {
        "namespace": namespace,
        "pod": {"name": "forklore-agent-x2k4d", "uid": "7a1f2b3c-4d5e-6f70-8192-a3b4c5d6e7f8"},
        "serviceaccount": {"name": account, "uid": _ACCOUNT_UID},
    }
    if node is not None:
        bound["node"] = {"name": node, "uid": "0d3c9b1e-66a3-4f0f-8a59-0a4c8b9e5d21"}
    made = {
        "aud": [AUDIENCE],
        "exp": begins + 3607,
        "iat": begins,
        "iss": ISSUER,
        "jti": "5f4a1c7e-2f0a-4b9b-9d0c-2f6d8b0c3f11",
        "kubernetes.io": bound,
        "nbf": begins,
        "sub": f"system:serviceaccount:{namespace}:{account}",
    }
    return {key: value for key, value in (made | changed).items() if value is not None}


def signed(key: Any = RSA, kid: str = "a", now: float | None = None, **changed: Any) -> str:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(claims(now, **changed), key, algorithm=algorithm, headers={"kid": kid})
