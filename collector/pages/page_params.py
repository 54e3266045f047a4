"""The parameters of a page's address: those of the API, parsed so that a wrong one is shown on the page instead of failing it.

A form also sends its empty fields; those are left out. Each function returns the error text last, "" without an error.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import MultiDict

from collector.http.query_params import InvalidParameter, parse_cursor, parse_fork_query, parse_pod_filter, parse_span
from collector.model import Filter, ForkQuery, Place, Span
from collector.views.links import SORTS, PodListQuery

__all__ = [
    "Parameters",
    "fork_query_or_error",
    "list_query_or_error",
    "pod_filter_or_error",
    "read_parameters",
    "span_or_error",
]

MAX_PARAMETERS: Final = 64  # of an address

Parameters = MultiDict[str]


def read_parameters(request: web.Request) -> Parameters:
    """Without the empty ones. Of a parameter that occurs several times, the last counts; `label` may occur several times."""
    parameters: Parameters = MultiDict()
    for name, text in list(request.query.items())[:MAX_PARAMETERS]:
        if value := text.strip():
            if name == "label":
                parameters.add(name, value)
            else:
                parameters[name] = value
    return parameters


def list_query_or_error(parameters: Parameters) -> tuple[PodListQuery, str]:
    """With an error: of all pods."""
    sort, order = parameters.get("sort", ""), parameters.get("order", "")
    sort = sort if sort in SORTS else PodListQuery().sort
    order = order if order in ("asc", "desc") else SORTS[sort]
    pods, error = pod_filter_or_error(parameters)
    return PodListQuery(pods, sort, order), error


def pod_filter_or_error(parameters: Parameters) -> tuple[Filter, str]:
    """With an error: all pods."""
    try:
        return parse_pod_filter(parameters), ""
    except InvalidParameter as error:
        return Filter(), str(error)


def span_or_error(parameters: Parameters, now: int, default_start: str) -> tuple[Span, str]:
    """With an error: the default range. `now` in ns."""
    try:
        return parse_span(parameters, now, default_start), ""
    except InvalidParameter as error:
        return parse_span(MultiDict[str](), now, default_start), str(error)


def fork_query_or_error(parameters: Parameters, now: int, default_start: str) -> tuple[ForkQuery | None, Place | None, str]:
    """The query, and the place to continue from. With an error: neither."""
    try:
        return parse_fork_query(parameters, now, default_start), parse_cursor(parameters), ""
    except InvalidParameter as error:
        return None, None, str(error)
