import torch

from omniform_kernels.binary_linear import binary_linear


def launch():
    weight, scale, bias = torch.zeros(192, 16, dtype=torch.int64), torch.ones(192), torch.zeros(192)
    for dtype in (torch.float32, torch.bfloat16):
        for N in (1, 200):
            x = torch.zeros(N, 1000, dtype=dtype, requires_grad=True)
            binary_linear(x, weight, scale, bias, backend="triton").sum().backward()
            binary_linear(x, weight, scale, activations="sign", backend="triton")
