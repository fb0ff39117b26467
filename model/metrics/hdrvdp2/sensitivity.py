"""The neural contrast sensitivity function, nCSF (Mantiuk et al. 2011, Section 4.4 and Table 1).

Legend: L adapting luminance in cd/m2; rho spatial frequency in cycles per visual degree.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.metrics.hdrvdp2.interpolation import Nodes, Table, equally_spaced

# L, then p1 to p4 there.
PARAMETERS = np.array(
    [
        [0.002, 0.991265, 3.74038, 0.50722, 4.46044],
        [0.02, 0.800889, 3.54104, 0.682505, 4.94958],
        [0.2, 0.476505, 4.37453, 0.750315, 5.28678],
        [2.0, 0.405782, 4.40602, 0.935314, 5.61425],
        [20.0, 0.334278, 3.79542, 1.07327, 6.4635],
        [150.0, 0.394533, 2.7755, 1.16577, 7.45665],
    ]
)
LOG_RANGE = (-5.0, 5.0)  # of log10 L in the tables
NODES = 256


def ncsf(rho: Tensor, L: Tensor) -> Tensor:
    """Return the neural contrast sensitivity at frequencies and luminances that broadcast; 0 at rho = 0."""
    p1, p2, p3, p4 = (column.to(rho.device) for column in parameters(L))
    return p4 * torch.sqrt((1 - torch.exp(-((rho / 7) ** 2))) ** p3 / (1 + (p1 * rho) ** p2))


def parameters(L: Tensor) -> tuple[Tensor, ...]:
    """Return p1 to p4, each of the shape of L: linear in log10 L between the nodes, constant beyond them."""
    x, nodes = L.cpu().log10().numpy(), np.log10(PARAMETERS[:, 0])
    return tuple(torch.as_tensor(np.interp(x, nodes, column)) for column in PARAMETERS[:, 1:].T)


def sensitivity_table(rho: float) -> Table:
    """Return the nCSF at one frequency over log10 L."""
    L = torch.from_numpy(10.0 ** equally_spaced(*LOG_RANGE, NODES))
    values: Nodes = ncsf(torch.tensor(rho, dtype=torch.float64), L).numpy()
    return Table(*LOG_RANGE, values)
