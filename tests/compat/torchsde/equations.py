"""Equations of every kind of noise, written for torchsde's interface."""

import torch
from torch import nn

MOTIONS = {"diagonal": 3, "scalar": 1, "additive": 2, "general": 2}


class Neural(nn.Module):
    """Small networks for drift, diffusion and the prior's drift of a state of three entries."""

    def __init__(self, noise_type, sde_type, dtype=torch.float64, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.noise_type, self.sde_type, self.motions = noise_type, sde_type, MOTIONS[noise_type]
        self.drift = nn.Sequential(nn.Linear(4, 5), nn.Softplus(), nn.Linear(5, 3)).to(dtype)
        entries = 3 if noise_type == "diagonal" else 3 * self.motions
        self.spread = nn.Sequential(nn.Linear(4, 5), nn.Softplus(), nn.Linear(5, entries), nn.Sigmoid()).to(dtype)

    def with_time(self, t, y):
        return torch.cat([t.to(y.dtype).expand(y.shape[0], 1), y], 1)

    def f(self, t, y):
        return self.drift(self.with_time(t, y))

    def g(self, t, y):
        if self.noise_type == "additive":
            y = torch.zeros_like(y)
        value = 0.3 + 0.5 * self.spread(self.with_time(t, y))
        return value if self.noise_type == "diagonal" else value.reshape(y.shape[0], 3, self.motions)

    def h(self, t, y):
        return torch.tanh(y) + t.to(y.dtype)


class Elementwise(Neural):
    """Diffusions whose entry i depends on entry i of the state, for which torchsde's Milstein step is right."""

    def g(self, t, y):
        if self.noise_type in ("additive", "general"):
            return super().g(t, y)
        value = 0.5 + 0.4 * torch.cos(2 * y + t.to(y.dtype))
        return value if self.noise_type == "diagonal" else value.unsqueeze(-1)
