from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.losses import gaussian_entropy, kl_standard_normal, reparameterise
from aegen_bench.blocks.nets import Nets


class VAE(Baseline):
    """Variational auto-encoder (Kingma & Welling 2014, arXiv:1312.6114; eq. 2 of the paper).

    Loss: beta * 0.5 SSE + KL(q(z|x) || N(0, I)) with one posterior sample; p(x|z) is a Gaussian of variance 1/beta.
    The second half of the encoder's head is the log-variance. Images are decoder means, without pixel noise.
    """

    def __init__(self, nets: Nets, *, beta: float = 1.0) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(2 * nets.d), nets.decoder()
        self.beta = beta

    def step(self, x: Tensor, index: Tensor) -> Updates:
        mu, logvar = self.encoder(x).chunk(2, 1)
        z = reparameterise(mu, logvar, self.randn(*mu.shape))
        self.log("entropy", gaussian_entropy(logvar).mean())
        self.log("posterior_variance", logvar.exp().mean())
        yield (
            "model",
            {
                "reconstruction": self.beta * self.recon(self.decoder(z), x),
                "kl": kl_standard_normal(mu, logvar).mean(),
            },
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)[:, : self.nets.d]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
