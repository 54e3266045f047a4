"""A query to the collector's API: filters, times, cursors; and a client's Last-Event-ID."""

from urllib.parse import parse_qsl

from multidict import MultiDict

from collector.http import query_params as parsers
from collector.model import ForkQuery

COVERS = ["collector.http.query_params", "wire.units", "wire.ids"]
NOW = 1_795_000_000 * 10**9
STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
SEEDS = [
    b"namespace=shop&pod=cart-1&from=-1h&to=now&kind=process&pid=7&label=app=cart&label=tier=web&text=x",
    b"from=2026-11-22T19:48:30Z&to=2026-11-22T19:49:30.123456789%2B02:00&comm=sh&parent_comm=bash",
    f"after={NOW}.{STREAM}.3.9&limit=50&entity=44745a63f5162050&cluster=demo&node=node1&workload=Deployment/cart".encode(),
    b"from=now-15m&last=1795000000000000000&duration=2w",
    b"from=-9w&from=-8w",
    b"limit=-1&pid=99999999999",
]


def check(data):
    pairs = parse_qsl(bytes(data).decode(errors="surrogateescape"), keep_blank_values=True, errors="surrogateescape")
    query = MultiDict(pairs)
    for parse in (
        lambda: parsers.allow_only(query, (*parsers.POD_PARAMETERS, *parsers.FORK_PARAMETERS, "from", "to", "after", "limit")),
        lambda: parsers.parse_fork_query(query, NOW, "-1h"),
        lambda: parsers.parse_cursor(query),
        lambda: parsers.parse_integer(query, "limit", 50, 1, 1000),
        lambda: parsers.parse_duration(query, "duration", 1),
        lambda: parsers.parse_last_event_id(query.get("last", ""), NOW),
    ):
        try:
            value = parse()
        except parsers.InvalidParameter as error:
            assert str(error).isprintable() and len(str(error)) < 800, str(error)
            continue
        if isinstance(value, ForkQuery):
            assert 0 <= value.span.start < value.span.end <= parsers.MAX_TIME
            assert value.pid is None or 1 <= value.pid < 2**31
    try:
        place = parsers.parse_cursor(query)
    except parsers.InvalidParameter:
        return
    if place is not None:
        assert parsers.parse_cursor(MultiDict(after=parsers.format_cursor(place))) == place
