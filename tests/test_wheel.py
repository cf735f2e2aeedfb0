"""The built wheel holds every source file and works when nothing else of the project is there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "dllm_audio"
LEFT_BEHIND = {".pyc", ".pyo"}  # made by running the code, not part of it


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the backend itself: no network and no second environment."""
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return folder / result.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content as pip lays it out."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    return target


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    sources = {
        f"dllm_audio/{path.relative_to(PACKAGE).as_posix()}": path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in LEFT_BEHIND
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("dllm_audio/")}
        assert packed == set(sources)
        assert all(archive.read(name) == path.read_bytes() for name, path in sources.items())
    assert "dllm_audio/py.typed" in packed


def test_the_wheel_carries_license_and_entry_point(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
        entry = next(name for name in names if name.endswith(".dist-info/entry_points.txt"))
        assert "dllm-audio = dllm_audio.cli:main" in archive.read(entry).decode()


def test_every_public_name_resolves_from_the_wheel(installed: Path) -> None:
    # -I leaves out the current folder and PYTHONPATH, so the checkout cannot stand in.
    code = f"""
import sys
sys.path.insert(0, {str(installed)!r})
import dllm_audio
assert dllm_audio.__file__.startswith({str(installed)!r}), dllm_audio.__file__
for name in dllm_audio.__all__:
    getattr(dllm_audio, name)
import dllm_audio.cli
print(len(dllm_audio.__all__))
"""
    result = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 30
