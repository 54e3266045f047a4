"""A fake collector, and the command that uses it."""

from __future__ import annotations

from functools import partial

import pytest

from .fake_collector import running_fake_collector
from .processes import run_forklore


@pytest.fixture
async def collector():
    async with running_fake_collector() as collector:
        yield collector


@pytest.fixture
def forklore(collector):
    """`await forklore("tree", "shop/cart-1")` -> `CommandResult`."""
    return partial(run_forklore, collector)
