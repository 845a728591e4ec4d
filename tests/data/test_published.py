"""Loaders on small files of the published layouts, whole and damaged."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import io

from nde.data import ConDiff, CorruptFileError, condiff_matrix, draw_sample, load_condiff, load_fno, load_pdebench

h5py = pytest.importorskip("h5py", reason="h5py is an optional extra")
RNG = np.random.default_rng(0)


def write(path: Path, **entries) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in entries.items():
            file.create_dataset(name.replace("__", "/").replace("_coordinate", "-coordinate"), data=values)
    return path


def test_pdebench_scalar_problems_get_a_channel(tmp_path: Path):
    tensor = RNG.standard_normal((5, 4, 8)).astype(np.float32)
    path = write(
        tmp_path / "advection.hdf5", tensor=tensor, x_coordinate=np.linspace(0, 1, 8), t_coordinate=np.arange(5)
    )
    data = load_pdebench(path)
    assert data["tensor"].shape == (5, 4, 1, 8)
    assert np.array_equal(data["tensor"][:, :, 0], tensor)
    assert np.array_equal(data.settings["coordinates"]["x"], np.linspace(0, 1, 8))
    assert np.array_equal(load_pdebench(path, 2)["tensor"], data["tensor"][:2])


def test_pdebench_darcy_has_coefficient_and_solution(tmp_path: Path):
    nu, tensor = RNG.random((3, 6, 6)), RNG.random((3, 1, 6, 6))
    data = load_pdebench(write(tmp_path / "darcy.hdf5", nu=nu, tensor=tensor))
    assert np.array_equal(data["coefficient"][:, 0], nu)
    assert np.array_equal(data["solution"], tensor)


def test_pdebench_flow_has_its_fields_as_channels(tmp_path: Path):
    fields = {name: RNG.random((2, 3, 4, 5)) for name in ("Vx", "Vy", "density", "pressure")}
    data = load_pdebench(write(tmp_path / "cfd.hdf5", **fields))
    assert data["state"].shape == (2, 3, 4, 4, 5)
    for channel, name in enumerate(("density", "pressure", "Vx", "Vy")):
        assert np.array_equal(data["state"][:, :, channel], fields[name])


def test_pdebench_samples_in_groups_are_stacked_in_order(tmp_path: Path):
    samples = RNG.random((3, 4, 6, 5, 2))
    entries = {f"{index:04d}__data": sample for index, sample in enumerate(samples)}
    path = write(tmp_path / "2D_diff-react.h5", **entries, **{"0000__grid__x": np.arange(6.0)})
    data = load_pdebench(path)
    assert data["data"].shape == (3, 4, 2, 6, 5)
    assert np.array_equal(data["data"][1, :, 1], samples[1, ..., 1])
    assert np.array_equal(data.settings["coordinates"]["x"], np.arange(6.0))
    assert len(load_pdebench(path, 2)) == 2


def test_condiff_vectors_become_the_fields_that_solve_the_system(tmp_path: Path):
    sample = {name: field[0] for name, field in draw_sample(ConDiff(8, contrast_range=(1, 1e9)), 0).items()}
    path = write(
        tmp_path / "cubic0.1_grid8_train.h5",
        k=sample["coefficient"][None],
        rhs=sample["source"].ravel(order="F")[None],
        x=sample["solution"].ravel(order="F")[None],
    )
    data = load_condiff(path)
    for name, field in sample.items():
        assert np.array_equal(data[name][0, 0], field)
    residual = condiff_matrix(data["coefficient"][0, 0]) @ data["solution"][0, 0].ravel(order="F")
    np.testing.assert_allclose(residual, data["source"][0, 0].ravel(order="F"), atol=1e-10)


def test_condiff_poisson_files_have_no_coefficient(tmp_path: Path):
    data = load_condiff(write(tmp_path / "poisson_grid3_test.h5", rhs=RNG.random((2, 9)), x=RNG.random((2, 9))))
    assert sorted(data) == ["solution", "source"]


@pytest.mark.parametrize("modern", [False, True])
def test_fno_files_of_both_formats_are_read(tmp_path: Path, modern: bool):
    def save(name: str, **entries) -> Path:
        path = tmp_path / name
        if modern:  # MATLAB's axes run the other way
            return write(path, **{key: value.T for key, value in entries.items()})
        io.savemat(path, entries)
        return path

    coeff, sol = RNG.random((4, 5, 6)), RNG.random((4, 5, 6))
    darcy = load_fno(save("darcy.mat", coeff=coeff, sol=sol))
    assert np.array_equal(darcy["coefficient"][:, 0], coeff) and np.array_equal(darcy["solution"][:, 0], sol)
    a, u = RNG.random((4, 8)), RNG.random((4, 8))
    burgers = load_fno(save("burgers.mat", a=a, u=u), 3)
    assert np.array_equal(burgers["initial"][:, 0], a[:3]) and np.array_equal(burgers["final"][:, 0], u[:3])
    w0, w = RNG.random((2, 4, 5)), RNG.random((2, 4, 5, 3))
    flow = load_fno(save("ns.mat", a=w0, u=w, t=np.arange(3.0)))
    assert flow["vorticity"].shape == (2, 3, 1, 4, 5)
    assert np.array_equal(flow["vorticity"][:, 1, 0], w[..., 1])


@pytest.mark.parametrize("load", [load_pdebench, load_condiff, load_fno])
def test_missing_and_damaged_files_are_named(load, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere.h5. It can be had from https://"):
        load(tmp_path / "nowhere.h5")
    junk = tmp_path / "junk.h5"
    junk.write_bytes(b"not a file of data" * 20)
    with pytest.raises(CorruptFileError, match=r"junk.h5 is no (HDF5|MATLAB) file, or incomplete"):
        load(junk)
    whole = write(tmp_path / "whole.h5", tensor=RNG.random((2, 3, 400)), rhs=RNG.random((2, 9)), x=RNG.random((2, 9)))
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(CorruptFileError, match="incomplete"):
        load(whole)
    other = write(tmp_path / "other.h5", weather=np.zeros(3))
    with pytest.raises(CorruptFileError, match=r"it holds .*weather"):
        load(other)


@pytest.mark.parametrize(
    ("load", "entries", "message"),
    [
        (load_condiff, {"rhs": np.zeros((2, 8)), "x": np.zeros((2, 8))}, "should hold squares of numbers"),
        (load_condiff, {"rhs": np.zeros((2, 9))}, "has no entry 'x'; it holds 'rhs'"),
        (
            load_condiff,
            {"rhs": np.zeros((2, 9)), "x": np.zeros((2, 9)), "k": np.zeros((2, 3, 3))},
            "one coefficient more",
        ),
        (load_condiff, {"rhs": np.zeros((2, 9)), "x": np.zeros((3, 9))}, "different numbers of samples"),
        (load_pdebench, {"tensor": np.zeros((2, 9))}, "should hold arrays of 3 dimensions"),
        (load_fno, {"a": np.zeros((9, 2)), "u": np.zeros((8, 2))}, "which do not fit"),
    ],
)
def test_files_whose_entries_do_not_fit_are_refused(load, entries, message, tmp_path: Path):
    with pytest.raises(CorruptFileError, match=message):
        load(write(tmp_path / "bad.h5", **entries))


def test_more_samples_than_there_are_is_an_error(tmp_path: Path):
    tensor = write(tmp_path / "a.h5", tensor=np.zeros((2, 3, 4)))
    groups = write(tmp_path / "b.h5", **{"0000__data": np.zeros((2, 3, 4, 1))})
    for load, path, there in ((load_pdebench, tensor, 2), (load_pdebench, groups, 1)):
        with pytest.raises(ValueError, match=f"count=7 samples were asked for, but .* holds {there}"):
            load(path, 7)
    with pytest.raises(ValueError, match="count must be at least 1"):
        load_pdebench(tensor, 0)


def test_without_h5py_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a.h5", tensor=np.zeros((2, 3, 4)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'nde\[data\]'"):
        load_pdebench(path)
