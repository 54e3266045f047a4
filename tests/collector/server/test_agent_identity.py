"""A real collector process, and senders that show it service account tokens and static tokens over HTTP.

One process for all tests of this module, because its start takes longest.
"""

import asyncio
import json
import re
from collections import Counter

import aiohttp
import pytest
import pytest_asyncio
import yaml

from collector.__main__ import main
from collector.http.generated_token import generate_token, generated_token
from tests.agent.sinks.delivery.sender_scene import SenderScene, until
from tests.collector.http.service_accounts.api_server import api_server
from tests.collector.http.service_accounts.kubernetes_tokens import EC, ISSUER, OTHER, RSA, jwks, signed
from tests.collector.server.processes import address, ended, process

SOUTH, NORTH = "https://oidc.example/id/7", "https://oidc.example/id/8"
pytestmark = pytest.mark.timeout(120)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def collector(tmp_path_factory):
    """(its folder, its URL, a session). East's keys are RSA's, west's are EC's; both have one issuer. South's are at its API
    server, which tells an issuer of its own. North's are exchanged by the one test that sends as north."""
    folder = tmp_path_factory.mktemp("collector")
    clusters = []
    for name, issuer, keys in (("east", ISSUER, jwks(a=RSA)), ("west", ISSUER, jwks(w=EC)), ("north", NORTH, jwks(a=RSA))):
        (folder / f"{name}.json").write_text(json.dumps(keys))
        clusters.append({"name": name, "issuer": issuer, "jwks": f"{folder}/{name}.json"})
    (folder / "tokens").write_text("of-all-nodes\nof-node-7 cluster=east node=worker-7\n")
    settings = {
        "listen": "127.0.0.1:0",
        "store": "memory:",
        "ingest_token_file": f"{folder}/tokens",
        "generated_read_token_file": f"{folder}/read",
        "clusters": clusters,
    }
    async with api_server(folder) as south:
        south.issuer, south.keys = SOUTH, jwks(a=OTHER)
        clusters.append({"name": "south", "api_server": south.url, "ca_file": f"{folder}/ca.pem"})
        (folder / "collector.yaml").write_text(yaml.safe_dump(settings))
        async with process("--config", str(folder / "collector.yaml")) as running, aiohttp.ClientSession() as session:
            yield folder, await address(running), session


async def answer(session, url, token):
    """The status of a batch, and the sentence of its refusal."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with session.post(f"{url}/v1/events", data=b"", headers=headers) as response:
        return response.status, (await response.json()).get("error")


async def text(session, path, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with session.get(path, headers=headers) as response:
        return response.status, await response.text()


async def credentials(session, url):
    """How many batches were refused, by reason, and taken, by kind of credential."""
    _, metrics = await text(session, f"{url}/metrics")
    found = Counter()
    for reason, count in re.findall(r'tokens_refused_total\{reason="(\w+)"\} ([0-9]+)', metrics):
        found[reason] = int(count)
    for kind, count in re.findall(r'batches_by_credential_total\{credential="(\w+)"\} ([0-9]+)', metrics):
        found[{"node": "of a node", "shared": "of all nodes", "none": "without"}[kind]] = int(count)
    return found


async def test_each_sender_is_taken_or_refused_with_its_own_sentence(collector):
    _, url, session = collector
    elsewhere = {"iss": "https://elsewhere.example"}
    other_account = {"sub": "system:serviceaccount:shop:default"}
    expected = [
        (signed(RSA, "a"), 200, None),
        (signed(EC, "w"), 200, None),
        (signed(OTHER, "a", iss=SOUTH), 200, None),
        ("of-all-nodes", 200, None),
        ("of-node-7", 200, None),
        (None, 401, "a token is required: Authorization: Bearer <token>"),
        ("made-up", 401, "the token is none of those that may send to this collector"),
        ("of-node-7 cluster=east node=worker-7", 401, "the token is none of those that may send to this collector"),
        ("a.b.c", 401, "the token is no JSON Web Token"),
        (signed(exp=1_785_000_000), 401, re.compile("the token expired [0-9]+ s ago")),
        (signed(aud=["https://kubernetes.default.svc"]), 401, "the token is for another audience than forklore-collector"),
        (signed(**elsewhere), 401, "the token's issuer is none of the clusters in this collector's settings"),
        (signed(OTHER, "o"), 401, "the token is signed by a key that its issuer's clusters do not have"),
        (signed(RSA, "a", iss=SOUTH), 401, "the token's signature is wrong"),
        (signed(OTHER, "a"), 401, "the token's signature is wrong"),
        (signed(**other_account), 403, "the token is not of the service account forklore/forklore-agent, which may send"),
        (
            signed(node=None),
            403,
            "the token names no node: Kubernetes below 1.30 issues none that does, and its agents need a static token",
        ),
    ]
    before = await credentials(session, url)
    for token, status, sentence in expected:
        found = await answer(session, url, token)
        if isinstance(sentence, re.Pattern):
            assert found[0] == status and sentence.fullmatch(found[1]), token
        else:
            assert found == (status, sentence), token
    sentences = [sentence for _, _, sentence in expected if sentence]
    assert len({str(sentence) for sentence in sentences}) == len(sentences) - 2  # two of them twice
    assert await credentials(session, url) - before == {
        "missing": 1, "unknown": 2, "malformed": 1, "expired": 1, "audience": 1, "issuer": 1, "key": 1, "signature": 2,
        "service_account": 1, "node": 1, "of a node": 4, "of all nodes": 1,
    }  # fmt: skip


async def test_the_collector_makes_its_read_token_and_a_command_prints_it(collector):
    folder, url, session = collector
    async with process("--config", str(folder / "collector.yaml"), "token") as printing:
        code, out, _ = await ended(printing)
    token = out.strip()
    assert code == 0 and len(token) == 43 and out == f"{token}\n"
    assert (folder / "read").stat().st_mode & 0o777 == 0o600
    assert (await text(session, f"{url}/v1/pods", token))[0] == 200
    assert (await answer(session, url, token))[0] == 401
    for sender in (signed(), "of-all-nodes", "of-node-7"):
        assert (await text(session, f"{url}/v1/pods", sender))[0] == 401


def mount(folder, token):
    """As a kubelet does: `..data` is moved to a new folder in one step, and the token is a link through it."""
    made = folder / f"..{len(list(folder.iterdir()))}"
    made.mkdir()
    (made / "token").write_text(token)
    if not (folder / "token").is_symlink():
        (folder / "token").symlink_to("..data/token")
    (folder / "..new").symlink_to(made.name)
    (folder / "..new").rename(folder / "..data")


@pytest.mark.parametrize(
    ("number", "wrong", "state"),  # `number`: of the fork, one that no other agent here has sent
    [
        (1001, {"exp": 1_785_000_000}, re.compile("hold: 401 the token expired [0-9]+ s ago")),
        (1002, {"aud": ["other"]}, re.compile("hold: 401 the token is for another audience than forklore-collector")),
        (1003, {"node": None}, re.compile("hold: 403 the token names no node: Kubernetes below 1.30 .*")),
    ],
)
async def test_an_agent_reports_why_it_is_refused_and_sends_again_with_a_new_token(
    collector, tmp_path, make, number, wrong, state
):
    _, url, _ = collector
    mount(tmp_path, signed(**wrong))
    scene = SenderScene(f"{url}/v1/events", token_file=tmp_path / "token")
    fork = make.fork(number, node="worker-17")
    fork["k8s"]["cluster"] = "east"
    (batch,) = scene.packer.pack("boot.instance", [json.dumps(fork)], [7], 0.0)
    scene.queue.put(batch)
    async with scene.running(pause_s=600.0):  # so that only another token ends the pause
        await until(lambda: scene.sender.state.startswith("hold"))
        assert state.fullmatch(scene.sender.state)
        mount(tmp_path, signed())
        await until(lambda: scene.queue.delivered.total() == 1)


async def test_keys_are_exchanged_in_a_file_while_the_collector_runs(collector):
    folder, url, session = collector
    old, new = signed(RSA, "a", iss=NORTH), signed(OTHER, "b", iss=NORTH)
    assert [(await answer(session, url, token))[0] for token in (old, new)] == [200, 401]
    fresh = folder / "fresh"
    fresh.write_text(json.dumps(jwks(b=OTHER)))
    fresh.replace(folder / "north.json")
    for _ in range(600):
        if (await answer(session, url, new))[0] == 200:
            break
        await asyncio.sleep(0.1)
    assert [(await answer(session, url, token))[0] for token in (old, new)] == [401, 200]


def test_a_generated_token_stays_and_a_half_made_one_is_made_anew(tmp_path):
    (tmp_path / ".read.new").write_text("")
    generate_token(tmp_path / "read")
    made = generated_token(tmp_path / "read")
    generate_token(tmp_path / "read")
    assert generated_token(tmp_path / "read") == made
    assert [file.name for file in tmp_path.iterdir()] == ["read"]


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({}, 78, "generated_read_token_file is not set"),
        (
            {"generated_read_token_file": "/nowhere/read"},
            69,
            "/nowhere/read: No such file or directory; the collector makes it",
        ),
    ],
)
def test_a_token_that_is_not_there_is_not_printed(settings, code, says, monkeypatch, capsys):
    for key, value in settings.items():
        monkeypatch.setenv(f"FORKLORE_COLLECTOR_{key.upper()}", value)
    assert main(["token"]) == code
    printed = capsys.readouterr()
    assert printed.out == "" and says in printed.err


def test_a_token_that_cannot_be_made_ends_the_collector_with_the_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORKLORE_COLLECTOR_GENERATED_READ_TOKEN_FILE", f"{tmp_path}/none/read")
    monkeypatch.setenv("FORKLORE_COLLECTOR_LISTEN", "127.0.0.1:0")
    assert main([]) == 69
    assert "none/read can't be made: No such file or directory" in capsys.readouterr().err
