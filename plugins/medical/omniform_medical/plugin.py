"""What the medical domain hands to the host. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from omniform.hookspecs import hookimpl
from omniform.specs import Domain, Ref, System, TaskEntry, Verb
from omniform_medical.systems import SYSTEMS

__all__ = ["DOMAIN"]

DOMAIN = Domain(
    name="medical",
    title="Medical images",
    summary="Segment volumes, from prompts too, and classify planes, each beside simple floors.",
    tasks=(
        TaskEntry(
            name="segment",
            summary="Name every voxel of a volume.",
            task=Ref("omniform_medical.task:Segment"),
        ),
        TaskEntry(
            name="prompt",
            summary="Segment what a box or a point marks in a plane.",
            task=Ref("omniform_medical.prompting.task:Prompt"),
        ),
        TaskEntry(
            name="classify",
            summary="Say what a picture shows: the plane of a scan, the tissue of a slide.",
            task=Ref("omniform_medical.classification.task:Classify"),
        ),
    ),
    verbs=(
        Verb(
            name="check",
            summary="Say what a data set holds and what is wrong with it.",
            command=Ref("omniform_medical.cli.check:check"),
        ),
        Verb(
            name="plan",
            summary="Plan spacing, patch, batch and depth from the training cases, with a reason for each.",
            command=Ref("omniform_medical.cli.plan:plan"),
        ),
        Verb(
            name="segment",
            summary="Segment files, with volumes, confidence and overlays.",
            command=Ref("omniform_medical.cli.segment:segment"),
        ),
        Verb(
            name="prompt",
            summary="Segment what a box or a point marks in an image.",
            command=Ref("omniform_medical.cli.prompt:prompt"),
        ),
        Verb(
            name="classify",
            summary="Say what pictures show, with heat maps of where the network looked.",
            command=Ref("omniform_medical.cli.classify:classify"),
        ),
        Verb(
            name="cases",
            summary="Score a run case by case and label by label, the floor beside.",
            command=Ref("omniform_medical.cli.cases:cases"),
        ),
        Verb(
            name="bundle",
            summary="Write a run as a MONAI bundle.",
            command=Ref("omniform_medical.cli.bundle:bundle"),
        ),
        Verb(
            name="co-train",
            summary="Train one encoder on several data sets, for --model med3d --encoder.",
            command=Ref("omniform_medical.cli.co_train:co_train"),
        ),
        Verb(
            name="cross-validate",
            summary="Train a run for each fold, and score every case by the run that did not see it.",
            command=Ref("omniform_medical.cli.cross_validate:cross_validate"),
        ),
    ),
    app=Ref("omniform_medical.app:page"),
    demo=Ref("omniform_medical.demo:run"),
    extra="medical",
    requires=("monai", "nibabel", "SimpleITK", "pydicom", "highdicom", "nilearn"),
)


@hookimpl
def omniform_domains() -> Sequence[Domain]:
    return (DOMAIN,)


@hookimpl
def omniform_systems() -> Sequence[System]:
    return SYSTEMS
