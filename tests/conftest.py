"""What all tests share: random numbers that do not depend on which tests ran before."""

import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_random_numbers() -> None:
    """Seed torch before every test; gradgradcheck, too, draws its directions from there."""
    torch.manual_seed(0)
