"""Run untrusted Python: in Linux namespaces, on a read-only root, under limits and a filter of system calls."""

from omniform_codegen.sandbox.limits import Limits
from omniform_codegen.sandbox.outcome import Outcome, Status
from omniform_codegen.sandbox.sandbox import Sandbox

__all__ = ["Limits", "Outcome", "Sandbox", "Status"]
