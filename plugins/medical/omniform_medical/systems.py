"""The medical domain's rows of the zoo. Imports nothing heavy."""

from __future__ import annotations

from omniform.specs import Ref, System

__all__ = ["SYSTEMS"]

_TESTS = "tests/plugins/medical"

SYSTEMS = (
    System(
        id="lightm-unet",
        kind="dense-head",
        title="LightM-UNet: Mamba Assists in Lightweight UNet for Medical Image Segmentation",
        paper="2403.05246",
        code=Ref("omniform_medical.models.lightm_unet:LightMUNet"),
        check=f"{_TESTS}/models/test_lightm_unet.py::test_layer_equals_a_sequential_scan",
        domain="medical",
    ),
    System(
        id="mambaclinix",
        kind="dense-head",
        title="MambaClinix: Hierarchical Gated Convolution and Mamba-Based U-Net for Enhanced 3D Medical Image "
        "Segmentation",
        paper="2409.12533",
        code=Ref("omniform_medical.models.mambaclinix:MambaClinix"),
        check=f"{_TESTS}/models/test_gated_convolution.py::test_equals_the_recursion_written_out",
        domain="medical",
    ),
    System(
        id="med3d",
        kind="pretraining",
        title="Med3D: Transfer Learning for 3D Medical Image Analysis",
        paper="1904.00625",
        code=Ref("omniform_medical.models.med3d:CoTraining"),
        check=f"{_TESTS}/models/test_med3d.py::test_other_branches_gradients_are_exactly_zero",
        domain="medical",
    ),
    System(
        id="dense-transformer-networks",
        kind="dense-head",
        title="Dense Transformer Networks",
        paper="1705.08881",
        code=Ref("omniform_medical.models.dense_transformer:DenseTransformerNetwork"),
        check=f"{_TESTS}/models/test_dense_transformer.py::test_without_displacement_it_is_the_plain_unet_to_the_bit",
        domain="medical",
    ),
    System(
        id="diamant",
        kind="dense-head",
        title="DIAMANT: Dual Image-Attention Map Encoders For Medical Image Segmentation",
        paper="2304.14571",
        code=Ref("omniform_medical.models.diamant:Diamant"),
        check=f"{_TESTS}/models/test_diamant.py::test_without_the_attention_branch_it_is_the_plain_unet",
        domain="medical",
    ),
    System(
        id="sam-unet",
        kind="domain-system",
        title="SAM-UNet: Enhancing Zero-Shot Segmentation of SAM for Universal Medical Images",
        paper="2408.09886",
        code=Ref("omniform_medical.prompting.sam_unet:SamUNet"),
        check=f"{_TESTS}/prompting/test_sam_unet.py::test_with_closed_gates_it_is_sam_to_the_bit",
        domain="medical",
    ),
    System(
        id="dct-histotransformer",
        kind="backbone",
        title="DCT-HistoTransformer: Efficient Lightweight Vision Transformer with DCT Integration for "
        "histopathological image analysis",
        paper="2410.19166",
        code=Ref("omniform_medical.classification.models.dct_histotransformer:DCTHistoTransformer"),
        check=f"{_TESTS}/classification/models/test_dct_histotransformer.py::"
        "test_all_frequencies_through_an_identity_are_the_map_itself",
        domain="medical",
    ),
    System(
        id="duoformer",
        kind="backbone",
        title="DuoFormer: Leveraging Hierarchical Representations by Local and Global Attention Vision Transformer",
        paper="2506.12982",
        code=Ref("omniform_medical.classification.models.duoformer:DuoFormer"),
        check=f"{_TESTS}/classification/models/test_duoformer.py::"
        "test_both_mixings_equal_torchs_encoders_on_copied_weights",
        domain="medical",
    ),
    System(
        id="fetal-plane",
        kind="domain-system",
        title="Efficient Feature Extraction Using Light-Weight CNN Attention-Based Deep Learning Architectures for "
        "Ultrasound Fetal Plane Classification",
        paper="2410.17396",
        code=Ref("omniform_medical.classification.models.fetal_plane:FetalPlane"),
        check=f"{_TESTS}/classification/models/test_fetal_plane.py::test_a_block_equals_transformers_on_copied_weights",
        domain="medical",
    ),
)
