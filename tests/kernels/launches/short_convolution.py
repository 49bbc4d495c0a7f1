import torch

from omniform_kernels.short_convolution import short_convolution


def launch():
    for dtype in (torch.float32, torch.bfloat16):
        for cu_seqlens, activation in ((None, "silu"), (torch.tensor([0, 3, 9]), None)):
            x = torch.zeros(1, 9, 200, dtype=dtype, requires_grad=True)
            S = 1 if cu_seqlens is None else 2
            state = torch.zeros(S, 3, 200, dtype=dtype, requires_grad=True)
            weight, bias = (torch.zeros(shape, requires_grad=True) for shape in ((200, 4), (200,)))
            options = {"initial_state": state, "activation": activation, "cu_seqlens": cu_seqlens}
            y, final = short_convolution(x, weight, bias, **options, backend="triton")
            (y.sum() + final.sum()).backward()
