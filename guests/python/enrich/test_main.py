"""How an author tests a Channel: as the function it is. `python -m pytest enrich`"""

import json

import pytest
from main import handle

from saf_channel import Reject, emit
from saf_channel.testing import event


def test_an_object_gains_a_field():
    emission = handle(event("ride", {"driver": 7}))
    assert emission == emit("enriched.ride", {"driver": 7, "enriched": True})
    assert json.loads(emission.data)["enriched"] is True


@pytest.mark.parametrize("data", [[1], "hello", None, b"\xff"])
def test_anything_else_is_rejected(data):
    with pytest.raises(Reject, match="^not "):
        handle(event("ride", data))
