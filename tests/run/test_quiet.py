"""What goes on around the first import of TensorFlow and Keras."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from seedbed import quiet


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_meanwhile_and_is_then_as_it_was(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    inside = []

    def failing() -> None:
        with quiet._without_collection():
            inside.append(gc.isenabled())
            raise ImportError

    with pytest.raises(ImportError):
        failing()
    assert inside == [False]
    assert gc.isenabled() is enabled
    assert gc.get_freeze_count() > 100_000  # what was there is left out of its rounds
