"""The file: HTML with its style, its script, plotly.js (its basic bundle) and the data inside.

A policy in the page (Content-Security-Policy) forbids every connection, and every script but the
two that are here, by their hashes: a name that found its way into the page as markup would be shown
wrongly, and still not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._base.errors import DataError
from .tables import paragraph, safe

if TYPE_CHECKING:
    from .content import Content

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def embedded(data: Any) -> str:
    """Data as JSON that is safe inside a script element, and the same wherever it was made."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":  # only in strings: no name can end the element or open a comment
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def page(content: Content) -> str:
    """The whole page."""
    here = files(__package__)
    style, script, plotly = (
        here.joinpath(file).read_text("utf-8")
        for file in ("page.css", "page.js", "plotly-basic.min.js")
    )
    policy = POLICY.format(scripts=" ".join(_hash(code) for code in (plotly, script)))
    runs = content.answer.runs
    points = sum(len(run) for run in runs)
    links = "".join(
        f'<li><a href="#{safe(s.key)}">{safe(s.title)}</a></li>'
        for s in content.sections
        if s.title
    )
    parts = []
    for section in content.sections:
        if not section.title:  # the answer's picture goes on with the answer
            parts.append(
                f'{TOOLS}\n<section id="{safe(section.key)}" aria-label="The answer drawn">\n'
                f"{section.html}\n</section>"
            )
            continue
        body = section.html if not section.why else paragraph(section.why, "absent")
        parts.append(
            f'<section id="{safe(section.key)}" aria-labelledby="{safe(section.key)}-title">'
            f'<h2 id="{safe(section.key)}-title">{safe(section.title)}</h2>\n{body}\n</section>'
        )
    notes = "".join(f"<li>{safe(note)}</li>" for note in content.notes)
    count = f"{len(runs):,} run{'s' if len(runs) > 1 else ''}, {points:,} points"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{safe(content.title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#answer">Skip to the answer</a>
<header>
<h1>{safe(content.title)}</h1>
<p class="small">{safe(count)}</p>
<nav aria-label="Sections"><ul>{links}<li><a href="#made">How it was made</a></li></ul></nav>
<noscript><p class="absent">Without JavaScript: the text, the tables and one picture.</p></noscript>
</header>
<main>
{chr(10).join(parts)}
<section id="made" aria-labelledby="made-title">
<h2 id="made-title">How it was made</h2>
<ul>{notes}</ul>
</section>
</main>
<script type="application/json" id="data">{embedded(content.data)}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


TOOLS = """<form id="tools" hidden aria-label="What the figures show" autocomplete="off">
<label>Run <select id="run"></select></label>
<label>Axis <select id="axis"></select></label>
<span role="group" aria-label="Scale of the axis" class="pair">
<label><input type="radio" name="scale" value="log">log</label>
<label><input type="radio" name="scale" value="linear">linear</label></span>
<label>Law <select id="law"></select></label>
<label>Find runs <input type="search" id="find" placeholder="words; a comma for or"></label>
<output id="count" for="find"></output>
</form>"""


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def written(path: Path, content: Content) -> int:
    """Write the page; gives its size in bytes.

    Raises `DataError`: the file cannot be written.
    """
    data = page(content).encode("utf-8")
    try:
        path.write_bytes(data)
    except OSError as error:
        raise DataError(f"cannot write the report {path}: {error}") from None
    return len(data)
