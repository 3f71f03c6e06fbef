"""Downloading Omniglot, against a server on loopback: whole, cut off, altered, refused, absent."""

import gc
import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pooch
import pytest

from maml_bench.data import store
from maml_bench.data.sources import omniglot
from maml_bench.errors import MamlBenchError

Files = dict[str, bytes]


class Server:
    """Serves ``content`` by file name; ``cut`` names a file of which only half is sent."""

    def __init__(self, content: Files) -> None:
        self.content, self.cut = content, ""
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                if name not in served.content:
                    self.send_error(404)
                    return
                body = served.content[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if name == served.cut else body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/python/"
        self.hashes = {name: f"md5:{hashlib.md5(body).hexdigest()}" for name, body in content.items()}


@pytest.fixture
def server(files: Files, as_zips: Callable[[Files], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Server({path.name: path.read_bytes() for path in sorted(as_zips(files).iterdir())})
    thread = threading.Thread(target=served.server.serve_forever, args=(0.02,))
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()
    gc.collect()  # a connection left open warns here, in the test that left it


def leftovers(scratch: Path) -> list[str]:
    return [path.name for path in scratch.iterdir() if path.suffix != ".lock"]


def refused(server: Server, home: Path, scratch: Path, pattern: str) -> None:
    with pytest.raises(MamlBenchError, match=pattern) as caught:
        omniglot.download(base_url=server.url, hashes=server.hashes)
    assert "\n" not in str(caught.value)
    assert "data add omniglot PATH" in str(caught.value)
    assert not home.exists()
    assert leftovers(scratch) == []


def test_a_download_is_stored_and_quiet(
    home: Path, server: Server, scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int, str]] = []
    level = pooch.get_logger().level
    manifest = omniglot.download(
        base_url=server.url, hashes=server.hashes, progress=lambda *step: seen.append(step), keep_105=True
    )
    assert store.verify("omniglot") == manifest
    assert "full105" in manifest.arrays
    for name, body in server.content.items():
        assert [step for step in seen if step[2] == f"downloading {name}"][-1] == (
            len(body),
            len(body),
            f"downloading {name}",
        )
    assert all(done <= total for done, total, _ in seen)
    assert seen[-1] == (80, 80, "reading drawings")
    assert leftovers(scratch) == []
    assert capfd.readouterr() == ("", "")
    assert pooch.get_logger().level == level != logging.CRITICAL


def test_the_defaults_are_the_official_files() -> None:
    assert omniglot.BASE_URL == "https://github.com/brendenlake/omniglot/raw/master/python/"
    assert omniglot.HASHES == {
        "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
    }


def test_a_cut_transfer(home: Path, server: Server, scratch: Path) -> None:
    server.cut = "images_evaluation.zip"
    refused(server, home, scratch, r"could not download .*images_evaluation\.zip .the transfer broke off")


def test_a_wrong_hash(home: Path, server: Server, scratch: Path) -> None:
    server.content["images_background.zip"] += b"!"
    refused(server, home, scratch, r"images_background\.zip sent has not the known checksum md5:.* was thrown away")


def test_a_missing_file(home: Path, server: Server, scratch: Path) -> None:
    del server.content["images_evaluation.zip"]
    refused(server, home, scratch, r"could not download .*images_evaluation\.zip .the server answered 404")


def test_a_refused_connection(home: Path, server: Server, scratch: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        refused(server, home, scratch, "could not download .*no connection to the server")


def test_an_interrupted_download_leaves_old_data(home: Path, server: Server, scratch: Path) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        omniglot.download(base_url=server.url, hashes=server.hashes, progress=interrupt)
    assert not home.exists()
    old = omniglot.download(base_url=server.url, hashes=server.hashes)
    server.cut = "images_background.zip"
    with pytest.raises(MamlBenchError, match="broke off"):
        omniglot.download(base_url=server.url, hashes=server.hashes)
    assert store.verify("omniglot") == old
    assert leftovers(scratch) == []
