"""Which service account tokens are taken, and the sentence for each that is not."""

import base64
import contextlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from collector.http.service_accounts.verification import Issuer, keys_of, verify
from collector.http.token_refusals import Reason, TokenRefused
from collector.model import Credential
from tests.collector.http.service_accounts import kubernetes_tokens as kubernetes
from tests.collector.http.service_accounts.kubernetes_tokens import ACCOUNT, AUDIENCE, EC, ISSUER, OTHER, RSA, jwks

NOW = 1_785_000_000.0


def signed(key: Any = RSA, kid: str = "a", **changed: Any) -> str:
    return kubernetes.signed(key, kid, NOW, **changed)


def issuer(cluster: str = "prod", service_account: str = ACCOUNT, **keys: Any) -> Issuer:
    return Issuer(cluster, ISSUER, keys_of(jwks(**keys)), service_account)


def credential(token: str, *issuers: Issuer, now: float = NOW) -> Credential:
    return verify(token, issuers or [issuer(a=RSA)], AUDIENCE, now).credential


def refusal(token: str, *issuers: Issuer, now: float = NOW) -> tuple[str, str]:
    with pytest.raises(TokenRefused) as refused:
        credential(token, *issuers, now=now)
    return refused.value.reason.label, str(refused.value)


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
def test_a_right_token_names_cluster_and_node(key: Any) -> None:
    found = verify(signed(key), [issuer(a=key)], AUDIENCE, NOW + 60)
    assert found.credential == Credential("prod/worker-17", "prod", "worker-17")
    assert found.until == NOW + 3607 + 60


@pytest.mark.parametrize(
    ("changed", "reason", "says"),
    [
        ({"exp": int(NOW) - 100}, "expired", "the token expired 100 s ago"),
        ({"nbf": int(NOW) + 3600}, "not_yet", "the token is not valid yet: one of the two clocks is wrong"),
        ({"aud": ["https://kubernetes.default.svc"]}, "audience", "the token is for another audience than forklore-collector"),
        ({"aud": {"forklore-collector": 1}}, "audience", "the token is for another audience than forklore-collector"),
        ({"aud": None}, "claim", "the token lacks the claim aud"),
        ({"exp": None}, "claim", "the token lacks the claim exp"),
        ({"sub": None}, "claim", "the token lacks the claim sub"),
        (
            {"iss": "https://elsewhere.example"},
            "issuer",
            "the token's issuer is none of the clusters in this collector's settings",
        ),
        (
            {"sub": "system:serviceaccount:shop:default"},
            "service_account",
            "the token is not of the service account forklore/forklore-agent, which may send",
        ),
        (
            {"sub": ["system:serviceaccount:forklore:forklore-agent"]},
            "service_account",
            "the token is not of the service account forklore/forklore-agent, which may send",
        ),
        (
            {"node": None},
            "node",
            "the token names no node: Kubernetes below 1.30 issues none that does, and its agents need a static token",
        ),
        (
            {"kubernetes.io": {"node": {"name": 7}}},
            "node",
            "the token names no node: Kubernetes below 1.30 issues none that does, and its agents need a static token",
        ),
    ],
)
def test_each_refusal_has_a_reason_and_a_sentence_of_its_own(changed: dict[str, Any], reason: str, says: str) -> None:
    assert refusal(signed(**changed)) == (reason, says)


def test_a_token_of_another_key_is_refused_by_its_name_and_by_its_signature() -> None:
    assert refusal(signed(OTHER, kid="b")) == ("key", "the token is signed by a key that its issuer's clusters do not have")
    assert refusal(signed(OTHER, kid="a")) == ("signature", "the token's signature is wrong")


def test_of_two_clusters_with_one_issuer_the_key_decides() -> None:
    both = [issuer("east", a=RSA), issuer("west", b=OTHER)]
    assert credential(signed(RSA, kid="a"), *both).cluster == "east"
    assert credential(signed(OTHER, kid="b"), *both).cluster == "west"


def test_a_cluster_that_names_its_key_as_another_does_takes_nothing_from_it() -> None:
    both = [issuer("east", a=RSA), issuer("west", a=OTHER)]
    assert credential(signed(RSA, kid="a"), *both).cluster == "east"
    assert credential(signed(OTHER, kid="a"), *both).cluster == "west"


def test_a_key_that_two_clusters_publish_decides_nothing() -> None:
    both = [issuer("east", a=RSA), issuer("west", a=RSA)]
    assert refusal(signed(), *both) == (
        "two_clusters",
        "two clusters have the key that signed the token, so its cluster is unknown",
    )
    renamed = [issuer("east", "forklore/old", a=RSA), issuer("east", a=RSA)]
    assert credential(signed(), *renamed).cluster == "east"


def test_a_rotated_key_is_taken_beside_the_old_one() -> None:
    rotated = issuer(a=RSA, b=OTHER)
    assert credential(signed(OTHER, kid="b"), rotated) == credential(signed(RSA, kid="a"), rotated)


def test_a_token_that_is_unsigned_or_signed_by_the_public_key_is_refused() -> None:
    unsigned = jwt.encode(kubernetes.claims(NOW), None, algorithm="none", headers={"kid": "a"})
    symmetric = jwt.encode(kubernetes.claims(NOW), "x" * 64, algorithm="HS256", headers={"kid": "a"})
    for token in (unsigned, symmetric):
        assert refusal(token) == ("algorithm", "the token is not signed by RS256 or ES256")
    assert refusal(signed(EC)) == ("signature", "the token's signature is wrong")


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "ey.ey.ey", "\ud800.x.y", "a" * 20_000], ids=range(6))
def test_what_is_no_token_is_refused(text: str) -> None:
    reason, says = refusal(text)
    assert reason == "malformed"
    assert says in ("the token is no JSON Web Token", "the token is longer than 16384 characters")


@pytest.mark.parametrize("wrong", [True, "soon", [1], {}, -1, 1e300])
def test_a_time_that_is_none_is_refused(wrong: Any) -> None:
    assert refusal(signed(exp=wrong)) == ("claim", "the token's claim exp is no time")


def test_no_refusal_shows_any_part_of_the_token() -> None:
    token = signed(exp=int(NOW) - 100)
    assert not any(part in refusal(token)[1] for part in token.split("."))


def test_every_reason_has_a_label_of_its_own() -> None:
    assert len({reason.label for reason in Reason}) == len(Reason)


@pytest.mark.parametrize(
    "found", [None, [], {}, {"keys": []}, {"keys": "x"}, {"keys": [{"kty": "oct", "kid": "a", "k": "AA"}]}]
)
def test_a_key_set_that_is_none_is_refused(found: Any) -> None:
    with pytest.raises(ValueError, match=r"Key Set|no key for RS256"):
        keys_of(found)


def test_keys_of_other_kinds_and_sizes_are_left_out_and_too_many_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505  that is what is refused
    curve = ec.generate_private_key(ec.SECP384R1())
    found = jwks(a=RSA, short=short, curve=curve)
    found["keys"][2]["alg"] = "ES384"
    assert list(keys_of(found)) == ["a"]
    with pytest.raises(ValueError, match="more than 32 keys"):
        keys_of({"keys": jwks(a=RSA)["keys"] * 33})


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.text(max_size=3), max_size=2)
OBJECTS = st.dictionaries(st.text(max_size=5), JUNK, max_size=2)


@given(st.dictionaries(st.sampled_from([*kubernetes.claims(NOW)]), JUNK | OBJECTS, min_size=1, max_size=4))
def test_any_claims_are_taken_or_refused_with_a_sentence(changed: dict[str, Any]) -> None:
    token = jwt.PyJWS().encode(json.dumps(kubernetes.claims(NOW) | changed).encode(), EC, "ES256", {"kid": "a"})
    try:
        assert credential(token, issuer(a=EC)).node == "worker-17"
    except TokenRefused as refused:
        assert str(refused).startswith("the token")


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), JUNK | OBJECTS), st.binary(max_size=40))
def test_any_header_and_payload_are_refused_without_the_right_signature(header: dict[str, Any], payload: bytes) -> None:
    parts = [json.dumps({"alg": "ES256", "kid": "a"} | header).encode(), payload]
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"0" * 64))
    refusal(token, issuer(a=EC))


@given(
    st.lists(st.dictionaries(st.sampled_from(["kty", "kid", "n", "e", "crv", "x", "y", "alg", "use", "d"]), JUNK), max_size=3)
)
def test_any_key_set_is_read_or_refused(changed: list[dict[str, Any]]) -> None:
    with contextlib.suppress(ValueError):
        keys_of({"keys": [jwks(a=key)["keys"][0] | one for one in changed for key in (RSA, EC)]})
