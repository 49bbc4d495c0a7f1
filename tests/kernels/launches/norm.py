import torch

from omniform_kernels.norm import layer_norm, rms_norm


def launch():
    for dtype in (torch.float32, torch.bfloat16):
        x, residual = (torch.zeros(8, 1000, dtype=dtype, requires_grad=True) for _ in range(2))
        weight, bias = (torch.zeros(1000, dtype=dtype, requires_grad=True) for _ in range(2))
        for y, total in (
            rms_norm(x, weight, residual=residual, backend="triton"),
            layer_norm(x, weight, bias, backend="triton"),
        ):
            (y.sum() + total.sum()).backward()
