"""C++ is built once, kept, and never required."""

import ctypes
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import omniform_kernels
from omniform_kernels import compiler
from omniform_kernels.compiler import Library

needs_compiler = pytest.mark.skipif(compiler.compiler() is None, reason="no C++ compiler here")

TWICE = """
#include "vector.h"
extern "C" void twice(int threads, const float* x, float* y, int64_t n, float scale) {
    #pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < n; ++i) y[i] = x ? 2 * scale * x[i] : -1;
}
extern "C" void exponentials(int threads, const float* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = omniform::exponential(x[i]);
}
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "twice" / "native.cpp"
    file.parent.mkdir()
    file.write_text(TWICE)
    return file


@needs_compiler
def test_builds_calls_and_keeps(source, capfd):
    library, x = Library(source), torch.randn(5)
    y = torch.empty_like(x)
    assert library.available()
    library.call("twice", x, y, 5, 1.5)
    assert torch.equal(y, 3 * x)
    library.call("twice", None, y, 5, 1.5)
    assert (y == -1).all()
    assert capfd.readouterr().err.count("built twice with") == 1
    assert Library(source).available()
    assert "built" not in capfd.readouterr().err, "kept from the first time"
    source.write_text(TWICE.replace("2 * scale", "4 * scale"))
    changed = Library(source)
    assert changed.available()
    changed.call("twice", x, y, 5, 1.5)
    assert torch.equal(y, 6 * x)


@needs_compiler
def test_builds_at_the_same_time_do_not_disturb_each_other(source, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(lambda _: Library(source).available(), range(3)))
    assert len(list((tmp_path / "cache" / "omniform" / "native").iterdir())) == 1


@needs_compiler
def test_what_does_not_compile_is_said_once(source, capfd):
    source.write_text("this is no C++")
    library = Library(source)
    assert not library.available()
    assert not library.available()
    assert capfd.readouterr().err.count("plain torch runs instead") == 1
    assert not list(Path(compiler._cache()).glob("*.so"))


def test_can_be_switched_off(source, monkeypatch):
    monkeypatch.setenv("OMNIFORM_NATIVE", "0")
    assert compiler.compiler() is None
    assert not Library(source).available()


@needs_compiler
def test_exponential_is_exact_to_two_units_in_the_last_place(source):
    """Over every exponent that does not give a subnormal number, and past both ends."""
    x = torch.cat([torch.linspace(-87.2, 88.6, 1_000_001), torch.tensor([0.0, -0.0, -1e30, -torch.inf])])
    y = torch.empty_like(x)
    library = Library(source)
    assert library.available()
    library.call("exponentials", x, y, len(x))
    exact = np.exp(x.double().numpy())
    spacing = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert (np.abs(y.double().numpy() - exact) / spacing)[:-2].max() <= 2
    assert y[-4:].tolist() == [1, 1, 0, 0]
    edges = torch.tensor([89.0, torch.inf, torch.nan])
    library.call("exponentials", edges, y, 3)
    assert torch.isposinf(y[:2]).all()
    assert torch.isnan(y[2])


@needs_compiler
def test_leaves_the_treatment_of_subnormal_numbers_alone(source):
    """A library linked with -ffast-math would flush them to zero in the whole process."""
    assert Library(source).available()
    assert (torch.tensor([1e-40]) * 0.5).item() > 0
    assert float(np.float32(1e-40) * np.float32(0.5)) > 0


@needs_compiler
def test_one_runtime_shares_the_threads():
    """A second OpenMP runtime would double the threads; torch's is found by its name."""
    script = (
        "import torch; from pathlib import Path; from omniform_kernels.compiler import Library\n"
        "from omniform_kernels import selective_scan\n"
        "x = torch.rand(1, 4, 8); torch.mm(torch.rand(300, 300), torch.rand(300, 300))\n"
        "selective_scan.selective_scan(x, x, -torch.rand(8, 4), torch.rand(1, 4, 4), torch.rand(1, 4, 4))\n"
        "maps = Path('/proc/self/maps').read_text()\n"
        "print(len({line.split()[-1] for line in maps.splitlines() if 'gomp' in line or 'libomp' in line}))"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("this system does not list what a process has loaded")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1
    assert ctypes.sizeof(ctypes.c_int64) == 8
    assert Path(omniform_kernels.__file__).with_name("vector.h").exists()
