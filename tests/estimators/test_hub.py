"""Estimators go to a hub and come back; the hub is a small server on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import motet
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EITSettings

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub that are needed; `files` are by repository and name."""

    files: dict[str, bytes]

    def log_message(self, *_):
        pass

    def send(self, content, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        here = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            repo = json.loads(body)["name"]
            answer = {"url": f"{here}/me/{repo}", "id": f"me/{repo}", "name": f"me/{repo}"}
        elif "/preupload/" in self.path:
            found = json.loads(body)["files"]
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in found]}
        elif "/commit/" in self.path:
            repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[f"{repo}/{line['value']['path']}"] = base64.b64decode(line["value"]["content"])
            answer = {"commitUrl": f"{here}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
        else:
            answer = {}
        self.send(json.dumps(answer).encode(), Content_Type="application/json")

    def do_GET(self):
        repo, resolve, rest = self.path.removeprefix("/").partition("/resolve/")
        content = self.files.get(f"{repo}/{rest.partition('/')[2]}") if resolve else None
        if content is None:
            self.send(b"{}", 404, X_Error_Code="RepoNotFound")
            return
        self.send(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The files of a hub that runs while the test does."""
    files: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"files": files}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield files
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def decoder():
    side = np.arange(16) % 2
    values = np.random.default_rng(0).poisson(1.0 + 3 * side[:, None, None], (16, 4, 3))
    recording = Recording.from_trials(values, targets={"side": side}, bin_seconds=0.02)
    model = EITSettings(width=4)
    return motet.EITClassifier("side", model=model, members=2, training=motet.TrainingSettings(max_steps=1)).fit(
        recording
    ), recording


def test_a_decoder_comes_back_from_the_hub_as_it_went(hub, decoder, tmp_path):
    fitted, recording = decoder
    run = motet.Run(tmp_path / "run")
    run.write_settings(
        {"recordings": ["/home/me/secret/subject.npz", "reach/chewie-1"], "output": "/home/me", "seed": 3}
    )
    run.write_results({"accuracy": 0.9})
    run.write_table("| accuracy |\n|--:|\n| .900 |")
    url = fitted.push_to_hub("me/sides", run=run, licence="cc-by-4.0", token="t")
    assert url.endswith(f"/me/sides/commit/{COMMIT}")
    assert hub.keys() == {"me/sides/README.md", "me/sides/weights.safetensors"}
    again = motet.EITClassifier.from_pretrained("me/sides")
    np.testing.assert_array_equal(again.predict_proba(recording), fitted.predict_proba(recording))
    card = hub["me/sides/README.md"].decode()
    assert card.startswith("---\nlicense: cc-by-4.0\nlibrary_name: motet\n")
    for words in (
        "motet.EITClassifier.from_pretrained('me/sides')",
        "- `subject.npz`\n- `reach/chewie-1`\n- individuals that were learned from: 4",
        "- seconds of a bin: 0.02",
        "## Scores\n\n| accuracy |",
        "seed: 3",
    ):
        assert words in card
    assert "/home" not in card


def test_a_card_needs_no_run(hub, decoder):
    decoder[0].push_to_hub("me/plain", token="t")
    card = hub["me/plain/README.md"].decode()
    assert "license: unknown" in card
    assert "members: 2" in card
    assert "## Scores" not in card


def test_what_is_downloaded_passes_the_checks_of_a_local_file(hub, decoder):
    decoder[0].push_to_hub("me/sides", token="t")
    with pytest.raises(InputError, match="holds a EITClassifier"):
        motet.EITRegressor.from_pretrained("me/sides")
    content = bytearray(hub["me/sides/weights.safetensors"])
    content[-1] ^= 1
    hub["me/damaged/weights.safetensors"] = bytes(content)
    with pytest.raises(InputError, match="damaged"):
        motet.EITClassifier.from_pretrained("me/damaged")
    hub["me/pickle/weights.safetensors"] = b"\x80\x04\x95cos\nsystem\n."
    with pytest.raises(InputError, match="damaged"):
        motet.EITClassifier.from_pretrained("me/pickle")


def test_a_folder_is_loaded_without_a_hub_and_what_is_not_there_is_one_refusal(hub, decoder, tmp_path, monkeypatch):
    fitted, recording = decoder
    fitted.save(tmp_path / "run")
    again = motet.EITClassifier.from_pretrained(tmp_path / "run")
    np.testing.assert_array_equal(again.predict_proba(recording), fitted.predict_proba(recording))
    for name, said in (("me/nothing", "cannot be loaded from the hub"), ("nothing", "there is no folder nothing")):
        with pytest.raises(InputError, match=said):
            motet.EITClassifier.from_pretrained(name)
    with pytest.raises(InputError, match="cannot be pushed"):
        fitted.push_to_hub("me/no such name!", token="t")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'motet\[hub\]'"):
        fitted.push_to_hub("me/sides")
