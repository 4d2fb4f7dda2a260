"""``lossfit doctor``: what is installed, what is missing, and the fix."""

from __future__ import annotations

import click

from .common import guarded, print_json, show_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.doctor/1).")
def command(as_json: bool) -> None:
    r"""What is installed, what is missing, and the fix.

    Exit code 2 where something is missing that every fit needs; a missing GPU is no reason.

    \b
    lossfit doctor
    lossfit doctor --json > doctor.json
    """
    from ..diagnostics.doctor import doctor, doctor_text

    with guarded():
        record = doctor()
        if as_json:
            print_json(record)
        else:
            show_text(doctor_text(record))
    if any(problem["hinders"] for problem in record["problems"]):
        raise click.exceptions.Exit(2)
