"""How the wheel is built: by scikit-build-core, here, with the C source two folders above; and a source distribution that
has this source too, in the same folders, with a pyproject.toml at its top that leads here."""

import io
import os
import pathlib
import tarfile
import tempfile

import scikit_build_core.build as core

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent

# What building the library takes, of what a checkout has.
SOURCES = ("CMakeLists.txt", "LICENSE", "README.md", "cl", "include", "src", "tools/package")
LEFT_OUT = ("__pycache__", ".pytest_cache", "_header.py", "liblimn.so")


def _hook(name):
    hook = getattr(core, name)

    def run(*args, **kwargs):
        args = [os.path.abspath(a) if isinstance(a, str) else a for a in args]
        os.chdir(here)
        return hook(*args, **kwargs)

    run.__name__ = name
    return run


build_wheel = _hook("build_wheel")
build_editable = _hook("build_editable")
get_requires_for_build_wheel = _hook("get_requires_for_build_wheel")
get_requires_for_build_editable = _hook("get_requires_for_build_editable")
get_requires_for_build_sdist = _hook("get_requires_for_build_sdist")
prepare_metadata_for_build_wheel = _hook("prepare_metadata_for_build_wheel")
prepare_metadata_for_build_editable = _hook("prepare_metadata_for_build_editable")


def _files():
    for source in SOURCES:
        path = root / source
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and not any(part in LEFT_OUT for part in file.relative_to(root).parts):
                yield file


def _build_system():
    """The lines of [build-system], for the top of the source distribution."""
    lines = (here / "pyproject.toml").read_text("utf-8").split("[build-system]")[1].split("\n[")[0]
    return "[build-system]" + lines.replace('backend-path = ["."]', 'backend-path = ["src/python"]')


def build_sdist(sdist_directory, config_settings=None):
    sdist_directory = os.path.abspath(sdist_directory)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, prepare_metadata_for_build_wheel(scratch, config_settings))
        metadata = (folder / "METADATA").read_bytes()
        name = folder.name[: -len(".dist-info")]
    with tarfile.open(pathlib.Path(sdist_directory, f"{name}.tar.gz"), "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for file, data in (("PKG-INFO", metadata), ("pyproject.toml", _build_system().encode())):
            info = tarfile.TarInfo(f"{name}/{file}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for file in _files():
            tar.add(file, f"{name}/{file.relative_to(root).as_posix()}")
    return f"{name}.tar.gz"
