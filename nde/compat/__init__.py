"""The interfaces of other packages on nde's solvers: change one import, keep the code."""
