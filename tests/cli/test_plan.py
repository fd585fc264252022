"""`zvae plan`: the library's plans, printed, as JSON, as a chart, and compared with one another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from tests.support.running import CONFIG, environment, run
from zvae_tiled import plan, read_plan
from zvae_tiled.cli.crowd import Crowd, crowd_plan
from zvae_tiled.devices.table import DEVICES, likely_device
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import config_of
from zvae_tiled.files.temporary import temporary_folder
from zvae_tiled.planner.budget import Budget
from zvae_tiled.report.chart import COLOURS
from zvae_tiled.wording import size

SVG = "{http://www.w3.org/2000/svg}"


def test_it_prints_the_plan_that_the_library_makes() -> None:
    want = plan("z-image", 512, 768, "1GB", task="stream")
    assert run("plan", "768x512", "--vae", "z-image", "--budget", "1GB").stdout == f"vae        z-image\n{want}\n"
    told = run("plan", "768x512", "--budget", "1GB", "--sweeps").stdout
    assert told == f"vae        z-image, the default; name another with --vae\n{want}\n\n{want.table()}\n"


def test_the_vae_is_that_of_the_other_commands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, want = ("plan", "20x12", "--budget", "1GB"), plan(CONFIG, 12, 20, "1GB", task="stream")
    assert run(*words).stdout == f"vae        {place / 'vae'}, named by $ZVAE_VAE\n{want}\n"
    assert run(*words, "--config", "vae/config.json").stdout.startswith(
        "vae        vae/config.json, named by --config\n"
    )
    monkeypatch.setenv("ZVAE_VAE", "demo")
    assert "vae        demo, named by $ZVAE_VAE\n" in run("plan", "64", "--workers", "2").stdout
    monkeypatch.setenv("ZVAE_VAE", "zimage")
    assert "Did you mean z-image?" in run("plan", "64", code=3).stderr


@pytest.mark.parametrize("vae", ["vae", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"])
def test_the_shape_of_any_vae(place: Path, vae: str) -> None:
    made = read_plan(run("plan", "20x12", "--vae", vae, "--budget", "1GB", "--json").stdout)
    assert made == plan(CONFIG, 12, 20, "1GB", task="stream")


def test_options_reach_the_planner() -> None:
    words = ("--dtype", "float32", "--batch", "3", "--device", "metal", "--config", "sd1", "--budget", "2GB")
    made = read_plan(run("plan", "512", *words, "--json").stdout)
    assert made == plan("sd1", 512, 512, "2GB", dtype="float32", batch=3, device="metal", task="stream")
    assert made.case.config == config_of("sd1")


def test_tiles_and_stream() -> None:
    tiles = ("--quality", "tiles", "--tile", "256", "--overlap", "64", "--ramp", "cosine", "--moments", "tile")
    told = run("plan", "512", "--budget", "2GB", *tiles).stdout
    assert "statistics moments and middle block of each tile by itself" in told
    assert "quality    tiles: 3 x 3 of at most 216x216 pixels, cosine ramp" in told
    assert "quality    stream" in run("plan", "512", "--budget", "2GB", "--quality", "stream").stdout


def test_a_sweep_goes_from_the_least_that_works_to_the_fastest() -> None:
    with pytest.raises(BudgetError) as error:
        plan("z-image", 256, 512, "1B", task="stream")
    found = json.loads(run("plan", "512x256", "--sweep-budgets", "--json").stdout)
    plans = [read_plan(json.dumps(each)) for each in found]
    assert plans[0].predicted_peak <= plans[0].budget == error.value.needed
    assert plans[-1].sweeps == plan("z-image", 256, 512, "1000TB", task="stream").sweeps
    assert len(plans) > 2
    for each, after in pairwise(plans):
        assert each.predicted_peak < after.predicted_peak
        assert each.predicted_seconds >= after.predicted_seconds
    named, *table, more = run("plan", "512x256", "--sweep-budgets").stdout.splitlines()
    assert more.startswith("The file's writer needs some more")
    assert more.endswith("Name the file with -o to count it.")
    assert named.startswith("vae        z-image, ")
    assert len(table) == 1 + len(plans)
    least = "".join(table[1].split()[:2])
    run("plan", "512x256", "--budget", least)  # what is shown can be typed


def test_a_sweep_has_to_be_replayed_one_plan_at_a_time(place: Path) -> None:
    told = run("plan", "20x12", "--vae", "vae", "--sweep-budgets", "--json").stdout
    (place / "plans.json").write_text(told)
    words = ("decode", "a.npy", "-o", "a.png", "-q", "--plan")
    assert "save one of them by itself" in run(*words, "plans.json", code=3).stderr
    (place / "plan.json").write_text(json.dumps(json.loads(told)[0]))
    run(*words, "plan.json")


@pytest.mark.parametrize("text", ["1", "null", '"plan"', "[]", "true"])
def test_json_that_is_no_object_is_refused_in_words(place: Path, text: str) -> None:
    (place / "plan.json").write_text(text)
    said = run("decode", "a.npy", "-o", "a.png", "--plan", "plan.json", code=3).stderr
    assert "a plan is one JSON object" in said
    assert "Error" not in said


def test_the_free_space_is_that_of_the_spill_folder_s_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "maps").mkdir()
    frees = {Path("maps"): 7 * 10**9, place / "maps": 7 * 10**9, temporary_folder(): 10**9}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=frees[folder]))
    demo = ("plan", "512", "--vae", "demo", "--budget", "30MB", "--device", "cpu/mlx")  # faster ones may drop all maps
    told = run(*demo, "--spill-folder", "maps").stdout
    assert re.search(r"disk       .+ needed, 7 GB free in maps", told)
    for words, limit in (((), 5 * 10**8), (("--spill-folder", "maps"), 3_500_000_000)):
        made = read_plan(run(*demo, "--disk-limit", "50%", *words, "--json").stdout)
        assert made.storage.limit == limit
    assert "remove --json" in run(*demo, "--disk-limit", "1GB", "--spill-folder", "maps", "--json", code=2).stderr
    assert "remove --spill-folder" in run("plan", "512", "--workers", "2", "--spill-folder", "maps", code=2).stderr


def test_a_plot_shows_the_sweeps_and_the_budget(place: Path) -> None:
    assert (
        "written    plan.svg"
        in run("plan", "512", "--vae", "z-image", "--budget", "400MB", "--plot", "plan.svg").stderr
    )
    made = plan("z-image", 512, 512, "400MB", task="stream")
    chart = ElementTree.parse(place / "plan.svg").getroot()
    names = {text.text for text in chart.iter(f"{SVG}text")}
    assert {"budget, 400 MB", "predicted, of each sweep", f"Memory of plan {made.digest}, weights included"} <= names
    (line,) = [path for path in chart.iter(f"{SVG}path") if path.get("stroke") == COLOURS[0]]
    assert f"{line.get('d')}".count("L") == 2 * len(made.sweeps)
    run("plan", "512", "--sweep-budgets", "--plot", "plan.svg")
    assert "Time against memory, predicted" in (place / "plan.svg").read_text()
    run("plan", "512", "--quality", "stream", "--budget", "2GB", "--plot", "plan.svg")
    assert {path.name for path in place.iterdir()} == {"a.npy", "b.npy", "vae", "plan.svg"}


def test_a_chart_has_the_mode_of_any_other_file(place: Path) -> None:
    (place / "other").write_text("")
    run("plan", "512", "--budget", "400MB", "--plot", "plan.svg")
    assert (place / "plan.svg").stat().st_mode == (place / "other").stat().st_mode


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["wide"], 2, "is no size"),
        (["sdxl", "512"], 2, "Name a VAE as --vae sdxl."),
        (["512", "--sweep-budgets", "--budget", "1GB"], 2, "remove --budget"),
        (["512", "--sweep-budgets", "--quality", "tiles"], 2, "remove --quality"),
        (["512", "--sweeps", "--json"], 2, "remove --json"),
        (["512", "--sweeps", "--sweep-budgets"], 2, "remove --json and --sweep-budgets"),
        (["512", "--batch", "0"], 2, "--batch"),
        (["512", "--save-plan", "p.json"], 2, "Print the plan with --json, into a file"),
        (["510x512", "--vae", "z-image"], 2, "SIZE: width must be a multiple of 8 pixels"),
        (["0x10", "--quality", "stream"], 2, "The nearest is 2."),
        (["1x512", "--workers", "2"], 2, "The nearest is 2."),
        (["512", "--quality", "tiles", "--tile", "511"], 2, "--tile must be a multiple of 2 pixels"),
        (["512", "--vae", "sd9"], 3, "sd9"),
        (["512", "--budget", "1MB"], 4, "zvae plan 512x512 --budget"),
        (["512x1024", "--quality", "stream", "--budget", "1MB"], 4, "zvae plan 512x1024 --budget"),
        (["512", "--plot", "plan.png"], 5, "draws SVG"),
        (["512", "--plot", "none/plan.svg"], 5, "the folder none does not exist"),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(place: Path, words: list[str], code: int, said: str) -> None:
    assert said in run("plan", *words, code=code).stderr


def test_a_device_can_be_named() -> None:
    def made(*words: str) -> str:
        return run("plan", "512", "--budget", "1GB", "--json", *words).stdout

    assert read_plan(made("--device", "cpu")) == plan("z-image", 512, 512, "1GB", device="cpu", task="stream")
    alone = read_plan(made("--device", "cpu/mlx"))
    assert alone == plan("z-image", 512, 512, "1GB", device="cpu/mlx", task="stream")
    assert alone.case.device == "cpu/mlx"
    if likely_device() == "cpu":
        assert made("--device", "cpu") == made()
    refused = run("plan", "512", "--device", "tpu", code=2).stderr
    assert all(f"'{name}'" in refused for name in ("cpu", *DEVICES))


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(size, marks=[pytest.mark.slow] * (i > 0), id=size[:20])
        for i, size in enumerate(["80000000000x8", "8x80000000000", "2147483640x8", "2147483640", f"{'8' * 4000}x8"])
    ],
)
def test_a_picture_of_a_billion_tiles_is_refused_at_once(size: str) -> None:
    """The command once listed all tiles, and did not end."""
    code = (
        "import resource, sys; from zvae_tiled.cli.app import zvae; "
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 28, 1 << 28)); "
        "zvae(['plan', sys.argv[1], *'--quality tiles --tile 8 --overlap 0'.split()])"
    )
    done = subprocess.run([sys.executable, "-c", code, size], capture_output=True, text=True, env=environment())
    assert done.returncode == (3 if size.startswith("2147483640") else 2), done.stderr  # those are whole latents
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1000


def test_sizes_in_messages_are_decimal_and_the_command_to_try_next_works() -> None:
    said = run("plan", "4096", "--budget", "100MB", code=4).stderr
    assert "needs at least" in said
    assert "the budget is 100 MB" in said
    assert "iB" not in said
    following = re.search(r"zvae (plan 4096x4096 --budget \d+MB)", said)
    assert following is not None
    run(*following[1].split())


def test_planning_and_help_import_no_mlx_and_no_rich() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from zvae_tiled.cli.app import zvae; "
        "results = [CliRunner().invoke(zvae, words) for words in (['--help'], ['plan', '512', '--budget', '1GB'])]; "
        "print([result.exit_code for result in results], {'mlx.core', 'rich'} & set(sys.modules))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert child.stdout == "[0, 0] set()\n", child.stderr


def test_a_plan_for_workers_says_what_each_needs_what_they_move_and_what_limits(place: Path) -> None:
    words = ["plan", "64x128", "--vae", "vae", "--network", "1", "--device", "metal"]
    told = run(*words, "--workers", "4", "--budget", "8GB").stdout
    names = [line.split()[0] for line in told.splitlines()]
    assert names == ["vae", "decodes", "memory", "time", "moves", "network", "limit"]
    assert "1 x 64x128, bfloat16 on metal: 4 stripes, 4 workers" in told
    assert "of the budget of 8 GB on each worker" in told
    assert "network    1 Gbit/s" in told
    assert re.search(r"^limit      [a-z' ]+; 8 workers would take", told, re.MULTILINE)
    assert "each of them, the budget of each is 1 MB" in run(*words, "--workers", "2", "--budget", "1MB", code=4).stderr
    assert ": 1 stripe, 1 worker\n" in run(*words, "--workers", "1", "--budget", "8GB").stdout
    assert "in 1 stripe on 1 worker needs" in run(*words, "--workers", "1", "--budget", "1MB", code=4).stderr


def test_workers_that_fit_are_planned_though_twice_as_many_do_not() -> None:
    def plan(workers: int, budget: int) -> str:
        sides = 8 * CONFIG.scale, 16 * CONFIG.scale
        return crowd_plan(CONFIG, sides, Budget(budget, "set"), "bfloat16", "metal", Crowd(workers, None))

    with pytest.raises(BudgetError) as raised:
        plan(2, 1)
    assert "would take" not in plan(2, raised.value.needed)
    with pytest.raises(BudgetError):
        plan(4, raised.value.needed)


def test_what_has_no_effect_on_stripes_is_refused() -> None:
    for words in (["--json"], ["--quality", "tiles"], ["--batch", "2"], ["--work"], ["--sweeps"]):
        assert f"remove {words[0]}" in run("plan", "512", "--workers", "2", *words, code=2).stderr
    assert "add --workers" in run("plan", "512", "--network", "1", code=2).stderr
    for number in ("nan", "inf"):
        assert number in run("plan", "512", "--workers", "2", "--network", number, code=2).stderr


def test_a_plan_for_workers_counts_the_sums_of_linear_attentions_that_they_pass_on() -> None:
    told = run("plan", "512", "--vae", "sana", "--workers", "2", "--budget", "8GB").stdout
    state = 8 * 3 * (67_584 + 67_584 + 33_792)  # in float64, of three blocks at each of three levels
    assert f"sums {size(2 * state)}" in told
