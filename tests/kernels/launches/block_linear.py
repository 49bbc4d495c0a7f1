import torch

from omniform_kernels.block_linear import block_linear


def launch():
    packed, bias = torch.zeros(192, 512, dtype=torch.uint8), torch.zeros(192)
    for format, dtype, N, blocks in (
        ("e2m1", torch.bfloat16, 200, 8),
        ("int4", torch.bfloat16, 1, 32),
        ("e3m0", torch.float32, 200, 8),
    ):
        x = torch.zeros(N, 1024, dtype=dtype, requires_grad=True)
        block_linear(x, packed, torch.ones(192, blocks), bias, format=format, backend="triton").sum().backward()
