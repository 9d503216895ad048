"""The packages arlab works with: which are installed, which versions it wants, which are known to do harm.

Nothing is imported here: importing a compromised package is what runs it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
_WITHOUT_METADATA = ("torch", "lightning", "torchmetrics", "jsonargparse", "numpy")
_OPTIONAL = ("datasets", "huggingface_hub")


@dataclass(frozen=True)
class Package:
    """A distribution and what is known of it.

    Attributes:
        name: of the distribution.
        version: installed; None if it is not.
        wanted: the versions arlab works with; '' = any.
        needed: whether arlab does not work without it.
    """

    name: str
    version: str | None
    wanted: str = ""
    needed: bool = True

    @property
    def module(self) -> str:
        """What it is imported by."""
        return _MODULES.get(self.name, self.name.replace("-", "_"))

    @property
    def compromised(self) -> bool:
        """Whether this release steals credentials when it is imported (GHSA-w37p-236h-pfx3)."""
        return self.name == "lightning" and self.version in ("2.6.2", "2.6.3")

    def __str__(self) -> str:
        if self.version is None:
            return "not installed" if self.needed else "not installed (optional)"
        return f"{self.version:<14}{self.wanted}".rstrip()


def installed() -> Iterator[Package]:
    """What arlab requires, what it can use, and torchvision where it could be in the way."""
    seen = {"arlab"}
    for text in _requirements("arlab") or _WITHOUT_METADATA:
        name, wanted, extra = parsed(text)
        if name not in seen and extra != "dev":
            seen.add(name)
            yield Package(name, _version(name), wanted, needed=extra is None)
    for name in _OPTIONAL:
        if name not in seen:
            yield Package(name, _version(name), needed=False)
    torchvision = _version("torchvision")
    if torchvision is not None:
        yield Package("torchvision", torchvision, _torch_of_torchvision(), needed=False)


def parsed(text: str) -> tuple[str, str, str | None]:
    """Name, version range and extra of a requirement such as ``ruff>=0.11; extra == "dev"``."""
    requirement, _, marker = text.partition(";")
    name = requirement.strip()
    for letter in "<>=!~[( ":
        name = name.partition(letter)[0]
    wanted = requirement.rpartition("]")[2] if "]" in requirement else requirement.strip()[len(name) :]
    return name.lower(), wanted.strip(" ()"), marker.partition("extra ==")[2].strip(" \"'") or None


def outside(version: str, wanted: str) -> bool:
    """Whether a version lies outside a range such as '>=2.6.4,<3'; False where that cannot be told."""
    try:
        from packaging.specifiers import SpecifierSet
        from packaging.version import Version

        return not SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except Exception:  # neither a package that is not there nor an odd version may end a diagnosis
        return False


def conflicts(packages: Sequence[Package], errors: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with them and what to do, a line each.

    Args:
        packages: those there are and those there should be.
        errors: modules that cannot be imported, and why.
    """
    versions = {package.name: package.version for package in packages}
    torchvision = next((package for package in packages if package.name == "torchvision"), None)
    broken = None if torchvision is None else _why_broken(torchvision, versions.get("torch"), errors)
    if torchvision is not None and broken is not None:
        yield (
            f"torchvision {torchvision.version} is broken ({broken}); lightning and torchmetrics import it and fail "
            "with it, arlab does not need it: pip uninstall torchvision"
        )
    for package in packages:
        name, version, error = package.name, package.version, errors.get(package.module)
        install = f"'{name}{package.wanted}'"
        if package is torchvision or (broken is not None and "torchvision" in (error or "")):
            continue
        if version is None:
            if package.needed:
                yield f"{name} is not installed: pip install {install}"
        elif package.compromised:
            yield (
                f"{name} {version} is a compromised release that steals credentials when it is imported: uninstall it, "
                f"replace every password, token and key on this machine, then pip install {install}"
            )
        elif outside(version, package.wanted):
            yield f"{name} {version} is outside {package.wanted}: pip install {install}"
        elif error is not None:
            yield f"{name} {version} cannot be imported ({error}): pip install --force-reinstall {install}"


def _why_broken(torchvision: Package, torch: str | None, errors: Mapping[str, str]) -> str | None:
    if torch is not None and outside(torch.partition("+")[0], torchvision.wanted):
        return f"made for torch{torchvision.wanted}, not {torch}"
    return errors.get(torchvision.module)


def _torch_of_torchvision() -> str:
    """The torch it was built for; shown as the versions it is wanted with."""
    found = [wanted for name, wanted, _ in map(parsed, _requirements("torchvision")) if name == "torch"]
    return found[0] if found else ""


def _requirements(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except Exception:  # broken metadata is as good as none
        return []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name) or None
    except Exception:
        return None
