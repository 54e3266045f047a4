"""A token that someone shows to the collector, and a key set that answers as an issuer's. The first byte chooses."""

import time
from base64 import urlsafe_b64encode

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from collector.http.service_accounts.verification import Issuer, keys_of, verify
from collector.http.token_refusals import TokenRefused

COVERS = ["collector.http.service_accounts.verification", "collector.http.token_refusals"]
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = {**orjson.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())), "kid": "k", "use": "sig", "alg": "ES256"}
JWKS = orjson.dumps({"keys": [JWK]})
ISSUERS = [Issuer("demo", "https://issuer", keys_of({"keys": [JWK]}), "forklore/agent")]
NOW = time.time()
CLAIMS = {
    "iss": "https://issuer", "aud": ["forklore"], "exp": int(NOW) + 3600, "iat": int(NOW) - 5, "nbf": int(NOW) - 5,
    "sub": "system:serviceaccount:forklore:agent", "kubernetes.io": {"node": {"name": "node1"}, "pod": {"name": "agent-x"}},
}  # fmt: skip
SEEDS = [
    b"\0" + jwt.encode(CLAIMS, KEY, "ES256", headers={"kid": "k"}).encode(),
    b"\1" + JWKS, b"\2" + orjson.dumps(CLAIMS), b"\3" + orjson.dumps({"alg": "ES256", "kid": "k", "typ": "JWT"}),
]  # fmt: skip


def part(raw):
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def check(data):
    kind, body = data[0] % 4 if data else 0, bytes(data[1:])
    if kind == 1:
        try:
            keys_of(orjson.loads(body))
        except ValueError as error:
            assert len(str(error)) < 500
        return
    if kind == 2:  # whatever the issuer signs
        unsigned = f"{part(orjson.dumps({'alg': 'ES256', 'kid': 'k'}))}.{part(body)}"
        token = f"{unsigned}.{part(jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(unsigned.encode(), KEY))}"
    elif kind == 3:
        token = f"{part(body)}.{part(orjson.dumps(CLAIMS))}.AAAA"
    else:
        token = body.decode(errors="replace")
    try:
        found = verify(token, ISSUERS, "forklore", NOW)
    except TokenRefused as error:
        assert str(error).isprintable() and len(str(error)) < 300
    else:
        assert kind in (0, 2) and found.credential.cluster == "demo" and found.credential.node.isprintable()
        assert NOW <= found.until < 2**53 + 61
