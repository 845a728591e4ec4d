"""What nde costs beside its peers: `python -m benchmarks` (or `make bench`).

Every library solves the same problem with the same method and tolerances; each row shows time, evaluations of the
field and the accuracy reached, so that a row can lose in more than one way. The parent process imports no torch:
each thread count, and each measurement of memory, gets a process of its own.
"""
