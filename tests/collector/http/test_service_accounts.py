"""Service-account tokens in the shape that Kubernetes issues, signed by real keys."""

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from collector.http.service_accounts import Issuer, NodeCredential, TokenRefused, keys_of, verify

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "forklore-collector"
ACCOUNT = "forklore:forklore-agent"
NOW = 1_785_000_000.0
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = rsa.generate_private_key(65537, 2048)


def jwks(**keys: Any) -> dict[str, Any]:
    """As `/openid/v1/jwks` gives it."""
    found = []
    for kid, key in keys.items():
        algorithm, name = (RSAAlgorithm, "RS256") if isinstance(key, rsa.RSAPrivateKey) else (ECAlgorithm, "ES256")
        found.append({**json.loads(algorithm.to_jwk(key.public_key())), "use": "sig", "kid": kid, "alg": name})
    return {"keys": found}


def issuer(cluster: str = "prod", **keys: Any) -> Issuer:
    return Issuer(cluster, ISSUER, keys_of(jwks(**keys)), AUDIENCE, ACCOUNT)


def claims(**changed: Any) -> dict[str, Any]:
    """A projected token's, as a 1.36 API server made it."""
    made = {
        "aud": [AUDIENCE],
        "exp": int(NOW) + 3607,
        "iat": int(NOW),
        "iss": ISSUER,
        "jti": "5f4a1c7e-2f0a-4b9b-9d0c-2f6d8b0c3f11",
        "kubernetes.io": {
            "namespace": "forklore",
            "node": {"name": "worker-17", "uid": "0d3c9b1e-66a3-4f0f-8a59-0a4c8b9e5d21"},
            "pod": {"name": "forklore-agent-x2k4d", "uid": "7a1f2b3c-4d5e-6f70-8192-a3b4c5d6e7f8"},
            "serviceaccount": {"name": "forklore-agent", "uid": "1f2e3d4c-5b6a-7980-90a1-b2c3d4e5f607"},
        },
        "nbf": int(NOW),
        "sub": f"system:serviceaccount:{ACCOUNT}",
    }
    return {key: value for key, value in (made | changed).items() if value is not None}


def signed(key: Any = RSA, kid: str = "a", **changed: Any) -> str:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(claims(**changed), key, algorithm=algorithm, headers={"kid": kid})


def refusal(token: str, *issuers: Issuer, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as refused:
        verify(token, issuers or [issuer(a=RSA)], lambda: now)
    return str(refused.value)


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
def test_a_right_token_names_cluster_node_and_pod(key: Any) -> None:
    found = verify(signed(key), [issuer(a=key)], lambda: NOW + 60)
    assert found == NodeCredential("prod", "worker-17", "forklore-agent-x2k4d")
    assert found.name == "prod/worker-17"


def test_below_kubernetes_1_30_a_token_names_no_node() -> None:
    bound = {key: value for key, value in claims()["kubernetes.io"].items() if key != "node"}
    found = verify(signed(**{"kubernetes.io": bound}), [issuer(a=RSA)], lambda: NOW)
    assert (found.node, found.pod) == (None, "forklore-agent-x2k4d")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"exp": int(NOW) - 100}, "the token expired 100 s ago"),
        ({"nbf": int(NOW) + 3600}, "the token is not valid yet: one of the two clocks is wrong"),
        ({"aud": ["https://kubernetes.default.svc"]}, "the token is for another audience than forklore-collector"),
        ({"aud": None}, "the token lacks the claim aud"),
        ({"exp": None}, "the token lacks the claim exp"),
        ({"iss": "https://elsewhere.example"}, "the token's issuer is none of the clusters in the settings"),
        ({"sub": "system:serviceaccount:shop:default"}, "the token is not of the service account forklore:forklore-agent"),
    ],
)
def test_each_refusal_has_a_sentence_of_its_own(changed: dict[str, Any], says: str) -> None:
    assert refusal(signed(**changed)) == says


def test_a_token_of_another_key_is_refused_by_its_name_and_by_its_signature() -> None:
    assert refusal(signed(OTHER, kid="b")) == "the token is signed by a key that its issuer does not have"
    assert refusal(signed(OTHER, kid="a")) == "the token's signature is wrong"


def test_of_two_clusters_with_one_issuer_the_key_decides() -> None:
    both = [issuer("east", a=RSA), issuer("west", b=OTHER)]
    assert verify(signed(RSA, kid="a"), both, lambda: NOW).cluster == "east"
    assert verify(signed(OTHER, kid="b"), both, lambda: NOW).cluster == "west"


def test_a_rotated_key_is_taken_beside_the_old_one() -> None:
    rotated = issuer(a=RSA, b=OTHER)
    assert verify(signed(OTHER, kid="b"), [rotated], lambda: NOW) == verify(signed(RSA, kid="a"), [rotated], lambda: NOW)


def test_a_token_that_is_unsigned_or_signed_by_the_public_key_is_refused() -> None:
    unsigned = jwt.encode(claims(), None, algorithm="none", headers={"kid": "a"})
    assert refusal(unsigned) == "the token is not signed by RS256 or ES256"
    symmetric = jwt.encode(claims(), "x" * 64, algorithm="HS256", headers={"kid": "a"})
    assert refusal(symmetric) == "the token is not signed by RS256 or ES256"
    assert refusal(signed(EC)) == "the token's signature is wrong"


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "ey.ey.ey", "\ud800.x.y", "a" * 20_000], ids=range(6))
def test_what_is_no_token_is_refused(text: str) -> None:
    assert refusal(text) in ("the token is no JSON Web Token", "the token is longer than 16384 characters")


@pytest.mark.parametrize("wrong", [True, "soon", [1], {}])
def test_a_time_that_is_none_is_refused(wrong: Any) -> None:
    token = signed(exp=wrong)
    assert refusal(token).startswith(("the token's claim exp is no time", "the token is refused"))


def test_no_refusal_shows_any_part_of_the_token() -> None:
    token = signed(exp=int(NOW) - 100)
    assert not any(part in refusal(token) for part in token.split("."))


@pytest.mark.parametrize("jwks", [None, [], {}, {"keys": []}, {"keys": "x"}, {"keys": [{"kty": "oct", "kid": "a", "k": "AA"}]}])
def test_a_key_set_that_is_none_is_refused(jwks: Any) -> None:
    with pytest.raises(ValueError, match=r"Key Set|no RSA or EC key"):
        keys_of(jwks)


def test_the_clock_is_the_collector_s_own_by_default() -> None:
    now = int(time.time())
    token = signed(iat=now, nbf=now, exp=now + 600)
    assert verify(token, [issuer(a=RSA)]).node == "worker-17"
