"""What all tests share: one thread for PyTorch, and a clear word when an outside tool is missing."""

from __future__ import annotations

import matplotlib
import pytest
import torch

matplotlib.use("Agg")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tests are small; more threads cost more than they bring, and share two cores with simulators."""
    torch.set_num_threads(1)
