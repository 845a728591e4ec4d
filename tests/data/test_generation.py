"""The same seed gives the same bits, however many processes draw and however often they are interrupted."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nde.data import CorruptFileError, Dataset, Problem, SampleError, SpectralField, draw_sample, generate


@dataclasses.dataclass(frozen=True)
class Waves(Problem):
    """Random fields; those of one index may fail."""

    points: int = 16
    failing: int = -1

    def sample(self, rng):
        field = SpectralField(2.0, 3.0).sample(rng, (self.points,))
        if (self.points, self.failing) == (16, 0):
            raise FloatingPointError("the solver gave up")
        return {"wave": field[None], "scalar": np.array([np.inf if self.failing == 1 else rng.random()])}


class Interrupted(Waves):
    """Waves of which the fifth is interrupted as Ctrl-C interrupts; same samples, same settings."""

    calls = 0

    def sample(self, rng):
        Interrupted.calls += 1
        if Interrupted.calls == 6:
            raise KeyboardInterrupt
        return super().sample(rng)

    def settings(self):
        return {**super().settings(), "problem": "Waves"}


def same(one: Dataset, other: Dataset) -> bool:
    return all(np.array_equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


def test_bits_depend_on_the_seed_and_the_index_alone(tmp_path: Path):
    whole = generate(Waves(), 11, seed=3, progress=False)
    assert same(whole.part(0, 5), generate(Waves(), 5, seed=3, shard_size=2, progress=False))
    assert same(whole, generate(Waves(), 11, seed=3, folder=tmp_path / "a", shard_size=4, progress=False))
    other = generate(Waves(), 11, seed=4, progress=False)
    assert not np.any(whole["wave"] == other["wave"])
    assert len(np.unique(whole["scalar"])) == 11
    exact = draw_sample(Waves(), 7, seed=3)
    assert np.array_equal(whole["wave"][7], exact["wave"].astype(np.float32))


def test_two_processes_give_the_bits_of_one(tmp_path: Path):
    alone = generate(Waves(), 9, progress=False)
    together = generate(Waves(), 9, folder=tmp_path, processes=2, shard_size=2, progress=False)
    assert same(alone, together)
    assert same(alone, generate(Waves(), 9, folder=tmp_path, shard_size=2, progress=False))


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path):
    Interrupted.calls = 0
    with pytest.raises(KeyboardInterrupt):
        generate(Interrupted(), 8, folder=tmp_path, shard_size=2, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["settings.json", "shard-00000.npz", "shard-00001.npz"]
    before = (tmp_path / "shard-00001.npz").stat().st_mtime_ns
    Interrupted.calls = 10
    assert same(generate(Interrupted(), 8, folder=tmp_path, shard_size=2, progress=False), generate(Waves(), 8))
    assert Interrupted.calls == 14  # four were there
    assert (tmp_path / "shard-00001.npz").stat().st_mtime_ns == before


def test_a_folder_is_continued_to_more_samples_and_read_for_fewer(tmp_path: Path):
    whole = generate(Waves(), 10, progress=False)
    for count in (3, 10, 6):
        assert same(whole.part(0, count), generate(Waves(), count, folder=tmp_path, shard_size=4, progress=False))


def test_a_folder_of_other_settings_is_left_alone(tmp_path: Path):
    generate(Waves(), 2, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds samples with points=16, seed=0, but points=8, seed=1 was asked for"):
        generate(Waves(points=8), 2, seed=1, folder=tmp_path, progress=False)
    assert json.loads((tmp_path / "settings.json").read_text())["points"] == 16
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    np.savez(foreign / "x.npz", x=np.zeros(2))
    with pytest.raises(ValueError, match=r"holds .npz files but no settings.json"):
        generate(Waves(), 2, folder=foreign, progress=False)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_corrupt_file_is_named(tmp_path: Path, damage: str):
    generate(Waves(), 2, folder=tmp_path, progress=False)
    path = tmp_path / "shard-00000.npz"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 3] ^= 0xFF
    path.write_bytes({"truncated": content[:-40], "flipped": content, "empty": b"", "foreign": b"hello"}[damage])
    with pytest.raises(CorruptFileError, match=r"shard-00000.npz is corrupt .* Delete it"):
        generate(Waves(), 2, folder=tmp_path, progress=False)
    path.unlink()
    assert same(generate(Waves(), 2, folder=tmp_path, progress=False), generate(Waves(), 2, progress=False))


def test_files_hold_no_pickles(tmp_path: Path):
    generate(Waves(), 2, folder=tmp_path, progress=False)
    np.savez(tmp_path / "shard-00000.npz", wave=np.array([{}, {}], dtype=object))
    with pytest.raises(CorruptFileError, match="corrupt"):
        generate(Waves(), 2, folder=tmp_path, progress=False)


def test_a_failing_sample_is_named_and_the_files_before_it_stay(tmp_path: Path):
    with pytest.raises(SampleError, match=r"sample 0 of Waves\(.*seed=5 failed: the solver gave up") as caught:
        generate(Waves(failing=0), 2, seed=5, folder=tmp_path, progress=False)
    assert (caught.value.index, caught.value.seed) == (0, 5)
    assert not list(tmp_path.glob("*tmp"))
    with pytest.raises(SampleError, match=r"sample 0 .* is not finite in 'scalar'"):
        generate(Waves(failing=1), 2, progress=False)


@pytest.mark.slow
def test_a_failing_sample_is_named_by_other_processes_too():
    with pytest.raises(SampleError, match="is not finite in 'scalar'"):
        generate(Waves(failing=1), 2, shard_size=1, processes=2, progress=False)


def test_the_progress_bar_counts_samples_and_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    generate(Waves(), 4, folder=tmp_path, shard_size=2)
    assert "Waves: 100%" in capsys.readouterr().err
    generate(Waves(), 8, folder=tmp_path, shard_size=2)
    assert "4/8" in capsys.readouterr().err


def test_fields_become_tensors_without_a_copy_where_the_dtype_allows():
    data = generate(Waves(), 4, progress=False)
    assert data.tensor("wave").shape == (4, 1, 16)
    assert data.tensor("wave").data_ptr() == data["wave"].ctypes.data
    assert data.tensor("wave", torch.float64).dtype == torch.float64
    train, test = data.split(3)
    assert (len(train), len(test)) == (3, 1)
    with pytest.raises(KeyError, match=r"there is no field 'heat'. Choose one of: 'wave', 'scalar'"):
        data["heat"]
    with pytest.raises(ValueError, match="first must leave samples in both parts of 4, but is 4"):
        data.split(4)
    with pytest.raises(ValueError, match="same number of samples"):
        Dataset({"a": np.zeros(2), "b": np.zeros(3)})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"count": 0}, ValueError, "count must be at least 1"),
        ({"count": 2.0}, TypeError, "count must be an integer"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"processes": 0}, ValueError, "processes must be at least 1"),
        ({"dtype": np.int32}, TypeError, "dtype must be one of floating point"),
        ({"problem": "waves"}, TypeError, "problem must be a Problem"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        generate(**{"problem": Waves(), "count": 1, "progress": False, **arguments})
