"""The doctor: its table of checks, and that it finds what is known to break."""

import importlib.util
import sys
import types

import pytest

from omniform import doctor
from omniform.doctor import CHECKS, Check, Finding, as_json, examine

TABLE = [
    "python",
    "torch",
    "gpu",
    "triton",
    "processor",
    "memory",
    "torchvision",
    "plugins",
    "extras",
    "app",
    "compiler",
]


def test_table_is_frozen():
    assert [check.name for check in CHECKS] == TABLE


def test_this_machine_can_be_examined():
    findings = examine()
    assert list(findings) == TABLE
    assert findings["torch"].detail.startswith(sys.modules["torch"].__version__)
    assert all(finding.detail for finding in findings.values())
    assert all(finding.remedy for finding in findings.values() if finding.status == "fault")


def test_raising_check_is_a_finding():
    def broken() -> Finding:
        raise OSError("no such device")

    findings = examine([Check("broken", broken), Check("fine", lambda: Finding("ok", "yes"))])
    assert findings["broken"].status == "fault"
    assert "no such device" in findings["broken"].detail
    assert findings["fine"].status == "ok"
    report = as_json(findings)
    assert report["healthy"] is False
    assert [check["name"] for check in report["checks"]] == ["broken", "fine"]


@pytest.mark.parametrize(("cuda", "status"), [(None, "fault"), ("12.8", "ok")])
def test_torchvision_beside_a_cpu_torch_is_a_fault(monkeypatch, cuda, status):
    torch = types.ModuleType("torch")
    torch.version = types.SimpleNamespace(cuda=cuda)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor, "version", lambda name: "0.1")
    [check] = [check for check in CHECKS if check.name == "torchvision"]
    finding = check.look()
    assert finding.status == status
    assert finding.remedy == ("pip uninstall torchvision" if status == "fault" else "")


def test_torchvision_is_not_installed_here():
    import torch

    if torch.version.cuda is None:
        assert importlib.util.find_spec("torchvision") is None


def test_failed_plugin_is_a_fault(install):
    install(broken="1 / 0")
    finding = examine([check for check in CHECKS if check.name == "plugins"])["plugins"]
    assert finding.status == "fault"
    assert "broken" in finding.detail


def test_memory_minds_the_limit_of_a_container(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    monkeypatch.setattr(doctor, "Path", lambda _: limit)
    [check] = [check for check in CHECKS if check.name == "memory"]
    assert check.look().detail.startswith("1.0 GiB of ")
    limit.write_text("max\n")
    assert " of " not in check.look().detail
