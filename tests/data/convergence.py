"""Orders of convergence."""

import numpy as np


def orders(errors):
    """Return the observed orders of errors at steps that are halved each time."""
    errors = np.asarray(errors)
    return np.log2(errors[:-1] / errors[1:])
