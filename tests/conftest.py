"""What all tests share: one thread for PyTorch, and a clear word when an outside tool is missing."""

from __future__ import annotations

import signal

import matplotlib
import pytest
import torch

matplotlib.use("Agg")

# A shell's background job ignores Ctrl-C, and so would the processes that tests start and end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--large", action="store_true", help="also prove cores of 64 and 128 lanes (minutes each)")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tests are small; more threads cost more than they bring, and share two cores with simulators."""
    torch.set_num_threads(1)
