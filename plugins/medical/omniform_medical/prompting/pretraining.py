"""Pre-training of SAM's image encoder on the images at hand: fill in what is hidden.

Shapes: N images, B batch, S side, P patch, `(h, w)` tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform_medical.prompting.image_encoder import ImageEncoder

__all__ = ["pretrain"]

_HIDDEN = 0.6
_BATCH = 16
_RATE = 1e-3


def pretrain(encoder: ImageEncoder, images: Tensor, *, steps: int) -> None:
    """Train the layers of an encoder to predict hidden patches of images `(N, 3, S, S)`, for some steps.

    60 % of the patches are replaced by a learned token; a linear map of what the layers make of the others predicts
    their pixels, by the mean absolute error (SimMIM, arXiv 2111.09886). SAM's own encoder began as a masked
    autoencoder. The neck, which follows the layers, stays as it was.
    """
    patch = images.shape[-1] // encoder.pos_embed.shape[1]
    width = encoder.pos_embed.shape[-1]
    token = nn.Parameter(torch.zeros(width, device=images.device))
    head = nn.Linear(width, 3 * patch**2, device=images.device)
    learned = [encoder.patch_embed, encoder.layers]
    frozen = [p for p in encoder.parameters() if not p.requires_grad]
    parameters = [encoder.pos_embed, token, *head.parameters(), *(p for part in learned for p in part.parameters())]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, _RATE, weight_decay=0.05)
    for _ in range(steps):
        batch = images[torch.randint(len(images), (_BATCH,), device=images.device)]
        loss = _loss(encoder, batch, token, head, patch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None


def _loss(encoder: ImageEncoder, images: Tensor, token: Tensor, head: nn.Linear, patch: int) -> Tensor:
    tokens = encoder.tokens(images)  # (B, h, w, D)
    hidden = torch.rand(tokens.shape[:-1], device=images.device) < _HIDDEN
    tokens = torch.where(hidden[..., None], token + encoder.pos_embed, tokens)
    for layer in encoder.layers:
        tokens = layer(tokens)
    truth = F.pixel_unshuffle(images, patch).movedim(1, -1)  # (B, h, w, 3 P^2)
    return F.l1_loss(head(tokens)[hidden], truth[hidden])
