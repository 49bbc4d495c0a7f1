import torch

from omniform_kernels.neighborhood_attention import neighborhood_attention

SQUARE = {"grid": (5, 6), "kernel_size": (3, 3), "stride": (2, 1)}
CUBE = {"grid": (3, 4, 5), "kernel_size": (3, 3, 3), "dilation": (1, 1, 2), "causal": (True, False, False)}


def launch():
    for D in (32, 64, 128):
        run(D, torch.bfloat16, biased=D == 64, **SQUARE)
    run(128, torch.float32, biased=True, **CUBE)
    run(64, torch.bfloat16, biased=False, grid=(9,), kernel_size=(5,), causal=(True,))


def run(D, dtype, biased, grid, **options):
    q, k, v = (torch.zeros(1, *grid, 2, D, dtype=dtype, requires_grad=True) for _ in range(3))
    if biased:
        options["bias"] = torch.zeros(2, *(2 * size - 1 for size in options["kernel_size"]), requires_grad=True)
        options["mask"] = torch.ones(1, *grid, dtype=torch.bool)
    neighborhood_attention(q, k, v, **options, backend="triton").sum().backward()
