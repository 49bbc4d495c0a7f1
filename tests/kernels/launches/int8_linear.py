import torch

from omniform_kernels.int8_linear import int8_linear


def launch():
    weight, scale, bias = torch.zeros(192, 1000, dtype=torch.int8), torch.ones(192), torch.zeros(192)
    for dtype in (torch.float32, torch.bfloat16):
        for N in (1, 200):
            x = torch.zeros(N, 1000, dtype=dtype, requires_grad=True)
            int8_linear(x, weight, scale, bias, threshold=6.0, backend="triton").sum().backward()
            int8_linear(x, weight, scale, backend="triton")
