"""Every command and every option has a help text, and stands in docs/cli.md."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import click
import pytest

from docs.cli_reference import MARKER, PAGE, reference
from tests.support.running import run
from zvae_tiled import cli
from zvae_tiled.cli.app import zvae
from zvae_tiled.cli.command import Command
from zvae_tiled.families import PRESETS

COMMANDS = sorted(zvae.commands)
OPTIONS = [
    pytest.param(name, param, id=f"{name} {param.opts[0]}")
    for name in COMMANDS
    for param in zvae.commands[name].params
    if isinstance(param, click.Option)
]


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text().partition(MARKER)[2] == reference(), "run: python -m docs.cli_reference"


def test_every_command_of_the_folder_is_one_of_zvae() -> None:
    names = [module.name for module in iter_modules(cli.__path__) if module.name != "__main__"]  # it runs zvae
    modules = [import_module(f"zvae_tiled.cli.{name}") for name in names]
    written = [each for module in modules for each in vars(module).values() if isinstance(each, Command)]
    assert set(written) == set(zvae.commands.values())
    assert all(name == command.name for name, command in zvae.commands.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_tells_what_it_does(name: str) -> None:
    command = zvae.commands[name]
    assert isinstance(command, Command), "so that its errors are messages"
    assert command.help
    assert command.short_help
    assert command.short_help in run("--help").stdout
    assert run(name, "--help").stdout.startswith(f"Usage: zvae {name}")


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_option_has_a_help_text_and_is_documented(name: str, option: click.Option) -> None:
    assert option.help
    assert option.help.endswith(".")
    section = PAGE.read_text().partition(f"\n## zvae {name}\n")[2].partition("\n## ")[0]
    assert all(spelling in section for spelling in (*option.opts, *option.secondary_opts))


STABLE = [name for name in PRESETS if name.startswith("sd")]


def test_the_shell_completes_commands_and_options() -> None:
    from click.shell_completion import ShellComplete

    shell = ShellComplete(zvae, {}, "zvae", "_ZVAE_COMPLETE")
    assert [item.value for item in shell.get_completions([], "de")] == ["decode", "demo"]
    assert "--spill-folder" in [item.value for item in shell.get_completions(["decode"], "--sp")]
    assert [item.value for item in shell.get_completions(["decode", "--quality"], "t")] == ["tiles"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["decode"], []),
        (["decode", "a.npy"], []),
        (["decode", "-o"], []),
        (["decode", "--save-plan"], []),
        (["encode", "-o"], []),
        (["demo", "-o"], []),
        (["compare"], []),
        (["compare", "a.png"], []),
        (["compare", "--heat-map"], []),
        (["plan", "512", "--plot"], []),
        (["inspect"], STABLE),
        (["decode", "--vae"], STABLE),
        (["plan", "--vae"], STABLE),
        (["plan", "--config"], STABLE),
    ],
)
def test_the_shell_completes_paths_and_presets(words: list[str], names: list[str]) -> None:
    from click.shell_completion import ShellComplete

    found = ShellComplete(zvae, {}, "zvae", "_ZVAE_COMPLETE").get_completions(words, "sd")
    assert [(item.type, item.value) for item in found] == [("file", "sd"), *(("plain", name) for name in names)]


def test_the_small_vae_is_offered_where_weights_are_meant() -> None:
    from click.shell_completion import ShellComplete

    shell = ShellComplete(zvae, {}, "zvae", "_ZVAE_COMPLETE")
    assert "demo" in [item.value for item in shell.get_completions(["decode", "--vae"], "d")]
    assert "demo" not in [item.value for item in shell.get_completions(["decode", "--config"], "d")]
