import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class RAEGMM(Baseline):
    """Regularised auto-encoder and a Gaussian mixture on its codes (Ghosh et al. 2020, arXiv:1903.12436; paper, B.5).

    Loss: 0.5 SSE + gamma ||z||^2. After training, 10 full Gaussians are fitted to the codes of the training set.

    Deviation: the decoder is not regularised, as in the paper's version of the method. The paper calls the penalty a
    "norm"; it is interpreted as the squared norm. The mixture is fitted to standardised codes, because gamma shrinks
    them so much that scikit-learn's reg_covar would matter.

    The pair of the trunk `rae` and the prior `gmm` is the same model except for rounding, since it standardises in
    float32. This is a separate method because probes sample it during training, with a mixture fitted to the codes of
    the moment (the curves of `rae_gamma` and the budget curves), whereas the trunk of a pair is finished before its
    prior begins.
    """

    def __init__(self, nets: Nets, *, gamma: float = 0.5, components: int = 10) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.gamma, self.components = gamma, components
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, nets.d))
        self.register_buffer("factors", torch.eye(nets.d).repeat(components, 1, 1))

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield (
            "model",
            {
                "reconstruction": self.recon(self.decoder(z), x),
                "penalty": self.gamma * z.square().sum(1).mean(),
            },
        )

    def fit(self, codes: Tensor) -> None:
        z = codes.double().cpu()
        center, scale = z.mean(0), z.std(0).clamp_min(1e-12)
        mixture = GaussianMixture(self.components, max_iter=2000, random_state=int(self.randint(2**31 - 1, 1)))
        mixture.fit(((z - center) / scale).numpy())
        self.weights.copy_(torch.from_numpy(mixture.weights_))
        self.means.copy_(torch.from_numpy(mixture.means_) * scale + center)
        self.factors.copy_(scale[:, None] * torch.linalg.cholesky(torch.from_numpy(mixture.covariances_)))
        self.log("mixture_converged", float(mixture.converged_))
        self.log("mixture_iterations", float(mixture.n_iter_))

    def noise(self, n: int) -> Tensor:
        return torch.cat([self.rand(n, 1), self.randn(n, self.nets.d)], 1)

    def prior(self, e: Tensor) -> Tensor:
        edges = self.weights.cumsum(0)[:-1].contiguous()
        k = torch.searchsorted(edges, e[:, 0].contiguous())  # inverse CDF of the component
        return self.means[k] + (self.factors[k] @ e[:, 1:, None])[..., 0]

    def log_prior(self, z: Tensor) -> Tensor:
        parts = torch.distributions.MultivariateNormal(self.means, scale_tril=self.factors)
        mixing = torch.distributions.Categorical(self.weights)
        return torch.distributions.MixtureSameFamily(mixing, parts).log_prob(z)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
