"""A fork as one line of text. Pure."""

from __future__ import annotations

from cli.client.json_view import JsonView
from cli.text.pieces import Piece
from wire.api_keys import Key
from wire.names import UNKNOWN, visible
from wire.times import clock

__all__ = ["fork_line", "pids", "quoted"]


def fork_line(fork: JsonView) -> list[Piece]:
    """`19:48:30.118 node1 shop/cart-hnc27 app  sh 6039/1 -> 7752/117  VFORK`: pids on the host and, after the slash, in the
    pod. The child's comm is shown where it differs from its parent's."""
    is_thread = fork["kind"].text == "thread"
    child: tuple[Key, Key] = ("child_tid", "child_ns_tid") if is_thread else ("child_pid", "child_ns_pid")
    host, pod = child
    comm, parent = fork["comm"].text, fork["parent_comm"].text
    state = fork["enrichment"]["state"].text
    # The clone flags of a thread are always the same; those of a process are informative.
    facts = ["thread"] if is_thread else [visible(flag.text) for flag in fork["clone"]]
    facts += [state] if state in ("late", "unresolved") else []
    return [
        Piece(f"{clock(fork['timestamp'].text)} {quoted(fork['k8s']['node'].text)} ", "dim"),
        *attribution_pieces(fork),
        Piece("  "),
        Piece(quoted(parent), "strong"),
        Piece(f" {pids(fork['parent_pid'].integer, fork['parent_ns_pid'].integer)} -> "),
        *([] if comm == parent else [Piece(quoted(comm), "strong"), Piece(" ")]),
        Piece(pids(fork[host].integer, fork[pod].integer)),
        *([Piece(f"  {' '.join(facts)}", "dim")] if facts else []),
    ]


def attribution_pieces(fork: JsonView) -> list[Piece]:
    """The fork's pod and container, by name where it is known, else by uid and id."""
    k8s, container = fork["k8s"], fork["container"]
    uid, pod = k8s["pod_uid"].text, k8s["pod"].text
    if not container and uid is None and pod is None:
        return [Piece("outside pods")]
    name = f"{quoted(k8s['namespace'].text)}/{quoted(pod)}" if pod is not None else quoted(uid)
    inner = container["name"].text or (container["id"].text or "")[:12]
    return [Piece(name, "name"), *([Piece(f" {quoted(inner)}")] if inner else [])]


def quoted(text: str | None) -> str:
    """A name between other words: in quotes where it contains a space or is empty."""
    shown = visible(text)
    return shown if shown and " " not in shown and '"' not in shown else '"' + shown.replace('"', '\\"') + '"'


def pids(host: int | None, pod: int | None) -> str:
    """The pid on the host and in the pod; outside pods both are the same, and one is shown."""
    if host is None:
        return UNKNOWN
    return str(host) if host == pod else f"{host}/{UNKNOWN if pod is None else pod}"
