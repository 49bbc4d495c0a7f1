"""Transformers that are trained by gradient and read as Python programs (arXiv 2306.01128).

model = TransformerProgram(ProgramConfig(tokens=problem.tokens, labels=problem.labels, length=7))
fit(model, problem.inputs, problem.targets, steps=1000)
print(to_python(discretise(model)))
"""

from omniform.analysis.programs.discrete import DiscreteProgram, Head, Lookup, Variable, discretise
from omniform.analysis.programs.emission import to_python
from omniform.analysis.programs.model import PADDING, ProgramConfig, TransformerProgram
from omniform.analysis.programs.problems import Problem, make_histogram, make_reverse, make_sort
from omniform.analysis.programs.relaxation import Choose, Relaxed, hardest
from omniform.analysis.programs.training import accuracy, fit

__all__ = [
    "PADDING",
    "Choose",
    "DiscreteProgram",
    "Head",
    "Lookup",
    "Problem",
    "ProgramConfig",
    "Relaxed",
    "TransformerProgram",
    "Variable",
    "accuracy",
    "discretise",
    "fit",
    "hardest",
    "make_histogram",
    "make_reverse",
    "make_sort",
    "to_python",
]
