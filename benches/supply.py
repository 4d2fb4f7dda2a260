"""What is installed with lossfit: is it whole, under which licences, with known vulnerabilities?

    python -m benches.supply
    python -m benches.supply --lock requirements/NAME.txt     # what an install of today would take
    python -m benches.supply --locked requirements/NAME.txt   # is that what is installed?

Without a network: every installed file is compared with the hash in its distribution's record, the
requirements of all are checked against each other, and the licences listed.  Where pip-audit is
installed and can ask its service, known vulnerabilities are listed too; else that is said.
Exit code 1: a file was changed, a requirement is not met, or a vulnerability is known.

A lock has a version and the hash of a file for every distribution, and no address: pip installs
from it with ``--require-hashes``, from wherever it is told to, and refuses any other file.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import importlib.util
import json
import platform
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SECONDS = 120  # that the service for vulnerabilities may take
LONGEST = 28  # of a licence in the table


def closure(name: str) -> set[str]:
    """The installed distributions that one needs, itself included, without extras."""
    seen: set[str] = set()
    wanted: list[tuple[str, frozenset[str]]] = [(name, frozenset())]
    done: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        item = wanted.pop()
        if item in done:
            continue
        done.add(item)
        one, extras = item
        seen.add(canonicalize_name(one))
        for text in metadata.distribution(one).requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if marker is None or any(marker.evaluate(e) for e in environments):
                wanted.append((requirement.name, frozenset(requirement.extras)))
    return seen


def licence_of(name: str) -> str:
    """What a distribution says of its licence, in any of the places for it."""
    data = metadata.metadata(name)
    words = [data.get("License-Expression") or "", (data.get("License") or "")[:2000]]
    words += [c for c in data.get_all("Classifier") or [] if c.startswith("License")]
    return " ".join(words).lower()


def short_licence(name: str) -> str:
    """The licence in a few words."""
    data = metadata.metadata(name)
    classifiers = [c.rpartition(" :: ")[2] for c in data.get_all("Classifier") or []
                   if c.startswith("License :: OSI Approved ::")]  # fmt: skip
    given = data.get("License-Expression") or ", ".join(classifiers) or data.get("License") or "?"
    return given.split("\n")[0][:LONGEST]


def changed_files(name: str) -> list[str]:
    """Files that are not what the distribution's record says."""
    changed = []
    distribution = metadata.distribution(name)
    # Newer versions of `distribution.files` leave out what is missing.
    for file, written, _ in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        kind, _, value = written.partition("=")
        if not value:  # the record itself, and compiled modules
            continue
        try:
            data = Path(str(distribution.locate_file(file))).read_bytes()
        except OSError:
            changed.append(f"{name}: {file} is missing")
            continue
        digest = hashlib.new(kind, data).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != value:
            changed.append(f"{name}: {file} was changed")
    return changed


def vulnerabilities() -> tuple[bool, str]:
    """Whether none is known, and what pip-audit says."""
    if importlib.util.find_spec("pip_audit") is None:
        return True, "vulnerabilities were not looked up: pip-audit is not installed"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return True, "vulnerabilities were not looked up: the service did not answer"
    if done.returncode == 0:
        return True, done.stderr.strip() or "no known vulnerabilities"
    if "Name" in done.stdout:  # the table of what was found
        return False, done.stdout
    return True, "vulnerabilities were not looked up: the service cannot be reached from here"


BUILD = ("setuptools>=77", "wheel")  # what builds lossfit itself, which then needs no download
LINE = re.compile(r"([a-z0-9-]+)==(\S+) --hash=sha256:([0-9a-f]{64})")


def lock_of(report: dict) -> str:
    """The lines of a lock from a report of pip."""
    lines = []
    for item in report["install"]:
        name = canonicalize_name(item["metadata"]["name"])
        if name == "lossfit":
            continue
        sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={item['metadata']['version']} --hash=sha256:{sha256}\n")
    system = f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"
    head = f"# For {system} on {platform.system()}, {platform.machine()}; made by benches.supply\n"
    return head + "".join(sorted(lines))


def lock(path: Path, extras: str) -> None:
    """Write what pip would install now."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", str(report)]
        subprocess.run([*command, "--editable", f".[{extras}]", *BUILD], check=True)
        path.parent.mkdir(exist_ok=True)
        path.write_text(lock_of(json.loads(report.read_text())))


def locked(path: Path) -> dict[str, str]:
    """Name and version of every line of a lock; `ValueError` for a line that is none."""
    versions = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"{path}: {line!r} is not NAME==VERSION --hash=sha256:HASH")
        versions[found[1]] = found[2]
    return versions


def differences(path: Path) -> list[str]:
    """Where the environment is not that of a lock."""
    wrong = []
    for name, version in locked(path).items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            here = "not installed"
        if here != version and name not in ("setuptools", "wheel"):
            wrong.append(f"{name}: {here}, in the lock {version}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lock", type=Path, metavar="FILE", help="write a lock, and no more")
    parser.add_argument("--extras", default="dev,cuda-check", help="that the lock is for")
    parser.add_argument("--locked", type=Path, metavar="FILE", help="compare with a lock too")
    options = parser.parse_args()
    if options.lock is not None:
        lock(options.lock, options.extras)
        return
    wrong = differences(options.locked) if options.locked is not None else []
    names = sorted(closure("lossfit") - {"lossfit"})
    print(f"{'distribution':<22} {'version':<12} licence")
    for name in names:
        print(f"{name:<22} {metadata.version(name):<12} {short_licence(name)}")
    installed = sorted({canonicalize_name(d.metadata["Name"]) for d in metadata.distributions()})
    changed = [line for name in installed for line in changed_files(name)]
    print(f"{len(installed)} distributions are installed; {len(changed) or 'no'} files changed")
    print("\n".join(changed[:20]), end="\n" if changed else "")
    consistent = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True,
        text=True,
    )
    print(consistent.stdout.strip())
    if options.locked is not None:
        print(f"{len(wrong) or 'no'} distributions differ from {options.locked}", *wrong, sep="\n")
    fine, words = vulnerabilities()
    print(words)
    sys.exit(0 if fine and not changed and not wrong and consistent.returncode == 0 else 1)


if __name__ == "__main__":
    main()
