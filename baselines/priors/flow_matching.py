from collections.abc import Mapping

from torch import Tensor

from aegen_bench.blocks.latent import TimedMLP
from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class FlowMatching(Prior):
    """Flow matching (Lipman et al. 2023, arXiv:2210.02747) along straight lines from noise to codes.

    With u_t = (1 - t) e + t u and t ~ U[0, 1]: ||v(u_t, t) - (u - e)||^2 (their eq. 23 at sigma_min = 0).
    Sample: e ~ N(0, I), du/dt = v(u, t) from t = 0 to 1 by the midpoint rule.

    Deviation: as in all rows here, there is no moving average of the weights.
    """

    def __init__(self, nets: Nets, *, hidden_layers: int = 4, solver_steps: int = 50) -> None:
        super().__init__(nets)
        self.velocity = self.sized(lambda width: TimedMLP(nets.d, width=width, hidden_layers=hidden_layers))
        self.solver_steps = solver_steps

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        e, t = self.randn(*u.shape), self.rand(len(u))
        u_t = e + t[:, None] * (u - e)
        return {"velocity": (self.velocity(u_t, t) - (u - e)).square().sum(1).mean()}

    def sample(self, e: Tensor) -> Tensor:
        u, h = e, 1 / self.solver_steps
        for k in range(self.solver_steps):
            half = u + h / 2 * self.velocity(u, u.new_full((len(u),), k * h))
            u = u + h * self.velocity(half, u.new_full((len(u),), (k + 0.5) * h))
        self.log("function_evaluations", 2 * self.solver_steps)
        return u
