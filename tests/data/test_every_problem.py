"""What all problems promise: the same bits for a seed and an index, in any number of processes, and fields in a box."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import nde.data
from nde.data import (
    Advection,
    Burgers,
    ConDiff,
    Darcy,
    DiffusionReaction,
    KuramotoSivashinsky,
    NavierStokes,
    Problem,
    ShallowWater,
    SphericalShallowWater,
    draw_sample,
    generate,
)
from nde.operators import SphereGrid, UniformGrid

PROBLEMS = [
    Advection(points=32, frames=3),
    Burgers(points=32),
    ConDiff(16),
    Darcy(points=16),
    Darcy(points=16, coefficient="lognormal"),
    DiffusionReaction(points=16, final_time=0.2, frames=2),
    KuramotoSivashinsky(points=32, length=22.0, final_time=1.0, frames=2),
    NavierStokes(points=16, final_time=0.2, frames=2),
    NavierStokes(points=16, final_time=0.2, frames=2, precision="single"),
    ShallowWater(points=16, final_time=0.1, frames=2),
    SphericalShallowWater(rows=8, final_time=600.0, frames=2),
]


def test_this_file_knows_every_problem():
    kinds = {
        value
        for value in vars(nde.data).values()
        if isinstance(value, type) and issubclass(value, Problem) and "sample" in vars(value) and value is not Problem
    }
    assert kinds == {type(problem) for problem in PROBLEMS}


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: type(problem).__name__)
def test_a_sample_is_a_matter_of_seed_and_index_alone(problem):
    first, other, reseeded = draw_sample(problem, 1, 3), draw_sample(problem, 2, 3), draw_sample(problem, 1, 4)
    again = draw_sample(pickle.loads(pickle.dumps(problem)), 1, 3)
    for name, field in first.items():
        assert np.array_equal(field, again[name])
        assert not np.array_equal(field, other[name])
        assert not np.array_equal(field, reseeded[name])


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: type(problem).__name__)
def test_fields_lie_where_the_box_says_and_settings_are_plain(problem):
    assert json.loads(json.dumps(problem.settings()))["problem"] == type(problem).__name__
    sample = draw_sample(problem, 0)
    dims = 1 if isinstance(problem, (Advection, Burgers, KuramotoSivashinsky)) else 2
    sphere = "latitudes" in problem.box
    grid = SphereGrid(**problem.box) if sphere else UniformGrid(**problem.box)
    for name, field in sample.items():
        if isinstance(problem, ConDiff) and name == "coefficient":
            continue  # at the corners of cells
        assert field.ndim == 1 + dims + hasattr(problem, "frames")
        assert np.isfinite(field).all()
        positions = grid.positions(field.shape[-dims:])
        assert positions.shape == (dims + sphere, *field.shape[-dims:])
        assert bool(torch.isfinite(positions).all())
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.points = 3


@dataclasses.dataclass(frozen=True)
class AllAtOnce(Problem):
    """A sample of every problem."""

    def sample(self, rng):
        drawn = [(place, problem.sample(rng)) for place, problem in enumerate(PROBLEMS)]
        return {f"{place} {name}": field for place, sample in drawn for name, field in sample.items()}


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one():
    alone = generate(AllAtOnce(), 3, seed=5, progress=False)
    together = generate(AllAtOnce(), 3, seed=5, processes=2, shard_size=1, progress=False)
    assert len(alone.arrays) > len(PROBLEMS)
    for name in alone:
        assert np.array_equal(alone[name], together[name])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system does not kill processes so")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_leaves_whole_files_and_no_processes_and_goes_on(tmp_path: Path, processes: int):
    root, folder = Path(__file__).parents[2], tmp_path / "data"
    script = tmp_path / "script.py"
    script.write_text(
        "from nde.data import Darcy, generate\n"
        "if __name__ == '__main__':\n"
        f"    generate(Darcy(points=32), 100000, folder={str(folder)!r}, shard_size=4, processes={processes}, "
        "progress=False)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    # a session of its own, whose processes can be counted
    run = subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("shard-*.npz"))) < 3:
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    deadline = time.monotonic() + 20
    while _lives(run.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _lives(run.pid)
    count = 4 * len(list(folder.glob("shard-*.npz")))
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.npz")}
    whole = generate(Darcy(points=32), count + 2, folder=folder, shard_size=4, progress=False)
    alone = generate(Darcy(points=32), count + 2, progress=False)
    assert all(np.array_equal(whole[name], alone[name]) for name in alone)
    # shards may have been done out of order, but none that was there is done again
    assert all((folder / name).stat().st_mtime_ns == time_ns for name, time_ns in kept.items())


def _lives(group: int) -> bool:
    """Return whether a process of a group lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
