import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Threads would only wait for each other, and forked children cannot have them."""
    torch.set_num_threads(1)
