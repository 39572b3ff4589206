import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class GMM(Prior):
    """A mixture of 10 Gaussians with full covariances, by scikit-learn's EM (Ghosh et al. 2020, arXiv:1903.12436)."""

    def __init__(self, nets: Nets, *, components: int = 10) -> None:
        super().__init__(nets)
        self.components = components
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, nets.d))
        self.register_buffer("factors", torch.eye(nets.d).repeat(components, 1, 1))

    def fit(self, u: Tensor) -> None:
        mixture = GaussianMixture(self.components, max_iter=2000, random_state=int(self.randint(2**31 - 1, 1)))
        mixture.fit(u.double().cpu().numpy())
        self.weights.copy_(torch.from_numpy(mixture.weights_))
        self.means.copy_(torch.from_numpy(mixture.means_))
        self.factors.copy_(torch.linalg.cholesky(torch.from_numpy(mixture.covariances_)))
        self.log("mixture_converged", float(mixture.converged_))
        self.log("mixture_iterations", float(mixture.n_iter_))

    def noise(self, n: int) -> Tensor:
        return torch.cat([self.rand(n, 1), self.randn(n, self.nets.d)], 1)

    def sample(self, e: Tensor) -> Tensor:
        edges = self.weights.cumsum(0)[:-1].contiguous()
        k = torch.searchsorted(edges, e[:, 0].contiguous())  # inverse CDF of the component
        return self.means[k] + (self.factors[k] @ e[:, 1:, None])[..., 0]

    def log_prob(self, u: Tensor) -> Tensor:
        parts = MultivariateNormal(self.means, scale_tril=self.factors)
        return MixtureSameFamily(Categorical(self.weights), parts).log_prob(u)
