"""The code domain's rows of the zoo. Imports nothing heavy."""

from __future__ import annotations

from omniform.specs import Ref, System

__all__ = ["SYSTEMS"]

_TESTS = "tests/plugins/codegen"

SYSTEMS = (
    System(
        id="edittime-vuln",
        kind="domain-system",
        title="Transformer-based Vulnerability Detection in Code at EditTime: Zero-shot, Few-shot, or Fine-tuning?",
        paper="2306.01754",
        code=Ref("omniform_codegen.scanning.task:Scan"),
        check=f"{_TESTS}/scanning/test_detection.py::test_a_trained_scanner_beats_bandit_on_families_it_never_saw",
        domain="codegen",
    ),
    System(
        id="personalized-codegen",
        kind="adaptation",
        title="Exploring and Evaluating Personalized Models for Code Generation",
        paper="2208.13928",
        code=Ref("omniform_codegen.personalization.tuning:personalize"),
        check=f"{_TESTS}/personalization/test_tuning.py::test_only_what_is_declared_changes",
        domain="codegen",
    ),
    System(
        id="franc",
        kind="domain-system",
        title="A Lightweight Framework for High-Quality Code Generation",
        paper="2307.08220",
        code=Ref("omniform_codegen.franc.framework:Franc"),
        check=f"{_TESTS}/franc/test_static_filter.py::test_damage_is_mended",
        domain="codegen",
    ),
    System(
        id="structural-recursion",
        kind="analysis",
        title="Transformer-Based Models Are Not Yet Perfect At Learning to Emulate Structural Recursion",
        paper="2401.12947",
        code=Ref("omniform_codegen.recursion.task:Recursion"),
        check=f"{_TESTS}/recursion/test_functions.py::test_steps_lead_to_the_value",
        domain="codegen",
    ),
)
