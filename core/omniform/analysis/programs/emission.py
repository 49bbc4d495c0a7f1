"""Writing a discrete program down as a Python module that needs nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, product

from omniform.analysis.programs.discrete import DiscreteProgram, Head, Lookup, Variable
from omniform.analysis.programs.model import SCALE

__all__ = ["to_python"]

_WIDTH = 100

_HELPERS = '''\
def select_closest(queries, keys, matches):
    """Return for each query the place of the closest key that matches, the first where none does.

    Of two as close it is the left one; a token's own place comes behind all others.
    """
    return [
        closest(place, [other for other, key in enumerate(keys) if matches(query, key)])
        for place, query in enumerate(queries)
    ]


def closest(place, found):
    return min(found, key=lambda other: (other == place, abs(other - place), other), default=0)


def select_all(queries, keys, matches):
    """Return for each query the places of all keys that match."""
    return [[place for place, key in enumerate(keys) if matches(query, key)] for query in queries]


def aggregate(selected, values):
    return [values[place] for place in selected]


def aggregate_sum(selected, values):
    return [min(LARGEST, sum(values[place] for place in places)) for places in selected]


def classify(categorical, numerical):
    """Return for each token the label whose weights add up to most, the first of equals."""
    labels = []
    for place in range(len(categorical["token"])):
        rows = [(WEIGHTS[name][values[place]], 1) for name, values in categorical.items()]
        rows += [(WEIGHTS[name], values[place]) for name, values in numerical.items()]
        scores = [sum(row[label] * times for row, times in rows) for label in range(len(LABELS))]
        labels.append(LABELS[scores.index(max(scores))])
    return labels
'''


def to_python(program: DiscreteProgram) -> str:
    """Return a module whose `run(tokens)` labels tokens as the discretised network does.

    It has a predicate for each head, a function for each lookup, and the table of output weights. The same program
    gives the same text; only whole numbers and quoted names are written into it.

    Source: Friedman et al., arXiv 2306.01128. A token's own place comes behind all others, as in the paper's network;
    the code that the paper's converter emits ranks it by the number of matches instead.
    """
    modules = list(chain.from_iterable(program.layers))
    functions = (_predicate(module) if isinstance(module, Head) else _function(module) for module in modules)
    parts = [_constants(program), _HELPERS.splitlines(), *functions, _run(program)]
    head = [f'"""A transformer program of {len(modules)} modules: `run(tokens)` returns a label for each token."""', ""]
    return "\n".join(head) + "\n" + "\n\n\n".join("\n".join(part) for part in parts) + "\n"


def _constants(program: DiscreteProgram) -> list[str]:
    lines = _wrapped("TOKENS = (", map(_literal, program.tokens), ",)")
    lines += _wrapped("LABELS = (", map(_literal, program.labels), ",)")
    lines += [f"LENGTH = {program.length}  # tokens of the longest input"]
    lines += [f"LARGEST = {program.length}  # sums are cut there", ""]
    lines += [f"# what each value adds to the labels, in units of 1 / {SCALE}; a number's row is multiplied by it"]
    lines.append("WEIGHTS = {")
    for variable in program.variables:
        rows = program.weights[variable.name]
        if variable.numerical:
            lines += _indented(_wrapped(f"{_literal(variable.name)}: (", map(str, rows[0]), ",),"))
            continue
        lines.append(f"    {_literal(variable.name)}: {{")
        for value, row in zip(variable.values, rows, strict=True):
            lines += _indented(_wrapped(f"{_literal(value)}: (", map(str, row), ",),"), 2)
        lines.append("    },")
    return [*lines, "}"]


def _predicate(head: Head) -> list[str]:
    """Return the function that says whether a key is what the query asks for."""
    query, key = f"query_{head.query.name}", f"key_{head.key.name}"
    asking: dict[int, list[str]] = defaultdict(list)
    for value, partner in zip(head.query.values, head.partners, strict=True):
        if partner is not None:
            asking[partner].append(_literal(value))
    lines = [f"def {head.output.name}_matches({query}, {key}):"]
    for partner in sorted(asking):
        lines += _indented(_branch(query, asking[partner], f"{key} == {_literal(head.key.values[partner])}"))
    return [*lines, "    return False"]


def _function(lookup: Lookup) -> list[str]:
    """Return the function from inputs to output; the commonest output stands last, for all that is not listed."""
    names = _arguments(lookup.inputs)
    cases: dict[int, list[str]] = defaultdict(list)
    for case, output in zip(product(*(variable.values for variable in lookup.inputs)), lookup.table, strict=True):
        values = ", ".join(map(_literal, case))
        cases[output].append(values if len(case) == 1 else f"({values})")
    common = min(cases, key=lambda output: (-len(cases[output]), output))
    asked = names if len(lookup.inputs) == 1 else f"({names})"
    lines = [f"def {lookup.output.name}_of({names}):"]
    for output in sorted(cases.keys() - {common}):
        lines += _indented(_branch(asked, cases[output], str(lookup.output.values[output])))
    return [*lines, f"    return {lookup.output.values[common]}"]


def _branch(asked: str, values: Sequence[str], result: str) -> list[str]:
    """Return `if` one of the values: return the result."""
    if len(values) == 1:
        return [f"if {asked} == {values[0]}:", f"    return {result}"]
    return [*_wrapped(f"if {asked} in {{", values, ",}:"), f"    return {result}"]


def _run(program: DiscreteProgram) -> list[str]:
    """Return the function that runs the modules one after another."""
    lines = [
        "def run(tokens):",
        "    if len(tokens) > LENGTH or not set(tokens) <= set(TOKENS):",
        '        raise ValueError(f"expected at most {LENGTH} tokens out of {TOKENS}, got {tokens}")',
        "    token = list(tokens)",
        "    position = list(range(len(token)))",
        "    one = [1] * len(token)",
    ]
    for index, layer in enumerate(program.layers):
        lines += ["", f"    # layer {index}"]
        for module in layer:
            lines += _indented(_call(module))
    lines += ["", "    return classify("]
    for role, numerical in (("categorical", False), ("numerical", True)):
        names = [variable.name for variable in program.variables if variable.numerical == numerical]
        lines += [f"        {role}={{", *(f"            {_literal(name)}: {name}," for name in names), "        },"]
    return [*lines, "    )"]


def _call(module: Head | Lookup) -> list[str]:
    """Return the lines that compute a module's variable for all tokens."""
    name = module.output.name
    if isinstance(module, Lookup):
        inputs = _arguments(module.inputs)
        if len(module.inputs) == 1:
            return [f"{name} = [{name}_of(value) for value in {inputs}]"]
        return [f"{name} = [{name}_of(*values) for values in zip({inputs})]"]
    select, aggregate = ("all", "aggregate_sum") if module.output.numerical else ("closest", "aggregate")
    selected = f"select_{select}({module.query.name}, {module.key.name}, {name}_matches)"
    return [f"{name} = {aggregate}({selected}, {module.value.name})"]


def _arguments(variables: Iterable[Variable]) -> str:
    return ", ".join(variable.name for variable in variables)


def _literal(value: str | int) -> str:
    """Return a value as source, a string in double quotes unless it has some."""
    if isinstance(value, int) or '"' in value:
        return repr(value)
    return '"' + repr("'" + value)[2:]  # a single quote makes `repr` take double ones


def _indented(lines: Iterable[str], times: int = 1) -> list[str]:
    return ["    " * times + line for line in lines]


def _wrapped(opening: str, items: Iterable[str], closing: str) -> list[str]:
    """Lay out a bracketed list in one line where it fits, filled lines otherwise.

    The closing's comma follows the last item of a list that is broken, and the only item of a tuple.
    """
    listed = list(items)
    single = opening.endswith("(") and len(listed) == 1
    line = opening + ", ".join(listed) + (closing if single else closing[1:])
    if len(line) <= _WIDTH - 8:
        return [line]
    return [opening, *_indented(_filled(listed)), closing[1:]]


def _filled(items: Iterable[str]) -> Iterator[str]:
    """Break items, a comma behind each, into lines."""
    line = ""
    for item in items:
        if line and len(line) + len(item) + 2 > _WIDTH - 12:
            yield line
            line = ""
        line += f" {item}," if line else f"{item},"
    if line:
        yield line
