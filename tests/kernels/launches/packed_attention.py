import torch

from omniform_kernels.packed_attention import packed_attention


def launch():
    offsets = torch.tensor([0, 3, 8])
    for dtype, D, causal in (
        (torch.bfloat16, 128, False),
        (torch.bfloat16, 256, True),
        (torch.float32, 128, True),
    ):
        q, k, v = (torch.zeros(8, heads, D, dtype=dtype, requires_grad=True) for heads in (4, 2, 2))
        slopes = torch.ones(4) if D == 128 else None
        packed_attention(q, k, v, offsets, causal=causal, slopes=slopes, backend="triton").sum().backward()
