"""The Python blocks of docs/pinn.md are run as they stand, and give what the text says."""

import re
from pathlib import Path

import pytest
import torch

BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/pinn.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture(autouse=True)
def restore_type():
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
def test_the_blocks_run_one_after_the_other(capsys):
    names = {}
    poisson, hard, inverse, adaptive, conditioning, many = BLOCKS
    exec(poisson, names)
    assert names["trainer"].history.last("loss") < 2e-3  # u is 0.2 or so, and the equation's source is 1
    exec(hard, names)
    assert names["resumed"].iteration == 60 and names["resumed"].history.last("error") < 1e-4
    exec(inverse, names)
    assert names["diffusivity"]().item() == pytest.approx(0.1, rel=0.05)
    exec(adaptive, names)
    assert names["trainer"].iteration == 100
    exec(conditioning, names)
    assert names["plain"][2] > 1e5 and all(abs(number - 1.03) < 0.01 for number in names["scaled"])
    exec(many, names)
    assert "skill" in capsys.readouterr().out
