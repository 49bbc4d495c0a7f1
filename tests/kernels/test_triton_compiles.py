"""Every Triton kernel compiles for the GPUs that it is meant for, within their shared memory; no GPU is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import omniform_kernels

HERE = Path(__file__).parent
SHARED_MEMORY = {
    80: 163 * 1024,
    90: 227 * 1024,
}  # bytes a block may have, by compute capability


OPS = sorted(path.parent.name for path in Path(omniform_kernels.__file__).parent.glob("*/triton.py"))


@pytest.mark.parametrize("arch", SHARED_MEMORY)
@pytest.mark.parametrize("op", OPS)
def test_every_kernel_compiles(op, arch):
    command = [sys.executable, str(HERE / "compile_triton.py"), op, str(arch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    shared = json.loads(done.stdout)
    assert shared
    assert max(shared.values()) <= SHARED_MEMORY[arch], shared
