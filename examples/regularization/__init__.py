"""Experiments that compare penalties on what a solver has to do; ``python -m examples.regularization --help``."""
