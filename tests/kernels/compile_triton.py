"""Compile an op's Triton kernels for a GPU that need not be here: `python compile_triton.py OP ARCH`.

The op's launches (`launches/OP.py`) are made as on a GPU, forward and backward, but each is compiled instead of run.
Prints a JSON object: the shared memory in bytes of each kernel.
"""

import importlib.util
import inspect
import json
import os
import sys
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from omniform_kernels import backends


class NoDevice:
    """As much of a driver as compiling asks for."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)


def compile_launches(op: str, arch: int) -> dict[str, int]:
    """Return the shared memory of every kernel that the op's launches need, by the kernel's name."""
    driver.set_active(NoDevice(arch))
    shared: dict[str, int] = {}
    run = JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        shared[self.__name__] = max(shared.get(self.__name__, 0), kernel.metadata.shared)
        return kernel

    JITFunction.run = compile_only
    backends._is_interpreted = lambda: True  # lets tensors on the CPU through; nothing is run
    path = Path(__file__).parent / "launches" / f"{op}.py"
    spec = importlib.util.spec_from_file_location(op, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.launch()
    return shared


def kernels(op: str) -> set[str]:
    """Return the names of the op's kernels: its jitted functions that are called `..._kernel`."""
    module = importlib.import_module(f"omniform_kernels.{op}.triton")
    found = inspect.getmembers(module, lambda value: isinstance(value, triton.JITFunction))
    return {value.__name__ for name, value in found if name.endswith("_kernel") and value.__module__ == module.__name__}


if __name__ == "__main__":
    name, architecture = sys.argv[1], int(sys.argv[2])
    compiled = compile_launches(name, architecture)
    missing = kernels(name) - compiled.keys()
    assert not missing, f"no launch needs {missing}"
    print(json.dumps(compiled))
