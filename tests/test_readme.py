"""The README's Python runs as it stands, but for a budget of five steps."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tsdata")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert 'budget="1m"' in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace('budget="1m"', 'budget="5", progress=False'), "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "ridge" in shown
    assert "demand" in shown
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing, f"{page} names what is not there: {missing}"
