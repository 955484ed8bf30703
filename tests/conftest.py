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
    parser.addoption("--large", action="store_true",
                     help="also the proofs that take minutes each (64 and 128 lanes, netlists with a wrong gate)")


def pytest_configure(config):
    config.addinivalue_line("markers", "large: takes minutes, only with --large")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--large"):
        left = [item for item in items if item.get_closest_marker("large")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tests are small; more threads cost more than they bring, and share two cores with simulators."""
    torch.set_num_threads(1)
