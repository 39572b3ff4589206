from typing import Any

from torch import Tensor

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.latent import Standardise, TimedMLP
from aegen_bench.blocks.nets import Nets


class LatentFlowMatching(Baseline):
    """Flow matching (Lipman et al. 2023, arXiv:2210.02747) on the codes of a plain auto-encoder.

    Stage `train`: 0.5 SSE(x, G(E(x))). Stage `prior`, on the standardised codes u of the finished encoder: noise e and
    u joined by a straight line, u_t = (1 - t) e + t u with t ~ U[0, 1], and ||v(u_t, t) - (u - e)||^2 (their eq. 23 at
    sigma_min = 0). Sample: e ~ N(0, I), du/dt = v(u, t) from t = 0 to 1 by the midpoint rule, then G.

    Deviation: as in every row here, no moving average of the weights.
    """

    def __init__(self, nets: Nets, *, width: int = 512, hidden_layers: int = 4, solver_steps: int = 50) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.standard = Standardise(nets.d)
        self.velocity = TimedMLP(nets.d, width=width, hidden_layers=hidden_layers)
        self.solver_steps = solver_steps

    def stages(self) -> list[Stage]:
        return [
            Stage("train", self.step),
            Stage("prior", self.prior_step, data="codes", start=self.standard.fit),
        ]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield "model", {"reconstruction": self.recon(self.decoder(z), x)}

    def prior_step(self, z: Tensor, index: Tensor) -> Updates:
        u, e, t = self.standard(z), self.randn(*z.shape), self.rand(len(z))
        u_t = e + t[:, None] * (u - e)
        yield "prior", {"velocity": (self.velocity(u_t, t) - (u - e)).square().sum(1).mean()}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {
            "model": [{"params": [*self.encoder.parameters(), *self.decoder.parameters()]}],
            "prior": [{"params": self.velocity.parameters()}],
        }

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def prior(self, e: Tensor) -> Tensor:
        u, h = e, 1 / self.solver_steps
        for k in range(self.solver_steps):
            half = u + h / 2 * self.velocity(u, u.new_full((len(u),), k * h))
            u = u + h * self.velocity(half, u.new_full((len(u),), (k + 0.5) * h))
        self.log("function_evaluations", 2 * self.solver_steps)
        return self.standard.inverse(u)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
