"""Messages on the command line: no argument of Python in them, the file they are about, and what may be done."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import zvae_tiled
from tests.cli.decoding import files
from tests.support.running import run, save_latents
from zvae_tiled.cli.app import zvae
from zvae_tiled.cli.spoken import spoken
from zvae_tiled.files.journal import Journal
from zvae_tiled.files.work_folder import remove_command

PYTHON = re.compile(r"\b[a-z_]+=|\b(VAE|vae|zvae_tiled)\.[a-z]|Latents\(|set_default_vae")
"""What only a program can write."""

ELSEWHERE = (
    "api.py",  # decode_tiled
    "adapters/comfyui_words.py",  # what ComfyUI is told instead
    "adapters/triton_end.py",  # a script of the shell
    "order.py",
    "devices/forks.py",
    "inputs/arrays.py",  # output_type=, raw=
    "planner/make.py",  # the command line plans the decode of rows
    "report/chart.py",  # SVG
    "sinks/caller.py",  # file objects
    "sinks/stream.py",
    "sinks/targets.py",
    "sinks/texts.py",  # texts of a program's own
    "weights/content.py",  # a program that converts a pickle
    "weights/modules.py",
)
"""Files whose messages no command prints."""
ONLY_PROGRAMS = (
    "asynchronous=False",  # said of a Dask client that a program has
    "torch_dtype=",  # said of diffusers' pipeline
    "can be pickled",
    "pickle that VAE",
    "decoder_only=False",
    "keep=None",
    "Load one: VAE.",
    "Load it first",  # said of the VAE that a program gives an order
    "read_plan",
    "task=",
    "video=True",
)
"""Parts of messages that no command prints."""


def texts(node: ast.AST) -> list[str]:
    """The texts of an expression, with a word in place of each value."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        parts = [str(each.value) if isinstance(each, ast.Constant) else "word" for each in node.values]
        return ["".join(parts)]
    return [text for child in ast.iter_child_nodes(node) for text in texts(child)]


def called(function: ast.expr) -> str:
    """The last name of what is called."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def messages() -> list[tuple[str, str]]:
    """Every text that an error is made with, and other texts that look like advice."""
    root = Path(zvae_tiled.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        name = str(path.relative_to(root))
        if name.startswith("cli/") or name in ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            raised = isinstance(node, ast.Call) and re.search(r"Error$|^error$", called(node.func))
            advice = isinstance(node, ast.Return | ast.Assign) and not isinstance(node.value, ast.Call)
            if (raised or advice) and not isinstance(node, ast.FunctionDef):
                found += [(name, text) for text in texts(node) if PYTHON.search(text) and " " in text.strip()]
    return found


def test_no_message_of_the_library_speaks_python_on_the_command_line() -> None:
    found = [(name, text) for name, text in messages() if not any(part in text for part in ONLY_PROGRAMS)]
    assert len(found) >= 10, "the search sees no messages"
    assert [(name, text) for name, text in found if PYTHON.search(spoken(text))] == []


def test_no_message_and_no_help_names_a_page_that_a_wheel_does_not_hold() -> None:
    page = re.compile(r"\w\.(md|rst)\b|\bdocs/|\bREADME\b")
    sources = [path.read_text() for path in Path(zvae_tiled.__file__).parent.rglob("*.py")]
    trees = [ast.parse(source) for source in sources if page.search(source)]
    assert trees, "docstrings and comments name pages, for those who read the source"
    for tree in trees:
        bare = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
        said = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in bare]
        assert [text for text in said if isinstance(text, str) and page.search(text)] == []
    public = [getattr(zvae_tiled, name) for name in zvae_tiled.__all__]
    shown = [*public, *(member for each in public if isinstance(each, type) for member in vars(each).values())]
    texts = [f"{getattr(each, '__doc__', '')}" for each in shown] + [f"{each.help}" for each in zvae.commands.values()]
    assert [text for text in texts if page.search(text)] == []


def test_values_stand_behind_the_names_of_options() -> None:
    assert (
        spoken("begun with disk_limit=10GB, here disk_limit=20GB")
        == "begun with --disk-limit 10GB, here --disk-limit 20GB"
    )
    assert spoken('Raise disk_limit= to "5GB"') == 'Raise --disk-limit to "5GB"'
    for path in ("/mnt/spill_folder/new", "/mnt/disk_limit.png", "a/my-disk_limit/b", "cat,width=1024.npy", "x/work=1"):
        assert spoken(f"there is no folder {path}") == f"there is no folder {path}"


def test_every_message_names_its_file_and_no_argument_of_python(place: Path) -> None:
    latents = np.load(place / "a.npy")
    np.save(place / "last.npy", latents.transpose(0, 2, 3, 1))
    np.save(place / "flat.npy", latents[0, 0])
    np.save(place / "nan.npy", latents * np.nan)
    np.save(place / "half.npy", np.full_like(latents, np.inf, np.float16))
    np.save(place / "other.npy", latents[:, :3])
    np.save(place / "whole.npy", latents.astype(int))
    save_file({"a": latents, "b": latents}, place / "two.safetensors")
    (place / "page.npy").write_text("<html>")
    for name in ("last", "flat", "nan", "half", "other", "whole", "two.safetensors", "page", "gone"):
        name = name if "." in name else f"{name}.npy"
        said = run("decode", name, "-o", "x.png", code=3).stderr
        assert name in said.splitlines()[0], said
        assert not PYTHON.search(said.replace("torch_dtype=", "")), said
    assert "--layout NHWC" in run("decode", "last.npy", "-o", "x.png", code=3).stderr
    assert "Name one with --tensor" in run("decode", "two.safetensors", "-o", "x.png", code=3).stderr
    run("decode", "a.npy", "-o", "a.png", "--save-plan", "plan.json", "-q")
    assert "it holds int64 (1, 4, 6, 10)" in run("decode", "whole.npy", "-o", "x.png", code=3).stderr
    (place / "no.json").write_text("nothing")
    for words, said in (
        (("a.npy", "--plan", "no.json"), "no.json: this is not a plan: it is no JSON"),
        (("b.npy", "--plan", "plan.json"), "b.npy: the plan was made for a height in pixels of 12, this decode has 10"),
        (("a.npy", "--height", "12"), "a.npy: packed latents need both --height and --width of the pic"),
        (("a.npy", "--width", "8", "--height", "8"), "--height and --width are the picture's, in pixels"),
        (("a.npy", "--tensor", "x"), "a.npy"),
    ):
        told = run("decode", *words, "-o", "x.png", code=3).stderr
        assert said in told
        assert not PYTHON.search(told), told
    assert "a.npy: " in run("decode", "a.npy", "-o", "x.png", "--budget", "1kB", code=4).stderr
    np.save(place / "long.npy", np.tile(latents, (1, 1, 30, 4)))
    told = run("compare", "long.npy", "--reference", "full", "--quality", "tiles", "--budget", "1kB", code=4).stderr
    assert "stream" not in told, "there are no rows to stream"
    told = run("decode", "a.npy", "-o", "x.webp", "--bits", "16", code=5).stderr
    assert "x.webp: --bits must be" in told


def test_without_a_vae_the_options_are_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZVAE_VAE")
    said = run("decode", "a.npy", "-o", "x.png", code=3).stderr
    assert "Name one with --vae, or set $ZVAE_VAE" in said
    assert not PYTHON.search(said)
    (place / "vae" / "config.json").unlink()
    said = run("decode", "a.npy", "-o", "x.png", "--vae", "vae", code=3).stderr
    assert "there is no config.json beside vae/diffusion_pytorch_model.safetensors" in said
    assert "Set --config to the path of a config.json" in said


def test_an_unknown_vae_is_told_the_presets(place: Path) -> None:
    said = run("decode", "a.npy", "-o", "x.png", "--vae", "flux", code=3).stderr
    assert "no preset called flux" in said
    assert "Did you mean flux1 or flux2" in said
    assert "Did you mean z-image?" in run("decode", "a.npy", "-o", "x.png", "--vae", "zimage", code=3).stderr
    assert "Did you mean demo?" in run("decode", "a.npy", "-o", "x.png", "--vae", "Demo1", code=3).stderr
    said = run("decode", "a.npy", "-o", "x.png", "--vae", "z-image", code=3).stderr
    assert "hf download Tongyi-MAI/Z-Image-Turbo vae/ model_index.json" in said
    assert "z-image" in said
    path, _, model = run("decode", "a.npy", "-o", "x.png", "--vae", "models/vae", code=3).stderr.partition(
        "Check the path."
    )
    assert f"there is no file and no folder {place / 'models' / 'vae'}, " in path
    assert "hf download models/vae" in model


def test_bad_files_do_not_stop_the_others(place: Path) -> None:
    (place / "bad.npy").write_bytes(b"no latents")
    np.save(place / "nan.npy", np.full((1, 4, 6, 10), np.nan, np.float32))
    said = run("decode", "bad.npy", "a.npy", "gone.npy", "nan.npy", "b.npy", "-o", "out/", code=3).stderr
    assert files(place / "out") == {"a.png", "b.png"}
    listed = said.partition("error: 3 of 5 files could not be decoded, as said above:")[2]
    assert [line.split()[0].rstrip(":") for line in listed.splitlines()[1:4]] == ["bad.npy", "gone.npy", "nan.npy"]
    assert said.count("No such file") == 1
    assert "written    out/b.png" in said
    assert "Try this" not in said
    assert "0 of" not in run("decode", "bad.npy", "gone.npy", "-o", "none/", code=3).stderr
    assert not (place / "none").exists(), "a failed command leaves no folder"


def test_what_exists_is_skipped(place: Path) -> None:
    save_latents(place / "c.npy", batch=2)
    (place / "out").mkdir()
    for name in ("a.png", "c-0.png"):
        (place / "out" / name).write_text("old")
    said = run("decode", "a.npy", "b.npy", "c.npy", "-o", "out/", "--skip-existing").stderr
    assert (place / "out" / "a.png").read_text() == "old"
    assert files(place / "out") == {"a.png", "b.png", "c-0.png", "c-1.png"}
    assert (place / "out" / "c-0.png").read_bytes()[:4] == b"\x89PNG", "the batch was not whole"
    assert "skipped    out/a.png: it exists" in said
    assert run("decode", "?.npy", "-o", "out/", "--skip-existing", "-q").output == ""
    assert "a.npy is an input" in run("decode", "a.npy", "-o", "a.npy", "--skip-existing", code=2).stderr


def test_a_missing_folder_is_named_and_the_command_that_makes_it_works(place: Path) -> None:
    for out in ("no dir/deep/e.png", "no dir/deep/"):
        said = run("decode", "a.npy", "-o", out, code=5).stderr
        assert "cannot be written: the folder 'no dir" in said or "cannot be written: the folder no dir" in said
        assert "Try this next:\n\n    mkdir -p 'no dir" in said
        assert f"&& zvae decode a.npy --output '{out}'" in said
    assert not (place / "no dir").exists()


def test_names_that_look_like_arguments_of_python_stay_as_they_are(place: Path) -> None:
    (place / "budget=4GB").mkdir()
    (place / "budget=4GB" / "x").touch()
    (place / "height=512.npy").write_bytes(b"no latents")
    said = run("decode", "a.npy", "-o", "x.png", "--work", "budget=4GB", code=5).stderr
    assert "budget=4GB holds x, so it is no work folder" in said
    for name in ("height=512.npy", "height=*.npy"):
        assert "height=512.npy" in run("decode", name, "-o", "x.png", code=3).stderr
    assert "height=512.npy" in run("inspect", "height=512.npy", code=3).stderr
    (place / "width=5.npy").write_bytes((place / "a.npy").read_bytes())
    (place / "width=5.png").touch()
    said = run("decode", "width=5.npy", "-o", "{stem}.png", "--no-overwrite", code=5).stderr
    assert "width=5.png: there is a file of that name" in said
    assert "or use --overwrite" in said
    assert "mkdir -p plan=x" in run("decode", "a.npy", "-o", "plan=x/x.png", code=5).stderr


def test_printed_commands_take_names_that_begin_with_a_dash(place: Path) -> None:
    said = run("decode", "a.npy", "-o", "-d/x.png", code=5).stderr
    assert "Create it: mkdir -p -- -d\n" in said
    assert "    mkdir -p -- -d && zvae decode a.npy --output -d/x.png\n" in said
    (place / "-w").mkdir()
    Journal(place / "-w" / "journal").close()
    assert remove_command(Path("-w")) == "zvae work --remove -- -w"
    run(*shlex.split(remove_command(Path("-w")))[1:])
    assert not (place / "-w").exists()
    latents = save_latents(place / "-a.npy", 40, 40)
    said = run("compare", "--", "-a.npy", "-a.npy", code=3).stderr
    assert "Decode them first: zvae decode -o picture.png -- -a.npy\n" in said
    latents.unlink()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["decode", "a.npy", "-o", "x.png", "--vae", "demo", "--config", "x.json"], "--config: --vae demo has"),
        (["encode", "a.npy", "-o", "x.npy", "--vae", "demo", "--config", "x.json"], "--config: --vae demo has"),
        (["decode", "a.npy", "-o", "x.png", "--vae", "pixel-space", "--config", "sd1"], "--config: --vae pixel-space"),
        (["plan", "64", "--vae", "z-image", "--config", "sd1"], "--config: --vae z-image has a config"),
        (["plan", "64", "--vae", "vae/config.json", "--config", "sd1"], "--config: --vae vae/config.json"),
        (["inspect", "vae", "--tensor", "a"], "--tensor: vae is a VAE"),
        (["inspect", "sdxl", "--tensor", "a"], "--tensor: sdxl is a VAE"),
        (["decode", "a.npy", "-o", "x.png", "--save-plan", "-"], "--save-plan: this is written into a file. Name one"),
        (["benchmark", "--submit-file", "-"], "--submit-file: this is written into a file. Name one"),
        (["selfcheck", "--submit-file", "-"], "--submit-file: this is written into a file. Name one"),
        (["decode", "a.npy", "-o", "-", "--skip-existing"], "remove --skip-existing"),
        (["decode", "a.npy", "-o", "-", "--no-overwrite"], "remove --skip-existing and --no-overwrite"),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_refused(place: Path, words: list[str], said: str) -> None:
    (place / "x.json").write_text("{}")
    np.save(place / "picture.npy", np.zeros((2, 2, 3), np.float32))
    assert said in run(*words, code=2, stdin=b"").stderr


def test_the_budget_to_try_next_is_enough_for_all_files(place: Path) -> None:
    save_latents(place / "-large.npy", 200, 200)
    said = run("decode", "-o", "{stem}.png", "--budget", "1MB", "--", "a.npy", "-large.npy", code=4).stderr
    needed = [int(number) for number in re.findall(r"needs at least (\d+) MB", said)]
    assert min(needed) < max(needed)
    assert f"--budget {max(needed)}MB -- a.npy -large.npy\n" in said.partition("Try this next")[2]


@pytest.mark.parametrize(
    ("words", "of"),
    [
        (["decode", "a.npy", "-o", "x.png", "--vae", ""], "'--vae'"),  # would take the weights of this folder
        (["decode", "a.npy", "-o", ""], "'--output' / '-o'"),
        (["decode", "a.npy", "", "-o", "x/"], "'LATENTS...'"),
        (["decode", "a.npy", "-o", "x.png", "--work="], "'--work'"),
        (["inspect", ""], "'VAE|LATENTS'"),
        (["work", "--remove", ""], "'[FOLDERS]...'"),
    ],
)
def test_the_empty_word_of_an_unset_variable_is_not_the_current_folder(place: Path, words: list[str], of: str) -> None:
    before = files(place)
    assert f"Invalid value for {of}: It is empty. Is a variable of the shell not set?" in run(*words, code=2).stderr
    assert files(place) == before
