"""The images that the classifiers learn from."""

from __future__ import annotations

from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression

from examples.digits_model import Digits, load_digits
from examples.regularization.framework import SettingsError
from examples.regularization.mnist import load_mnist

__all__ = ["IMAGES", "linear_accuracy", "load_images"]

IMAGES = ("digits", "mnist")


def load_images(name: str, dtype: torch.dtype, folder: Path | None) -> Digits:
    """Return the digits of scikit-learn, or MNIST from files, as one of `IMAGES`.

    Raises:
        SettingsError: The name is not known, or MNIST is asked for and there is no folder.
        MissingFile, DamagedFile: A file of MNIST is missing or is not what its name says.
    """
    if name not in IMAGES:
        raise SettingsError(f"data must be one of {', '.join(IMAGES)}, but is {name!r}.")
    if name == "mnist":
        if folder is None:
            raise SettingsError("the set-up needs the files of MNIST: give the folder that holds them, --data DIR.")
        return load_mnist(folder, dtype)
    digits = load_digits()
    return digits._replace(train_x=digits.train_x.to(dtype), test_x=digits.test_x.to(dtype))


def linear_accuracy(images: Digits) -> float:
    """Return the accuracy on the test data of a linear classifier."""
    linear = LogisticRegression(max_iter=2000).fit(images.train_x.numpy(), images.train_y.numpy())
    return float(linear.score(images.test_x.numpy(), images.test_y.numpy()))
