"""Arithmetic in float64 with seeded random numbers."""

import pytest
import torch

assert_close = torch.testing.assert_close
SIZE = (6, 8)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
