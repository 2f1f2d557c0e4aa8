"""What the tests share.  `python -m pytest tests/python [--limn PATH]`, in an environment with limn's wheel and pytest.

--limn: the program, by default build/limn of this checkout; tests that compare with it are left out where it isn't there.
LIMN_DEVICE names the device.
"""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"

# the wheel is tested, not the modules that it is made of, where pytest is started beside these
sys.path[:] = [p for p in sys.path if pathlib.Path(p).resolve() != ROOT / "src" / "python"]

import limn  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--limn", default=str(ROOT / "build" / "limn"), help="the program")
    parser.addoption("--generations", type=int, default=200, help="how many the test of memory draws")


@pytest.fixture(scope="session")
def model():
    """The model that is built in."""
    try:
        m = limn.Model()
    except limn.NoDeviceError as e:
        pytest.exit(f"no device: {e}", 77)
    with m:
        yield m


@pytest.fixture(scope="session")
def program(request):
    path = pathlib.Path(request.config.getoption("--limn"))
    if not path.exists():
        pytest.skip(f"{path} is not there (--limn PATH)")

    def run(*arguments, fails=False):
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout

    run.path = path
    return run


@pytest.fixture(scope="session")
def tiny(request, tmp_path_factory):
    """A file with the smallest model that draws; where the program that writes it isn't there, the built-in model's."""
    maker = pathlib.Path(request.config.getoption("--limn")).parent / "tests" / "tiny_model"
    if not maker.exists():
        return ROOT / "src" / "models" / "emoji.gguf"
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    subprocess.run([maker, path], check=True)
    return path


@pytest.fixture(scope="session")
def amused(tmp_path_factory):
    """A model that fills all cells at once."""
    path = tmp_path_factory.mktemp("models") / "amused.gguf"
    limn.convert(DATA / "golden" / "amused_256", path)
    return path


@pytest.fixture
def script(tmp_path):
    """Runs a program of Python's in a process of its own: (exit code, what it printed, what it complained of)."""

    def run(text, timeout=120):
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=timeout, cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    return run
