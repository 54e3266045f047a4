"""Which pods a request selects, and what a change of one is to a watcher. Pure."""

from collections.abc import Callable

from aiohttp import web

from dev.demo.kubernetes.cluster import Event
from dev.demo.kubernetes.pod_objects import Json

Selector = Callable[[Json], bool]


class BadRequestError(Exception):
    """The request has a parameter that this server does not understand."""


def change_for(event: Event, matches: Selector) -> str | None:
    """The type of a change for a watcher with a selector: a pod that begins to match is ADDED, one that ceases to is
    DELETED."""
    before = event.before is not None and matches(event.before)
    after = event.change != "DELETED" and matches(event.pod)
    return {(False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}.get((before, after))


def selector(request: web.Request) -> Selector:
    """From the path's namespace and `fieldSelector`. Refuses selectors that it does not support."""
    requested = {}
    for part in filter(None, request.query.get("fieldSelector", "").split(",")):
        path, _, value = part.replace("==", "=").partition("=")
        if path not in {"spec.nodeName", "metadata.name", "metadata.namespace", "status.phase"}:
            raise BadRequestError(f'field label not supported: "{path}"')
        requested[tuple(path.split("."))] = value
    if "labelSelector" in request.query:
        raise BadRequestError("labelSelector is not supported by this server")
    if "namespace" in request.match_info:
        requested["metadata", "namespace"] = request.match_info["namespace"]
    return lambda pod: all(pod[section].get(name) == value for (section, name), value in requested.items())


def number(request: web.Request, name: str, default: int) -> int:
    try:
        return int(request.query.get(name) or default)
    except ValueError:
        raise BadRequestError(f"invalid {name}: {request.query[name]!r}") from None
