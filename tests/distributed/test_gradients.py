"""Under torchrun, gradients of two processes are those of one: replicated and sharded, every layer and adjoint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.distributed.cases import CASES, SHARDED, TOLERANCES, WORLD, alone
from tests.distributed.trainings import TRAININGS_ALONE

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this build of torch has no distributed package")


def torchrun(arguments: list[str], **environment: str) -> subprocess.CompletedProcess:
    """Run a module in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORLD}"]
    settings = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    settings |= {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", **environment}
    return subprocess.run([*command, *arguments], env=settings, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """Return what both processes have found, by the names of the cases: one start for all of them."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(["-m", "tests.distributed.worker", str(folder), *CASES])
    paths = [folder / f"{rank}.pt" for rank in range(WORLD)]
    assert all(path.exists() for path in paths), done.stderr[-3000:]
    return [torch.load(path) for path in paths]


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_two_processes_are_those_of_one(name, found):
    for rank in found:
        assert name in rank, f"an earlier case failed: {[one for one in rank.values() if isinstance(one, str)]}"
        assert not isinstance(rank[name], str), rank[name]
    expected = TRAININGS_ALONE[name]() if name in TRAININGS_ALONE else alone(name.split(" ", 1)[1])
    assert name == "restored by more processes" or max(float(one.abs().max()) for one in expected.values()) > 0
    tolerance = TOLERANCES.get(name.split(" ", 1)[1], 1e-12)
    for rank in found:
        torch.testing.assert_close(rank[name], expected, rtol=tolerance, atol=tolerance)


def test_every_adjoint_is_among_the_sharded_layers():
    said = " ".join(SHARDED)
    assert all(adjoint in said for adjoint in ("discrete", "direct", "backsolve", "reversible"))
