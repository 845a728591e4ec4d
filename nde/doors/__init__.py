"""The front doors: `nde.solve_ode`, `nde.solve_sde`, `nde.solve_cde`, `nde.solve_langevin`."""
