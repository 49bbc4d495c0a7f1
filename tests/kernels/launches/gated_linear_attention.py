import torch

from omniform_kernels.gated_linear_attention import gated_linear_attention


def launch():
    for dtype, D, sequences in ((torch.float32, 128, None), (torch.bfloat16, 64, torch.tensor([0, 30, 70]))):
        q, k, v = (torch.zeros(1, 70, 2, D, dtype=dtype, requires_grad=True) for _ in range(3))
        for shape in ((1, 70, 2), (1, 70, 2, D)):
            decay = torch.zeros(shape, requires_grad=True)
            out, state = gated_linear_attention(q, k, v, decay, cu_seqlens=sequences, backend="triton")
            (out.sum() + state.sum()).backward()
