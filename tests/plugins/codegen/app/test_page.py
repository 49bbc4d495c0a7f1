"""The page, run headless: every tab works, results stay, mistakes are one line, and code stays text."""

import io
import json
import os
import subprocess
import zipfile

import numpy as np
import pytest

testing = pytest.importorskip("streamlit.testing.v1")
pytest.importorskip("tokenizers")

from omniform_codegen.api import load_language  # noqa: E402
from omniform_codegen.scanning.findings import Finding  # noqa: E402
from omniform_codegen.scanning.statements import Region  # noqa: E402

PREFIX = "codegen"


def _script():
    from omniform.workbench import Workbench
    from omniform_codegen.app import page

    page(Workbench(domain="codegen"))


@pytest.fixture
def app(monkeypatch):
    """The page, with a budget of two steps."""
    monkeypatch.setattr("omniform.workbench.fields._BUDGETS", ("2",))
    monkeypatch.setattr("omniform_codegen.app.training._BUDGET", "2")
    monkeypatch.setattr("omniform_codegen.app.training._PARAMS", 60_000)
    return testing.AppTest.from_function(_script, default_timeout=120)


@pytest.fixture
def archive(corpus):
    """Return the small corpus as a zip."""
    return _zip({file.path: file.content for file in corpus.files})


@pytest.fixture
def trained(app, archive):
    """The page with a model that was trained on the small corpus."""
    _upload(app, archive, "sources.zip")
    return _click(app, "small.go")


def _zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def _upload(app, content, name, slot="data", choice="upload"):
    app.run()
    app.radio(key=f"{PREFIX}.{slot}.source").set_value(choice).run()
    app.file_uploader(key=f"{PREFIX}.{slot}.upload").set_value((name, content, "application/octet-stream")).run()
    assert not app.exception
    return app


def _click(app, key):
    app.button(key=f"{PREFIX}.{key}").click().run()
    assert not app.exception
    return app


def _write(app, text):
    app.text_area(key=f"{PREFIX}.write.text").set_value(text).run()
    assert not app.exception
    return app


def _said(app):
    return [error.value.replace("\\", "") for error in app.error]


def _html(app):
    return "".join(element.proto.body for element in app.get("html"))


def _one_line(app, text):
    (error,) = _said(app)
    assert text in error
    assert "\n" not in error
    assert "omniform-" not in error


def test_the_page_opens_on_the_sample_with_marks_beside_weak_lines(app):
    app.run()
    assert not app.exception
    assert not app.error
    assert [tab.label for tab in app.tabs] == ["Write", "Train", "Compare", "Personalise", "Scan"]
    assert int({metric.label: metric.value for metric in app.metric}["Packages"]) > 30
    assert any("**Line 13**" in text.value and "CWE-89" in text.value for text in app.markdown)
    (findings,) = [frame.value for frame in app.dataframe]
    assert findings["type"].tolist() == ["CWE-798", "CWE-295", "CWE-502", "CWE-78", "CWE-327"]


def test_the_example_is_small_enough_to_wait_for(app):
    app.run()
    size = {metric.label: metric.value for metric in app.metric}["Size"]
    assert 1.0 < float(size.removesuffix(" MB")) < 4.0


def test_marks_follow_what_is_written_up_to_the_cursor(app):
    app.run()
    _write(app, "import os\nos.system('rm ' + name)\n")
    assert any("**Line 2**" in text.value and "CWE-78" in text.value for text in app.markdown)
    _write(app, "import os\nfiles = os.listdir(name)\n")
    assert not any("**Line 2**" in text.value and "CWE-78" in text.value for text in app.markdown)
    _write(app, "import os\nos.system('rm ' + name<CURSOR>")
    assert any("**Line 2**" in text.value and "CWE-78" in text.value for text in app.markdown)


def test_code_stays_text(app):
    app.run()
    _write(app, "</pre><script>alert(1)</script><img src=x onerror=alert(2)>")
    assert "<script>alert" not in _html(app)
    assert "<img" not in _html(app)
    assert "&lt;script&gt;alert" in _html(app)


def test_a_model_suggests_and_what_is_accepted_stands_in_the_editor(trained):
    assert not trained.error
    scores = next(frame.value for frame in trained.dataframe if "role" in frame.value.columns)
    assert {"attention", "ngram", "retrieval"} == set(scores[""])
    assert {"bits_per_byte", "exact_match", "edit_similarity"} <= set(scores.columns)
    gaps = next(frame.value for frame in trained.dataframe if "truth" in frame.value.columns)
    assert {"attention", "ngram"} <= set(gaps.columns)

    _write(trained, "import os\n\ndef alpha(beta):\n    return <CURSOR>\n\nx = 1\n")
    _click(trained, "write.go")
    assert not trained.error
    told = trained.session_state[f"{PREFIX}.write.outcome"][1][""]
    assert 1 <= len(told) <= 3
    assert len({each.text for each in told}) == len(told)
    assert all(0 <= chance <= 1 for each in told for _, chance in each.pieces)
    assert all("".join(text for text, _ in each.pieces) == each.text for each in told)
    assert "Probability of each token" in _html(trained)
    place = next(place for place, each in enumerate(told) if each.text)
    _click(trained, f"write.insert..{place}")
    text = trained.text_area(key=f"{PREFIX}.write.text").value
    assert text == f"import os\n\ndef alpha(beta):\n    return {told[place].text}<CURSOR>\n\nx = 1\n"


def test_weak_suggestions_come_last(trained, monkeypatch):
    def proposed(language, prompts, sampling):
        from omniform_codegen.generation import Completion

        texts = (b"os.system('rm ' + name)", b"None", b"0")
        return [Completion(text, (), (), "stop") for text in texts[: len(prompts)]]

    monkeypatch.setattr("omniform_codegen.app.writing.generate", proposed)
    _write(trained, "import os\nx = ")
    _click(trained, "write.go")
    told = trained.session_state[f"{PREFIX}.write.outcome"][1][""]
    assert [(each.text, each.weak) for each in told] == [("None", False), ("os.system('rm ' + name)", True)]


def test_the_run_that_was_trained_opens_again_as_a_folder(trained, tmp_path):
    zipfile.ZipFile(io.BytesIO(trained.session_state[f"{PREFIX}.small.outcome"][1].trial.archive)).extractall(tmp_path)
    assert b"omniform-" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*.json"))
    assert load_language(tmp_path / "run").context == 256
    trained.radio(key=f"{PREFIX}.model.source").set_value("a folder on this machine").run()
    trained.text_input(key=f"{PREFIX}.model.folder").set_value(str(tmp_path / "run")).run()
    assert not trained.exception
    assert not trained.error
    _click(trained, "write.go")
    assert not trained.error


class _Judge:
    """A scanner that takes the second line for weak."""

    def scan(self, text, *, file="-", threshold=0.5):
        return (Finding(file, Region(2, 1, 2, 5), "CWE-95", "code injection", "Bad.", "Mend it.", 0.72),)

    def weakness(self, prefixes):
        return np.zeros(len(prefixes))


def test_a_trained_scanner_says_how_sure_it_is(app, monkeypatch):
    monkeypatch.setattr("omniform_codegen.app.models._load_judge", lambda folder: _Judge())
    app.run()
    for slot in ("write", "scan"):
        app.radio(key=f"{PREFIX}.{slot}.judge").set_value("a trained run of the task scan").run()
        app.text_input(key=f"{PREFIX}.{slot}.folder").set_value("runs/scan").run()
    assert not app.exception
    assert not app.error
    assert [text.value for text in app.markdown if "**Line 2**" in text.value and "72% sure" in text.value]
    assert next(frame.value for frame in app.dataframe if "sure" in frame.value)["sure"].tolist() == [0.72]


@pytest.mark.parametrize(
    ("key", "choice", "field", "text"),
    [
        ("model.source", "a folder on this machine", "model.folder", "expected a folder on this machine, got no/where"),
        ("write.judge", "a trained run of the task scan", "write.folder", "expected a folder on this machine"),
        ("data.source", "folder", "data.folder", "no file or folder"),
    ],
)
def test_a_folder_that_is_none_is_one_line(app, key, choice, field, text):
    app.run()
    app.radio(key=f"{PREFIX}.{key}").set_value(choice).run()
    app.text_input(key=f"{PREFIX}.{field}").set_value("no/where").run()
    assert not app.exception
    _one_line(app, text)


def test_a_file_alone_cannot_be_split_and_says_so(app):
    _upload(app, b"x = 1\n" * 100, "mine.py")
    _click(app, "small.go")
    _one_line(app, "package")


def test_a_broken_archive_is_one_line(app):
    _upload(app, b"PK\x03\x04 no zip", "mine.zip")
    _one_line(app, "mine.zip")


def test_files_are_scanned_and_handed_out_as_sarif(app):
    weak = b"import pickle\nvalue = pickle.load(file)\n"
    _upload(app, _zip({"pkg/a.py": weak, "pkg/b.py": b"x = 1\n", "c.py": weak}), "code.zip", slot="scan")
    _click(app, "scan.go")
    assert not app.error
    told = app.session_state[f"{PREFIX}.scan.outcome"][1]
    results = json.loads(told.log)["runs"][0]["results"]
    places = [each["locations"][0]["physicalLocation"] for each in results]
    assert {(place["artifactLocation"]["uri"], place["region"]["startLine"]) for place in places} == {
        ("pkg/a.py", 2),
        ("c.py", 2),
    }
    assert any("2 findings in 3 files" in text.value for text in app.markdown)


def test_one_scanned_file_has_its_own_name(app):
    _upload(app, b"eval(input())\n", "mine.py", slot="scan")
    _click(app, "scan.go")
    assert [each.file for each in app.session_state[f"{PREFIX}.scan.outcome"][1].findings] == ["mine.py"]


def test_a_record_is_opened(app):
    row = {"before": 2.0, "after": 1.5, "difference": -0.5, "interval": [-0.7, -0.3], "units": 30}
    record = {
        "verdict": "Gain: much.",
        "metrics": {
            "bits_per_byte": row | {"lower_is_better": True, "outcome": "better"},
            "exact_match": row | {"interval": None, "lower_is_better": False, "outcome": "unsure"},
        },
    }
    old = "open what was measured before"
    _upload(app, json.dumps(record).encode(), "personalization.json", slot="personalize", choice=old)
    assert not app.error
    table = next(frame.value for frame in app.dataframe if "after is" in frame.value.columns)
    assert table["after is"].tolist() == ["better", "not shown to differ"]
    assert any(info.value == "Gain: much." for info in app.info)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"verdict": "", "metrics": {"a": {}}}', b'{"verdict": "", "metrics": {}}', b"\xff"],
)
def test_a_broken_record_is_one_line(app, content):
    _upload(app, content, "mine.json", slot="personalize", choice="open what was measured before")
    _one_line(app, "expected the personalization.json")


@pytest.mark.slow
def test_mixers_are_compared(app, archive):
    _upload(app, archive, "sources.zip")
    app.multiselect(key=f"{PREFIX}.compare.mixers").set_value(["attention", "convmixer"]).run()
    _click(app, "compare.go")
    assert not app.error
    rows = next(frame.value for frame in app.dataframe if "level with the best" in frame.value.columns)
    assert {"attention", "ngram", "retrieval"} <= set(rows[""])
    assert any("convmixer failed" in warning.value for warning in app.warning)


@pytest.mark.slow
def test_a_model_is_personalised_and_suggests_before_and_after(trained, corpus, tmp_path):
    repository = _repository(tmp_path / "project", corpus)
    trained.text_input(key=f"{PREFIX}.personalize.repository").set_value(str(repository)).run()
    _click(trained, "personalize.go")
    assert not trained.error
    table = next(frame.value for frame in trained.dataframe if "after is" in frame.value.columns)
    assert table[""].tolist()[0] == "bits per byte"
    told = trained.session_state[f"{PREFIX}.personalize.outcome"][1]
    names = zipfile.ZipFile(io.BytesIO(told.archive)).namelist()
    assert "personalization/personalization.json" in names
    assert "personalization/adapter_model.safetensors" in names
    _click(trained, "write.go")
    assert list(trained.session_state[f"{PREFIX}.write.outcome"][1]) == ["Before", "Personalised"]


def test_a_folder_without_a_history_is_one_line(trained, tmp_path):
    trained.text_input(key=f"{PREFIX}.personalize.repository").set_value(str(tmp_path)).run()
    _click(trained, "personalize.go")
    (error,) = _said(trained)
    assert "\n" not in error


def _repository(folder, corpus):
    """Return a repository with a commit for each file."""
    folder.mkdir()
    who = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b.c",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b.c",
    }

    def git(*words):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env=os.environ | who)

    git("init", "-q")
    for file in corpus.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        git("add", "-A")
        git("commit", "-q", "-m", "more")
    return folder
