"""Loaders on tiny files of the real formats: what they return, and what they say of files that are wrong or missing."""

import gzip
import hashlib
import io
import struct
import tarfile

import pytest
import torch

from examples.regularization.data_files import DamagedFile, MissingFile
from examples.regularization.mnist import MNIST_MD5, load_mnist
from examples.regularization.physionet import PHYSIONET_SHA256, VARIABLES, load_physionet, read_record
from examples.regularization.series import CHANNELS, TIMES, generate_series

COUNTS = (3, 2)


def idx(shape, content, kind=8):
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(content)


def write_mnist(folder, pack=True):
    """Write images whose pixels all are 51 times their number, and classes that count down from nine."""
    for part, count in zip(("train", "t10k"), COUNTS, strict=True):
        pixels = [51 * number for number in range(count) for _ in range(28 * 28)]
        files = {
            f"{part}-images-idx3-ubyte": idx((count, 28, 28), pixels),
            f"{part}-labels-idx1-ubyte": idx((count,), range(9, 9 - count, -1)),
        }
        for name, content in files.items():
            (folder / (f"{name}.gz" if pack else name)).write_bytes(gzip.compress(content) if pack else content)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("place", ["", "MNIST/raw"])
def test_mnist_is_read_packed_and_unpacked_and_where_torchvision_puts_it(tmp_path, pack, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    write_mnist(tmp_path / place, pack)
    data = load_mnist(tmp_path, torch.float64, counts=COUNTS, digests={})
    assert data.train_x.shape == (3, 784) and data.test_x.shape == (2, 784) and data.train_x.dtype == torch.float64
    torch.testing.assert_close(data.train_x, torch.tensor([[0.0], [0.2], [0.4]]).double().expand(3, 784))
    assert data.train_y.tolist() == [9, 8, 7] and data.test_y.tolist() == [9, 8]


def test_missing_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingFile, match=r"no train-images-idx3-ubyte\.gz .*ossci-datasets.*folder that holds them"):
        load_mnist(tmp_path)


def test_mnist_of_another_content_fails_its_checksum(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(DamagedFile, match=f"md5 checksum .* not {MNIST_MD5['train-images-idx3-ubyte.gz']}"):
        load_mnist(tmp_path, counts=COUNTS)
    digests = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert digests.keys() == MNIST_MD5.keys()
    load_mnist(tmp_path, counts=COUNTS, digests=digests)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n", "begins with 89 50 4e"),
        (idx((3, 28, 28), bytes(3 * 784), kind=0x0D), "begins with 00 00 0d"),
        (idx((3, 28, 28), bytes(3 * 784))[:7], "7 bytes, within its header"),
        (idx((3, 28, 28), bytes(3 * 784 - 1)), "must hold 2352 bytes behind its header, but holds 2351"),
        (idx((3, 28, 27), bytes(3 * 28 * 27)), r"shape \(3, 28, 28\), but holds one of \(3, 28, 27\)"),
    ],
)
def test_images_that_are_none_are_explained(tmp_path, content, message):
    write_mnist(tmp_path, pack=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DamagedFile, match=message):
        load_mnist(tmp_path, counts=COUNTS)


def test_a_packed_file_that_was_cut_short_is_explained(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedFile, match=r"t10k-images-idx3-ubyte\.gz cannot be unpacked"):
        load_mnist(tmp_path, counts=COUNTS, digests={})


def test_classes_above_nine_are_refused(tmp_path):
    write_mnist(tmp_path, pack=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx((2,), (3, 10)))
    with pytest.raises(DamagedFile, match="must hold digits, but holds 10"):
        load_mnist(tmp_path, counts=COUNTS)


HEAD = "Time,Parameter,Value\n00:00,RecordID,1\n00:00,Age,54\n00:00,Weight,-1\n"
RECORDS = {
    "set-a": {
        "1": HEAD + "00:07,HR,60\n00:20,HR,80\n48:00,pH,7.5\n",
        "2": "Time,Parameter,Value\n00:00,RecordID,2\n00:00,Gender,1\n",  # without any observation
    },
    "set-b": {"3": HEAD + "10:31,HR,100\n", "4": HEAD + "47:10,HR,120\n\n"},
}


def write_sets(folder, pack=True, records=RECORDS):
    for name, texts in records.items():
        if not pack:
            (folder / name).mkdir()
            for number, text in texts.items():
                (folder / name / f"{number}.txt").write_text(text)
            continue
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            for number, text in texts.items():
                member = tarfile.TarInfo(f"{name}/{number}.txt")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))


@pytest.mark.parametrize("pack", [True, False])
def test_physionet_is_averaged_by_the_hour_scaled_and_split(tmp_path, pack):
    write_sets(tmp_path, pack)
    data = load_physionet(tmp_path, records=2, digests={})
    assert len(VARIABLES) == 37 and data.train.values.shape == (49, 2, 37) and data.test.values.shape == (49, 1, 37)
    assert data.train.ts[0] == 0 and data.train.ts[-1] == 1
    values = torch.cat([data.train.values, data.test.values], 1)
    mask = torch.cat([data.train.mask, data.test.mask], 1)
    assert mask.sum() == 7 and not values[~mask].any()
    rates = VARIABLES.index("HR")
    # smallest 70 (the mean of 60 and 80), largest 120; 10:31 is nearer to eleven
    for hour, wanted in ((0, 0.0), (11, 30 / 120), (47, 50 / 120)):
        found = values[hour, :, rates][mask[hour, :, rates]]
        torch.testing.assert_close(found, torch.tensor([wanted], dtype=torch.float64))


def test_the_split_depends_on_the_seed_alone(tmp_path):
    texts = {str(number): HEAD + f"00:00,HR,{number}\n" for number in range(1, 21)}
    write_sets(tmp_path, records={"set-a": texts, "set-b": texts})
    first, again, other = (load_physionet(tmp_path, records=20, digests={}, seed=seed).train for seed in (0, 0, 1))
    assert first.values.shape[1] == 32
    assert torch.equal(first.values, again.values) and not torch.equal(first.values, other.values)


def test_missing_physionet_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingFile, match=r"no set-a\.tar\.gz or set-a .*physionet\.org/files/challenge-2012"):
        load_physionet(tmp_path)


def test_physionet_of_another_content_or_number_is_refused(tmp_path):
    write_sets(tmp_path)
    with pytest.raises(DamagedFile, match=f"sha256 checksum .* not {PHYSIONET_SHA256['set-a.tar.gz']}"):
        load_physionet(tmp_path, records=2)
    for records, message in ((3, "must hold 3 records, but holds 2"), (1, "must hold 1 records, but holds more")):
        with pytest.raises(DamagedFile, match=message):
            load_physionet(tmp_path, records=records, digests={})
    path = tmp_path / "set-b.tar.gz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DamagedFile, match=r"set-b\.tar\.gz cannot be unpacked"):
        load_physionet(tmp_path, records=2, digests={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time;value\n", "must begin with 'Time,Parameter,Value', but begins with 'time;value'"),
        (HEAD + "01:00,HR\n", "line 5, must be HH:MM,name,value, but is '01:00,HR'"),
        (HEAD + "01:00,HR,many\n", "line 5, must be HH:MM,name,value"),
        (HEAD + "01:00,Pulse,60\n", "line 5, has an unknown name, time or value"),
        (HEAD + "49:00,HR,60\n", "line 5, has an unknown name, time or value"),
        (HEAD + "01:00,HR,nan\n", "line 5, has an unknown name, time or value"),
    ],
)
def test_a_record_that_is_none_is_explained(text, message):
    with pytest.raises(DamagedFile, match=message):
        read_record(text, "record")


def test_generated_series_have_the_stated_times_gaps_and_noise():
    data = generate_series(300, 100, seed=1)
    assert data.train.values.shape == (TIMES, 300, CHANNELS) and data.test.values.shape == (TIMES, 100, CHANNELS)
    mask, values = data.train.mask, data.train.values
    assert data.train.ts[0] == 0 and data.train.ts[-1] == 1 and not values[~mask].any()
    missing = 1 - mask.double().mean((0, 2))
    # 392 values of each series: five standard deviations are 0.12
    assert missing.min() > 0.58 and missing.max() < 0.92 and abs(missing.mean() - 0.75) < 0.01
    assert 0.3 < values[mask].std() < 1 and mask.any(0).any(-1).all()


def test_channels_of_generated_series_are_mixtures_of_three_oscillators_and_noise():
    data = generate_series(400, 1, seed=2)
    # times at which all of the channels were observed are rare; covariances need pairs alone
    mask, values = data.train.mask.double(), data.train.values
    pairs = torch.einsum("tni,tnj->ij", mask, mask)
    covariance = torch.einsum("tni,tnj->ij", values, values) / pairs
    sizes = torch.linalg.eigvalsh(covariance).flip(0)
    # the pairs are not of the same times, which is noise of its own: one part in the root of their number, 1200
    assert sizes[2] > 0.05 * sizes[0] and sizes[3:].abs().max() < 0.05 * sizes[0]


def test_generated_series_depend_on_the_seed_alone_and_leave_the_global_generator():
    before = torch.get_rng_state()
    first, again, other = (generate_series(4, 2, seed=seed).train.values for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
