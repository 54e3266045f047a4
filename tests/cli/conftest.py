"""A stand-in collector, and the command beside it."""

from __future__ import annotations

from functools import partial

import pytest

from .running import ran
from .standing_in import standing_in


@pytest.fixture
async def collector():
    async with standing_in() as collector:
        yield collector


@pytest.fixture
def forklore(collector):
    """`await forklore("tree", "shop/cart-1")` -> `ClosedInstances`."""
    return partial(ran, collector)
