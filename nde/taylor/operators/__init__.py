"""Differential operators of functions and networks by Taylor-mode jets: exact, or estimated with a variance."""
