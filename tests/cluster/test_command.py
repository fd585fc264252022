"""`zvae decode` and `zvae encode` with workers: manifest, exit codes, what is refused, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.cluster.places import fill, pictures
from tests.support.running import COMMAND, environment, process, run
from zvae_tiled import demo
from zvae_tiled.cli.machines import Machines
from zvae_tiled.cluster import local
from zvae_tiled.cluster.local import connected, local_workers
from zvae_tiled.errors import ClusterError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZVAE_VAE", str(tmp_path / "vae"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0.npy", "-o", "out/", "--workers", "2", "--cluster", "tcp://here:1"], "remove one"),
        (["0.npy", "-o", "out/", "--workers", "2", "--allow-different", "kernels"], "--allow-different"),
        (["0.npy", "-o", "out/", "--workers", "0"], "--workers"),
        (["-", "-o", "out/", "--workers", "2"], "in place of -"),
        (["0.npy", "-o", "-", "--workers", "2"], "in place of -"),
        (["0.npy", "-o", "a.png", "--workers", "2", "--save-plan", "p.json"], "--save-plan"),
        (["0.npy", "-o", "zvae-manifest.jsonl", "--workers", "2"], "zvae-manifest.jsonl"),
        (["0.npy", "-o", "a.png", "--stripes"], "Add --workers or --cluster"),
        (["0.npy", "1.npy", "-o", "out/", "--workers", "2", "--stripes"], "name one file"),
    ],
)
def test_what_workers_cannot_do_is_refused_before_they_start(place: Path, words: list[str], said: str) -> None:
    result = run("decode", *words, code=5 if "zvae-manifest.jsonl" in words else 2)
    assert said in result.output
    assert not Path("out").exists()


def test_without_the_extra_the_command_that_installs_it_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = run("decode", "0.npy", "-o", "a.png", "--workers", "2", code=3)
    assert "this needs Dask (its package distributed)" in result.output
    assert "pip install 'zvae-tiled[cluster]'" in result.output
    assert not list(place.glob("zvae-manifest*")), "nothing was done, and nothing is left"


class Unclosable:
    """Stands in for a cluster or a client of Dask's that cannot be closed."""

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def __enter__(self) -> Unclosable:
        return self

    def __exit__(self, *error: object) -> None:
        raise TimeoutError


def stand_in(monkeypatch: pytest.MonkeyPatch, **names: object) -> None:
    """Put a module in the place of Dask's, whose import takes long."""
    dask = SimpleNamespace(Client=Unclosable, LocalCluster=Unclosable, **names)
    monkeypatch.setitem(sys.modules, "distributed", dask)
    monkeypatch.setitem(sys.modules, "dask.config", SimpleNamespace(set=lambda _: nullcontext()))


def test_workers_that_cannot_be_closed_hide_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    with pytest.raises(ClusterError, match="a worker does not answer"), local_workers(2):
        raise ClusterError("a worker does not answer")
    with local_workers(2) as client:
        assert isinstance(client, Unclosable)


@pytest.mark.parametrize("found", [None, FileNotFoundError("ca.pem")])
def test_tls_without_certificates_is_refused_before_a_connection(
    monkeypatch: pytest.MonkeyPatch, found: Exception | None
) -> None:
    def arguments(role: str) -> dict[str, object]:
        assert role == "client"
        if found is not None:
            raise found
        return {"ssl_context": None}

    stand_in(monkeypatch, Security=lambda: SimpleNamespace(get_connection_args=arguments))
    with pytest.raises(ClusterError, match="certificates") as caught, connected("tls://here:1"):
        pass
    assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"address": "tls://here:1"}', "certificates"),
        (b'{"address": 8786}', "names no address"),
        (b"[]", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_the_file_of_a_scheduler_is_checked_before_a_connection(
    content: bytes, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file := tmp_path / "scheduler.json").write_bytes(content)
    monkeypatch.setattr(local, "_WRITING", 0.1)
    stand_in(monkeypatch, Security=lambda: SimpleNamespace(get_connection_args=lambda role: {"ssl_context": None}))
    with pytest.raises(ClusterError, match=said), connected(str(file)):
        pass


def test_a_scheduler_that_writes_its_file_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "scheduler.json").touch()
    stand_in(monkeypatch, Security=lambda: SimpleNamespace(get_connection_args=lambda role: {"ssl_context": None}))
    writing = threading.Timer(0.5, file.write_text, ['{"address": "tls://here:1"}'])
    writing.start()
    with pytest.raises(ClusterError, match="certificates"), connected(str(file)):
        pass
    writing.join()


@pytest.mark.parametrize(("files", "started"), [(1, 1), (9, 8), (None, 8)])
def test_no_more_workers_start_than_there_are_files(
    monkeypatch: pytest.MonkeyPatch, files: int | None, started: int
) -> None:
    monkeypatch.setattr(local, "local_workers", nullcontext)
    with Machines(8, None, ()).client(files) as client:
        assert client == started


def test_a_command_starts_no_more_workers_than_it_has_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(count: int) -> Any:
        raise ClusterError(f"{count} are asked for")

    monkeypatch.setattr(local, "local_workers", refused)
    assert "1 are asked for" in run("decode", "0.npy", "-o", "out/", "--workers", "8", code=3).stderr


@pytest.mark.parametrize(("option", "value"), [("--plan", "p.json"), ("--disk-limit", "1GB"), ("--spill-folder", ".")])
def test_what_stripes_cannot_do_is_told_in_options(place: Path, option: str, value: str) -> None:
    Path("p.json").write_text(run("plan", "80x48", "--json", "--budget", "1GB").stdout)
    said = run("decode", "0.npy", "-o", "a.png", "--workers", "2", "--stripes", option, value, code=3).stderr
    assert f"{option} has no effect in stripes" in said
    assert f"Leave out {option}, or --stripes." in said


@pytest.mark.slow
def test_workers_decode_what_one_process_decodes_and_a_bad_file_is_a_row(place: Path) -> None:
    pytest.importorskip("distributed")
    names = ["0.npy", "1.npy", "bad.npy", "batch.npy"]
    run("decode", "0.npy", "1.npy", "batch.npy", "-o", "here/")
    done = process(["decode", *names, "-o", "out/", "--workers", "2"])
    assert done.returncode == 3, done.stderr
    assert b"1 of 4 files could not be decoded, as said above:\n       bad.npy\n" in done.stderr
    assert done.stderr.count(b"bad.npy: this VAE's latents have 4") == 1
    assert b"Traceback" not in done.stderr
    assert b"distributed" not in done.stderr
    manifest = Path("out/zvae-manifest.jsonl")
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert sorted((Path(row["source"]).name, row["state"]) for row in rows) == [
        *(("0.npy", "done"), ("1.npy", "done"), ("bad.npy", "failed"), ("batch.npy", "done")),
    ]
    manifest.rename("m.jsonl")
    assert pictures("out") == pictures("here")
    Path("out/1.png").unlink()
    again = process(["decode", *names[:2], "-o", "out/", "--workers", "1", "--skip-existing"])
    assert again.returncode == 0, again.stderr
    assert b"skipped    out/0.png" in again.stderr
    assert [json.loads(line)["targets"] for line in manifest.read_text().splitlines()] == [[str(place / "out/1.png")]]


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_leaves_nothing_half_written(place: Path) -> None:
    pytest.importorskip("distributed")
    for number in range(12):
        np.save(f"cat-{number}.npy", np.asarray(demo.latents("cat")))
    names = [f"cat-{number}.npy" for number in range(12)]
    words = ["decode", *names, "-o", "out/", "--vae", "demo", "--workers", "2"]
    with group([*COMMAND, *words]) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        os.killpg(running.pid, signal.SIGINT)
        said = first + running.stderr.read()
        assert running.wait() == 130, said
    assert b"interrupted: no unfinished files remain\n" in said
    assert re.search(rb"at least [1-9]\d* of \d+ are done, and their files are kept\. .* --skip-existing does", said)
    assert b"Traceback" not in said
    ends = time.monotonic() + 60
    while alive(running.pid) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not alive(running.pid)
    left = set(os.listdir("out")) - {"zvae-manifest.jsonl"}
    assert left
    assert all(name.endswith(".png") and not name.startswith(".") for name in left)
    rest = process([*words, "--skip-existing"])
    assert rest.returncode == 0, rest.stderr
    assert len({data for name, data in pictures("out").items() if name.endswith(".png")}) == 1


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_named(place: Path) -> None:
    pytest.importorskip("distributed")
    done = process(["decode", "0.npy", "-o", "a.png", "--cluster", "tcp://127.0.0.1:9"])
    assert done.returncode == 3, done.stderr
    assert b"no scheduler answers at tcp://127.0.0.1:9" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="it makes certificates with openssl")
def test_a_cluster_behind_tls_is_used_with_certificates_and_not_without(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    subject = ["-subj", "/CN=workers", "-days", "2", "-nodes"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", *subject, "-keyout", "k.pem", "-out", "c.pem"], check=True
    )
    parts = {
        f"tls_{role}_{part}": f"{part[0]}.pem" for role in ("client", "scheduler", "worker") for part in ("cert", "key")
    }
    security = distributed.Security(tls_ca_file="c.pem", require_encryption=True, **parts)
    settings = {"n_workers": 1, "threads_per_worker": 2, "memory_limit": 0, "dashboard_address": ":0"}
    with distributed.LocalCluster(security=security, protocol="tls://", host="127.0.0.1", **settings) as cluster:
        words = ["decode", "0.npy", "1.npy", "-o", "out/", "--cluster", cluster.scheduler_address]
        refused = process(words)
        assert refused.returncode == 3, refused.stderr
        assert b"needs certificates, and Dask's configuration does not name all of them" in refused.stderr
        monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", str(place / "c.pem"))
        monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT", str(place / "c.pem"))
        monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", str(place / "k.pem"))
        done = process(words)
        assert done.returncode == 0, done.stderr
    run("decode", "0.npy", "1.npy", "-o", "here/", "-q")
    Path("out/zvae-manifest.jsonl").unlink()
    assert pictures("out") == pictures("here")


@contextmanager
def group(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, as a terminal starts it."""
    running = subprocess.Popen(words, stderr=subprocess.PIPE, env=environment(), start_new_session=True)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert running.stderr is not None
        running.stderr.close()


def alive(number: int) -> bool:
    """Whether a process of this group still runs."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_encode_takes_many_pictures_and_a_bad_one_does_not_stop_the_others(place: Path) -> None:
    for name in ("a", "b"):
        np.save(f"{name}.npy", np.random.default_rng(ord(name)).random((12, 20, 3), np.float32))
    np.save("odd.npy", np.zeros((13, 20, 3), np.float32))
    words = ["a.npy", "odd.npy", "b.npy", "--dtype", "float32", "-q"]
    result = run("encode", *words, "-o", "out/", code=3)
    assert "1 of 3 files could not be encoded, as said above:\n       odd.npy\n" in result.stderr
    assert result.stderr.count("odd.npy: height and width") == 1
    assert "zvae encode odd.npy" not in result.stderr
    run("encode", "a.npy", "-o", "one.safetensors", "--dtype", "float32", "-q")
    done = pictures("out")
    assert done.keys() == {"a.safetensors", "b.safetensors"}
    assert done["a.safetensors"] == Path("one.safetensors").read_bytes() != done["b.safetensors"]
    assert "need a folder or a pattern" in run("encode", *words, "-o", "x.npz", code=2).stderr


def test_stripes_of_an_encode_need_workers_and_one_picture(place: Path) -> None:
    assert "Add --workers" in run("encode", "picture.png", "-o", "a.npz", "--stripes", code=2).stderr
    words = ["picture.png", "0.npy", "-o", "out/", "--workers", "2", "--stripes"]
    assert "name one file" in run("encode", *words, code=2).stderr


@pytest.mark.slow
def test_workers_encode_what_one_process_encodes(place: Path) -> None:
    pytest.importorskip("distributed")
    np.save("a.npy", np.random.default_rng(0).random((12, 20, 3), np.float32))
    run("encode", "a.npy", "picture.png", "-o", "here/", "-q")
    done = process(["encode", "a.npy", "picture.png", "-o", "out/", "--workers", "1"])
    assert done.returncode == 0, done.stderr
    Path("out/zvae-manifest.jsonl").unlink()
    assert pictures("out") == pictures("here")
