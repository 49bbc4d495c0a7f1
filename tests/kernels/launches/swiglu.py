import torch

from omniform_kernels.swiglu import swiglu


def launch():
    for dtype in (torch.float32, torch.bfloat16):
        gate, up = torch.zeros(8, 5504, dtype=dtype, requires_grad=True).chunk(2, dim=-1)
        swiglu(gate, up, backend="triton").sum().backward()
