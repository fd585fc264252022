"""Build the native CPU kernels if there is a compiler. Without one, the package still installs and runs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

if sys.platform == "win32":
    sys.exit("zvae_tiled needs macOS or Linux, this Python is one for Windows. Install it inside WSL 2: wsl --install")

FOLDER = "zvae_tiled/devices/native_cpu"
SOURCES = ["native/path.cpp", "native/dispatch.cpp", "native/pool.cpp"]
COMMON = ["-std=c++17", "-O3", "-ffp-contract=fast", "-Wall", "-Wno-psabi", "-Wno-maybe-uninitialized", "-g0"]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
PATHS = {
    "portable": ("ZVAE_F32", []),
    "neon": ("ZVAE_F32", ["-DZVAE_NEON"]),
    "neon_bf16": ("ZVAE_BFMMLA", ["-march=armv8.2-a+bf16", "-DZVAE_NEON"]),
    "avx2": ("ZVAE_F32", AVX2),
    "avx512": ("ZVAE_F32", AVX512),
    "avx512vnni": ("ZVAE_F32", [*AVX512, "-mavx512vnni", "-DZVAE_I16"]),
    "avx512bf16": ("ZVAE_BF16", [*AVX512, "-mavx512bf16", "-mavx512vnni", "-DZVAE_I16"]),
    "amx": ("ZVAE_AMX", [*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"]),
}
"""For each path: the macro that selects its product (native/micro.h), and its compiler flags."""
X86 = [path for path in PATHS if "neon" not in path]
ARM = [path for path in PATHS if "neon" in path or path == "portable"]
MACHINES = {"x86_64": X86, "aarch64": ARM, "arm64": ARM}
MACHINE = os.environ.get("ZVAE_MACHINE", platform.machine())  # set by scripts/arm, whose compiler builds for another
SANITIZERS = os.environ.get("ZVAE_SANITIZE")  # set by scripts/sanitize, for a copy that is not kept
CHECKED = ["-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g1", "-fno-wrapv"]
"""Flags of a library that checks itself. Python's own -fwrapv would define the overflows that are looked for."""
SANITIZED = [f"-fsanitize={SANITIZERS}", *CHECKED] if SANITIZERS else []


class BuildKernels(build_ext):
    """Compiles `native/path.cpp` once for each path. Skips paths that this compiler or machine does not know."""

    def get_ext_filename(self, fullname: str) -> str:
        """Name the library after its system: ctypes loads it, so any Python can. `library_file` looks for this name."""
        return f"{fullname.replace('.', '/')}.{sys.platform}-{MACHINE}.so"

    def copy_extensions_to_source(self) -> None:
        """Put the library beside its sources, for an editable install, in place of that of an earlier build."""
        _remove_libraries(".")
        super().copy_extensions_to_source()

    def build_extension(self, ext: Extension) -> None:
        """Build the paths, then the table of the paths that were built."""
        _remove_libraries(self.build_lib)
        paths = {path: PATHS[path] for path in MACHINES.get(MACHINE, ["portable"])}
        if os.environ.get("ZVAE_EMULATE_AMX"):  # to test AMX's packing and indexing on any CPU
            paths["amx_emulated"] = ("ZVAE_AMX", ["-DZVAE_EMULATE"])
        objects = []
        built = []
        for path, (numbers, flags) in paths.items():
            try:
                objects += self._compile(ext, path, "native/path.cpp", [(numbers, "1"), ("ZVAE_PATH", path)], flags)
                built.append(path)
            except CompileError:
                if path == "portable":  # no compiler at all
                    raise
        table = "".join(f"DO({path})" for path in built)
        objects += self._compile(ext, "", "native/dispatch.cpp", [("ZVAE_PATHS(DO)", table)], [])
        objects += self._compile(ext, "", "native/pool.cpp", [], [])
        file = self.get_ext_fullpath(ext.name)
        self.compiler.link_shared_object(objects, file, extra_postargs=["-pthread", *SANITIZED], target_lang="c++")

    def _compile(
        self, ext: Extension, path: str, source: str, macros: list[tuple[str, str]], flags: list[str]
    ) -> list[str]:
        folder = os.path.join(self.build_temp, path)
        return self.compiler.compile(
            [source], folder, macros, depends=ext.depends, extra_postargs=[*COMMON, "-pthread", *flags, *SANITIZED]
        )


class Modules(build_py):
    """Copies the modules that are there now: those that an earlier build left would be installed with them."""

    def run(self) -> None:
        """Begin with an empty folder."""
        shutil.rmtree(f"{self.build_lib}/zvae_tiled", ignore_errors=True)
        super().run()


class Wheel(bdist_wheel):
    """One wheel a platform, for every Python; without a compiler, one for every platform that has no native kernels."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag. An editable wheel, whose library is elsewhere, is tagged as one without a library."""
        built = glob(f"{self.get_finalized_command('build_ext').build_lib}/{FOLDER}/*.so")
        return "py3", "none", super().get_tag()[2] if built else "any"


def _remove_libraries(root: str) -> None:
    """Without a compiler nothing is built, and what an earlier build left would be taken for the result."""
    for file in glob(f"{root}/{FOLDER}/_native*.so"):
        os.remove(file)


def description(readme: str) -> str:
    """Return README as a package index shows it, alone: without the pictures and links that lead nowhere there."""
    text, _, _ = readme.partition("\n## Reading on\n")
    text = re.sub(
        r"^!\[[^]]*\]\((?!https:).*\n(.+\n)*\n", "", text, flags=re.M
    )  # a picture, with the lines that tell of it
    return re.sub(r"\[([^]]*)\]\((?!https:)[^)]*\)", r"\1", text)


setup(
    long_description=description(Path("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    ext_modules=[
        Extension("zvae_tiled.devices.native_cpu._native", SOURCES, depends=sorted(glob("native/*.h")), optional=True),
    ],
    cmdclass={"build_py": Modules, "build_ext": BuildKernels, "bdist_wheel": Wheel},
)
