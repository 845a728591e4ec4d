"""The command ``nde``."""
