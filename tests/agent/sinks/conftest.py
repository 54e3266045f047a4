"""A receiver of batches over real HTTP, which answers what a test tells it to."""

import pytest

from .sending import Receiver


@pytest.fixture
async def receiver():
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()
