"""The systems of this domain, a row each."""

from __future__ import annotations

from omniform.specs import Ref, System

__all__ = ["SYSTEMS"]

SYSTEMS: tuple[System, ...] = (
    System(
        id="patch-encoder",
        kind="backbone",
        title="A Time Series is Worth 64 Words: Long-term Forecasting with Transformers (PatchTST)",
        paper="2211.14730",
        code=Ref("omniform_timeseries.models.patch_encoder:PatchEncoder"),
        check="tests/plugins/timeseries/test_models.py::test_patch_encoder_equals_a_straight_line_of_its_parts",
        domain="timeseries",
    ),
    System(
        id="itransformer",
        kind="backbone",
        title="iTransformer: Inverted Transformers Are Effective for Time Series Forecasting",
        paper="2310.06625",
        code=Ref("omniform_timeseries.models.itransformer:ITransformer"),
        check="tests/plugins/timeseries/test_models.py::test_itransformer_equals_torch_encoder_on_copied_weights",
        domain="timeseries",
    ),
    System(
        id="patchtsmixer",
        kind="backbone",
        title="TSMixer: Lightweight MLP-Mixer Model for Multivariate Time Series Forecasting",
        paper="2306.09364",
        code=Ref("omniform_timeseries.models.patchtsmixer:PatchTSMixer"),
        check="tests/plugins/timeseries/test_models.py::test_patchtsmixer_equals_transformers_on_copied_weights",
        domain="timeseries",
    ),
)
