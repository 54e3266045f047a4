"""`forklore top` says in its first line which nodes have conflicts."""

from cli.client.json_view import JsonView
from cli.text.pieces import plain
from cli.top.rows import rows_of, summary
from tests.cli.answers import pods


def head(nodes):
    answer = JsonView(pods(nodes=nodes))
    return plain(summary(answer, rows_of(answer), 0))


def test_nodes_with_conflicts_are_named_with_their_sum():
    nodes = [
        {"node": "node1", "silent": False, "conflicts": 5000},
        {"node": "node2", "conflicts": 0},
        {"node": "node3", "conflicts": 7},
    ]
    assert head(nodes).endswith("  5,007 conflicts: node1, node3")


def test_at_most_three_nodes_are_named():
    assert head([{"node": f"n{n}", "conflicts": 1} for n in range(4)]).endswith("  4 conflicts: n0, n1, n2 ...")


def test_without_conflicts_no_node_is_named():
    """Nor of a collector of an older version, whose nodes have no such field."""
    assert "conflict" not in head([{"node": "node1", "conflicts": 0}, {"node": "node2"}])


def test_a_hostile_name_is_escaped():
    assert head([{"node": "\x1b[2J", "conflicts": 1}]).isprintable()
