"""Whether generated programs are right: HumanEval and MBPP, run in the sandbox, as pass@k."""

from omniform_codegen.evaluation.completions import complete_problems
from omniform_codegen.evaluation.pass_at_k import pass_at_k, score
from omniform_codegen.evaluation.problems import HUMAN_EVAL, Problem, is_problems, read_problems
from omniform_codegen.evaluation.runner import Results, Verdict, judge
from omniform_codegen.evaluation.samples import read_samples, write_results, write_samples

__all__ = [
    "HUMAN_EVAL",
    "Problem",
    "Results",
    "Verdict",
    "complete_problems",
    "is_problems",
    "judge",
    "pass_at_k",
    "read_problems",
    "read_samples",
    "score",
    "write_results",
    "write_samples",
]
