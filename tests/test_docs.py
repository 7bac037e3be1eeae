"""What the documentation says runs, and what it links to exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    ROOT.glob("docs/**/*.md")
)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page}: {target}"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("n_epochs", "steps_per_epoch"):
        monkeypatch.setattr(f"motet.training.settings.TrainingSettings.{name}", lambda settings, n_trials: 1)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile("\n".join(blocks), "README.md", "exec"), {})
    assert (tmp_path / "runs" / "first" / "weights.safetensors").exists()


def test_the_readme_names_only_verbs_that_exist():
    from motet.systems import SYSTEMS
    from motet.tasks import VERBS

    blocks = "".join(re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    for verb, word in re.findall(r"^motet (\w+) (\w+)", blocks, re.MULTILINE):
        assert f"{verb} {word}" in VERBS or (verb in VERBS and (verb != "simulate" or word in SYSTEMS))


def test_every_promise_of_security_is_held_by_tests_that_exist():
    rows = [row for row in (ROOT / "SECURITY.md").read_text().splitlines() if row.startswith("|")][2:]
    for row in rows:
        named = re.findall(r"`([\w/.]*)::(\w+)`", row.split("|")[2])
        assert named, row
        file = ""
        for path, test in named:
            file = path or file
            assert f"def {test}(" in (ROOT / file).read_text(), test
