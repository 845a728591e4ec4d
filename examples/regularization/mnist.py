"""MNIST from the four files of its authors, in the IDX format, packed or unpacked."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy
import torch
from torch import Tensor

from examples.digits_model import Digits
from examples.regularization.data_files import DamagedFile, check_digest, find_file

__all__ = ["MNIST_MD5", "load_mnist", "read_idx"]

# as torchvision publishes them, in torchvision/datasets/mnist.py
MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_ADVICE = (
    "MNIST is four files, 11 MB: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
    "t10k-labels-idx1-ubyte.gz. Get them from https://ossci-datasets.s3.amazonaws.com/mnist/ (or with "
    "torchvision.datasets.MNIST(folder, download=True)), and name the folder that holds them."
)
_PLACES = ("", "raw", "MNIST/raw")  # the latter two are torchvision's
_SIDE = 28
_UNSIGNED_BYTES = 0x08
_TRAIN, _TEST = 60_000, 10_000


def load_mnist(
    folder: str | Path,
    dtype: torch.dtype = torch.float32,
    *,
    counts: tuple[int, int] = (_TRAIN, _TEST),
    digests: Mapping[str, str] = MNIST_MD5,
) -> Digits:
    """Return MNIST: pixels in [0, 1], shape ``(n, 784)``, and classes, in its own split.

    Args:
        folder: Where the files are, packed (``.gz``) or not; torchvision's layout is known.
        dtype: Of the pixels.
        counts: Images for training and for testing that there must be.
        digests: Checksums of packed files.

    Raises:
        MissingFile: A file is missing; the message says how to get it.
        DamagedFile: A file is not what its name says.
    """
    parts = [
        _load_part(Path(folder), name, count, digests) for name, count in zip(("train", "t10k"), counts, strict=True)
    ]
    (train_x, train_y), (test_x, test_y) = parts
    return Digits(train_x.to(dtype) / 255, train_y.long(), test_x.to(dtype) / 255, test_y.long())


def _load_part(folder: Path, part: str, count: int, digests: Mapping[str, str]) -> tuple[Tensor, Tensor]:
    found = []
    for name, shape in ((f"{part}-images-idx3-ubyte", (count, _SIDE, _SIDE)), (f"{part}-labels-idx1-ubyte", (count,))):
        path = find_file(folder, _PLACES, (f"{name}.gz", name), _ADVICE)
        check_digest(path, "md5", digests)
        values = read_idx(path)
        if tuple(values.shape) != shape:
            raise DamagedFile(f"{path} must hold an array of shape {shape}, but holds one of {tuple(values.shape)}.")
        found.append(values)
    images, classes = found
    if int(classes.max()) > 9:
        raise DamagedFile(f"{path} must hold digits, but holds {int(classes.max())}.")
    return images.reshape(count, -1), classes


def read_idx(path: Path) -> Tensor:
    """Return the bytes in an IDX file as a tensor of their shape.

    A file begins with two zeros, a number for the type of the values, the number of axes, and the length of each as a
    big-endian integer of four bytes.

    Args:
        path: The file, packed by gzip if its name ends so.

    Raises:
        DamagedFile: It is no such file, holds other values than bytes, or is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedFile(f"{path} cannot be unpacked: {error}. Get it again.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        raise DamagedFile(
            f"{path} must begin with the bytes 00 00 08, of an IDX file of unsigned bytes, but begins with "
            f"{content[:3].hex(' ') or 'nothing'}."
        )
    axes = content[3]
    begin = 4 + 4 * axes
    if not axes or len(content) < begin:
        raise DamagedFile(f"{path} is cut short: {len(content)} bytes, within its header.")
    shape = struct.unpack(f">{axes}I", content[4:begin])
    size = int(numpy.prod(shape, dtype=numpy.int64))
    if len(content) - begin != size:
        raise DamagedFile(f"{path} must hold {size} bytes behind its header, but holds {len(content) - begin}.")
    return torch.from_numpy(numpy.frombuffer(content, numpy.uint8, offset=begin).reshape(shape).copy())
