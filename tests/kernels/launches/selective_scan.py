import torch

from omniform_kernels.selective_scan import selective_scan


def launch():
    A, D = -torch.ones(160, 16), torch.zeros(160, requires_grad=True)
    for dtype, packed in ((torch.float32, False), (torch.bfloat16, True)):
        x, dt, gate = (torch.zeros(1, 33, 160, dtype=dtype, requires_grad=True) for _ in range(3))
        B, C = (torch.zeros(1, 33, 16, dtype=dtype, requires_grad=True) for _ in range(2))
        skip = {"D": D, "gate": gate} if packed else {}
        cu_seqlens = torch.tensor([0, 3, 33]) if packed else None
        y, state = selective_scan(x, dt, A, B, C, **skip, cu_seqlens=cu_seqlens, reverse=packed, backend="triton")
        (y.sum() + state.sum()).backward()
