"""What bandit finds in code: its own engine, run in this process on syntax trees; nothing is executed."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from omniform.errors import PluginError

__all__ = ["security_issues"]


def security_issues(code: bytes) -> list[Any]:
    """Return bandit's issues (`bandit.core.issue.Issue`) in code that parses; `# nosec` cannot silence it.

    Raises:
        PluginError: bandit is not installed.
    """
    return _engine()(code)


@cache
def _engine() -> Callable[[bytes], list[Any]]:
    """Load bandit's tests once; what it logs about formats of reports that it cannot load is no concern here."""
    for name in ("bandit", "stevedore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of how bandit loads its tests
            from bandit.core import config, meta_ast, metrics, node_visitor, test_set
    except ImportError:
        raise PluginError('this needs bandit, which is not installed; run pip install "omniform[codegen]"') from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tests, tree = test_set.BanditTestSet(config.BanditConfig(), {}), meta_ast.BanditMetaAst()

    def issues(code: bytes) -> list[Any]:
        measured = metrics.Metrics()
        measured.begin("snippet.py")
        visitor = node_visitor.BanditNodeVisitor("snippet.py", io.BytesIO(code), tree, tests, False, {}, measured)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the code, not about us
            visitor.process(code)
        return visitor.tester.results

    return issues
