"""A receiver of batches over real HTTP, with responses that a test sets."""

import pytest

from .sender_scene import Receiver


@pytest.fixture
async def receiver():
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()
