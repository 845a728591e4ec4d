"""Physics-informed networks: domains, conditions, networks, optimisers, a trainer, and problems to try them on."""
