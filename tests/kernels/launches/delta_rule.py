import torch

from omniform_kernels.delta_rule import delta_rule


def launch():
    packed = torch.tensor([0, 70, 100])
    for dtype, D, cu_seqlens in (
        (torch.bfloat16, 64, None),
        (torch.bfloat16, 128, None),
        (torch.bfloat16, 64, packed),
        (torch.float32, 64, None),
        (torch.float32, 128, None),
    ):
        q, k, v = (torch.zeros(1, 100, 2, D, dtype=dtype, requires_grad=True) for _ in range(3))
        beta, log_decay = (torch.zeros(1, 100, 2, requires_grad=True) for _ in range(2))
        out, state = delta_rule(q, k, v, beta, log_decay, cu_seqlens=cu_seqlens, backend="triton")
        (out.sum() + state.sum()).backward()
        with torch.no_grad():
            delta_rule(*(tensor[:, :1] for tensor in (q, k, v, beta, log_decay)), backend="triton")
