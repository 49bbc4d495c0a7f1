r"""Where a network looked for a class: Grad-CAM.

.. math::
    L = \operatorname{relu}\left(\sum_d \alpha_d A_d\right), \qquad
    \alpha_d = \frac{1}{h w} \sum_{ij} \frac{\partial z_c}{\partial A_{dij}}

with A the coarsest map of the features and z_c the logit of class c. Source: Selvaraju et al., arXiv 1610.02391.

Shapes: B batch, C channels, H x W pixels, D width, h x w places, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_medical.classification.models import Classifier

__all__ = ["grad_cam"]


def grad_cam(model: Classifier, pictures: Tensor, classes: Tensor) -> Tensor:
    """Return heat maps `(B, H, W)` from 0 to 1 for one class of each picture; all 0 where nothing speaks for it.

    Maps other than the coarsest are held as they are. The places of the map are interpolated to pixels; a model that
    pads pictures pads them below and to the right, and what lies there is cut off.

    Args:
        model: in eval mode.
        pictures: `(B, C, H, W)` as the model takes them.
        classes: `(B,)` indices.
    """
    with torch.no_grad():
        *finer, last = model.features(pictures)
    with torch.enable_grad():
        last = last.detach().requires_grad_()
        logits = model.classify((*finer, last)).float()
        (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), last)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * last.detach()).sum(dim=1, keepdim=True).relu()  # (B, 1, h, w)
    height, width = pictures.shape[2:]
    patch = getattr(model, "patch", 1)
    padded = (height + -height % patch, width + -width % patch)
    heat = F.interpolate(heat.float(), padded, mode="bilinear", align_corners=False)[:, 0, :height, :width]
    most = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(most > 0, most, 1.0)
