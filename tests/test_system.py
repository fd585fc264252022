"""On Windows the import and the installation say what to do, in place of a missing module."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.running import ROOT, environment

WINDOWS = "import sys, unittest.mock; sys.platform = 'win32'\n"
"""As a Python for Windows calls itself. What is imported afterwards may believe it."""

IMPORT = "import zvae_tiled"
INSTALL = f"""
for name in ("", ".command", ".command.bdist_wheel", ".command.build_ext", ".command.build_py", ".errors"):
    sys.modules["setuptools" + name] = unittest.mock.MagicMock()  # it need not be installed where the tests run
exec(open({str(ROOT / "setup.py")!r}, encoding="utf-8").read())
"""


@pytest.mark.parametrize(
    ("code", "named"), [(IMPORT, "SystemNotSupportedError"), (INSTALL, "")], ids=["import", "install"]
)
def test_windows_is_refused_with_a_way_out(code: str, named: str) -> None:
    done = subprocess.run([sys.executable, "-c", WINDOWS + code], capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert named in done.stderr
    assert "needs macOS or Linux" in done.stderr
    assert "WSL 2" in done.stderr
