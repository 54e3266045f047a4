"""A fork in one line, for people who read along.

Pure. Must not live here: JSON lines (`words.json_line`), where forks come from.
"""

from __future__ import annotations

from cli.client.json_view import Said
from cli.text.pieces import Piece
from wire.names import UNKNOWN, visible
from wire.times import clock

__all__ = ["compact", "named", "pids", "whose"]


def compact(fork: Said) -> list[Piece]:
    """`19:48:30.118 node1 shop/cart-hnc27 app  sh 6039/1 -> 7752/117  VFORK`: pids on the host and, behind the stroke, in the
    pod. The child's comm is told where it is not its parent's."""
    is_thread = fork["kind"].text == "thread"
    host, pod = ("child_tid", "child_ns_tid") if is_thread else ("child_pid", "child_ns_pid")
    comm, parent = fork["comm"].text, fork["parent_comm"].text
    state = fork["enrichment"]["state"].text
    # A new thread shares all there is to share, always; of a process the flags are news.
    facts = ["thread"] if is_thread else [visible(flag.text) for flag in fork["clone"]]
    facts += [state] if state in ("late", "unresolved") else []
    return [
        Piece(f"{clock(fork['timestamp'].text)} {named(fork['k8s']['node'].text)} ", "dim"),
        *whose(fork),
        Piece("  "),
        Piece(named(parent), "strong"),
        Piece(f" {pids(fork['parent_pid'].whole, fork['parent_ns_pid'].whole)} -> "),
        *([] if comm == parent else [Piece(named(comm), "strong"), Piece(" ")]),
        Piece(pids(fork[host].whole, fork[pod].whole)),
        *([Piece(f"  {' '.join(facts)}", "dim")] if facts else []),
    ]


def whose(fork: Said) -> list[Piece]:
    """Its pod and container by the best names there are."""
    k8s, container = fork["k8s"], fork["container"]
    uid, pod = k8s["pod_uid"].text, k8s["pod"].text
    if not container and uid is None and pod is None:
        return [Piece("outside pods")]
    name = f"{named(k8s['namespace'].text)}/{named(pod)}" if pod is not None else named(uid)
    inner = container["name"].text or (container["id"].text or "")[:12]
    return [Piece(name, "name"), *([Piece(f" {named(inner)}")] if inner else [])]


def named(text: str | None) -> str:
    """A name among other words: in quotes where it could pass for several of them, or for none."""
    shown = visible(text)
    return shown if shown and " " not in shown and '"' not in shown else '"' + shown.replace('"', '\\"') + '"'


def pids(host: int | None, pod: int | None) -> str:
    """On the host and in the pod, which is one number outside of pods."""
    if host is None:
        return UNKNOWN
    return str(host) if host == pod else f"{host}/{UNKNOWN if pod is None else pod}"
