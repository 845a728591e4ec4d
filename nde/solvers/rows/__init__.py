"""Solves with a step size per sample, and solves with events: one loop over rows."""
