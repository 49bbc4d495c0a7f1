import torch

from omniform_kernels.decode_attention import decode_attention


def launch():
    lengths, mask = torch.tensor([3, 8]), torch.ones(2, 8, dtype=torch.bool)
    for dtype, H, D in ((torch.bfloat16, 16, 64), (torch.bfloat16, 4, 128), (torch.float32, 4, 256)):
        q, k, v = torch.zeros(2, H, D, dtype=dtype), *torch.zeros(2, 2, 8, 2, D, dtype=dtype)
        decode_attention(q, k, v, backend="triton")
        decode_attention(q, k, v, lengths, mask=mask, slopes=torch.ones(H), backend="triton")
