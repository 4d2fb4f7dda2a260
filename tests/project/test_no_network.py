"""lossfit opens no connection: it runs where every socket is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

SETUP = """
import socket, sys, warnings

def refused(*arguments, **options):
    raise AssertionError("a socket was asked for")

class Refused:
    def __init__(self, *arguments, **options):
        refused()

socket.getaddrinfo = socket.create_connection = refused
if sys.argv[1] == "all":
    socket.socket = Refused
else:  # Zarr's event loop has a pair of sockets of its own, which are connected to nobody
    socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = refused
warnings.simplefilter("ignore")
"""
USE = """
import lossfit
runs = lossfit.load("llama2")
for name in ("llama1", "llama", "cosine_ablation"):
    lossfit.load(name)
print(lossfit.extrapolate(runs, run="llama2-7B", compute_of="llama2-70B", draws=50))
print(lossfit.fit(runs, draws=50))
lossfit.race(runs, draws=50)
"""
SWEEP = """
import tempfile, lossfit
from lossfit.sweep import fit_to, open_store, verify
with tempfile.TemporaryDirectory() as place:
    fit_to(place + "/a.zarr", lossfit.load("llama2"), draws=20)
    open_store(place + "/a.zarr").load()
    assert verify(place + "/a.zarr").whole
"""


@pytest.mark.parametrize(("kind", "code"), [("all", USE), ("connections", SWEEP)])
def test_no_socket_is_asked_for(root, kind, code):
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code, kind],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("kind", ["all", "connections"])
def test_the_check_can_fail(root, kind):
    code = "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')"
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code, kind], cwd=root, capture_output=True, text=True
    )
    assert "a socket was asked for" in done.stderr
