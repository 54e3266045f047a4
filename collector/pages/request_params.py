"""What a page's address asks for, as the views and the store want it: the same words as in the API.

A form sends its empty fields along; they ask for nothing. Must not live here: what the words mean (`questions`).
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import MultiDict

from collector.http.query_params import InvalidParameter, fork_query, place, pod_filter, span
from collector.model import Filter, ForkQuery, Place, Span
from collector.views.links import SORTS, PodListQuery

__all__ = ["Words", "asked_forks", "asked_pod", "asked_range", "asked_wish", "words_of"]

PAIRS: Final = 64  # of an address

Words = MultiDict[str]


def words_of(request: web.Request) -> Words:
    """The address's words without the empty ones; of those given twice, the last counts, but every label."""
    words: Words = MultiDict()
    for name, value in list(request.query.items())[:PAIRS]:
        if value := value.strip():
            if name == "label":
                words.add(name, value)
            else:
                words[name] = value
    return words


def asked_wish(words: Words) -> tuple[PodListQuery, str]:
    """The wish, and what is wrong with it, in which case it is one for everything."""
    sort, order = words.get("sort", ""), words.get("order", "")
    sort = sort if sort in SORTS else PodListQuery().sort
    order = order if order in ("asc", "desc") else SORTS[sort]
    try:
        return PodListQuery(pod_filter(words), sort, order), ""
    except InvalidParameter as wrong:
        return PodListQuery(Filter(), sort, order), str(wrong)


def asked_pod(words: Words) -> tuple[str, str, str]:
    """Cluster and uid, where several pods have one name; and what is wrong with them, in which case they are none."""
    try:
        wish = pod_filter(words)
    except InvalidParameter as wrong:
        return "", "", str(wrong)
    return wish.cluster, wish.pod_uid, ""


def asked_range(words: Words, now: int, usual: str) -> tuple[Span, str]:
    """`now` in ns."""
    try:
        return span(words, now, usual), ""
    except InvalidParameter as wrong:
        return span(MultiDict[str](), now, usual), str(wrong)


def asked_forks(words: Words, now: int, usual: str) -> tuple[ForkQuery | None, Place | None, str]:
    """What is sought and from where on; None: not to be understood."""
    try:
        return fork_query(words, now, usual), place(words), ""
    except InvalidParameter as wrong:
        return None, None, str(wrong)
