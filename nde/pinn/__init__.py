"""Physics-informed networks: domains, conditions, networks, weights, optimisers, a trainer and problems to try it on."""
