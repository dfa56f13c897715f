"""index.html of a batch: one row for each scan, to be sorted, filtered and looked through. One file that needs no network and no server.

Whatever stands in patients' files stays text: everything is escaped, links are percent-encoded, and the page's own policy lets nothing run
but the script that is written here, and nothing be loaded but pictures that lie beside it.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.batch_records import DONE, SKIPPED
from KidneyTumorCascadeLib.batch_summary import LEFT_OUT, STATES, SUMMARY_NAME, BatchOverview, Row, SideSum, writable
from KidneyTumorCascadeLib.report import NOTICE, PRODUCT

PAGE_NAME = "index.html"
PARTS = Path(__file__).parent / "Page"
NO_DEVICE = "It is no medical device: nothing that it finds or does not find may decide on a patient."
SIDE_NAMES = {"right": "Right", "left": "Left", "both": "Across the midline"}
STATE_NAMES = {SKIPPED: "done before"}
# What stands in a cell about which there is nothing to say.
NOTHING = '<span class="nothing" aria-label="none">–</span>'


def batch_page(overview: BatchOverview, written: datetime | None = None) -> str:
    """The whole page. `written` is now unless given."""
    rows = [row for row in overview.rows() if row.state != LEFT_OUT]
    sides = [side for side in SIDE_NAMES if side != "both" or any(side in row.sides for row in rows)]
    style, script = part("batch.css"), part("batch.js")
    parts = (
        _head(overview, style, script),
        _header(overview, written or datetime.now(timezone.utc)),
        _controls({row.state for row in rows}),
        _table(rows, sides),
        _left_out(overview),
        _viewer(),
        f"<script>{script}</script>",
    )
    return "\n".join([*parts, "</body>", "</html>", ""])


@cache
def part(name: str) -> str:
    """The text of a part of the page that lies beside the program."""
    return (PARTS / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """The page's content security policy: this style, this script, pictures from where the page lies, and nothing else."""
    sources = f"img-src 'self' file:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def safe(text: str) -> str:
    """Text as HTML: nothing in it is markup."""
    return escape(writable(text), quote=True)


def link(path: str) -> str:
    """The address of a file relative to the page: never another scheme or host, whatever its name is."""
    return "./" + quote(os.fsencode(path), safe="/")


# --- above the table -------------------------------------------------------------------------------------------------------------------------


def _head(overview: BatchOverview, style: str, script: str) -> str:
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{safe(policy(style, script))}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="robots" content="noindex">',
            f"<title>{safe(_title(overview))}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
        )
    )


def _title(overview: BatchOverview) -> str:
    return f"Kidneys and kidney tumors in {_count(len(overview.names), 'scan')}"


def _header(overview: BatchOverview, written: datetime) -> str:
    moment = written.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    state = "Finished" if overview.finished else "Not finished: load the page again while the batch runs, or start it again to go on. State of"
    used = [f"{PRODUCT} {__version__}", *([f"bundle {overview.bundle}"] if overview.bundle else [])]
    used += [f"preset {overview.preset}"] if overview.preset else []
    return "\n".join(
        (
            "<header>",
            f"<h1>{safe(_title(overview))}</h1>",
            f'<p class="notice">{safe(NOTICE)} {safe(NO_DEVICE)}</p>',
            f'<p class="made">{safe(", ".join(used))}. {state} {moment}. The same as a table: <a href="{link(SUMMARY_NAME)}">{SUMMARY_NAME}</a></p>',
            f'<ul class="counts">{"".join(_count_items(overview))}</ul>',
            "</header>",
        )
    )


def _count_items(overview: BatchOverview) -> Iterator[str]:
    rows = list(overview.rows())
    counts = {_state_name(state): count for state, count in overview.counts().items() if count or state == DONE}
    counts["with tumor"] = sum(_has_tumor(row) for row in rows)
    counts["with warnings"] = sum(bool(row.warnings) for row in rows)
    for name, count in counts.items():
        yield f"<li><b>{count}</b>{safe(name)}</li>"


def _controls(present: set[str]) -> str:
    options = "".join(f'<option value="{state}">{_state_name(state)}</option>' for state in STATES if state in present)
    return "\n".join(
        (
            '<form class="controls" id="controls" role="search" aria-label="Scans" autocomplete="off" hidden>',
            '<label>Find <input type="search" name="find" placeholder="name, warning, reason"></label>',
            f'<label>State <select name="state"><option value="">all</option>{options}</select></label>',
            '<label><input type="checkbox" name="tumor"> with tumor</label>',
            '<label><input type="checkbox" name="warned"> with warnings</label>',
            '<output id="shown" aria-live="polite"></output>',
            "</form>",
        )
    )


# --- the table -------------------------------------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Row], sides: Sequence[str]) -> str:
    return "\n".join(
        (
            '<main><table id="cases">',
            "<caption>One row for each scan; the buttons in the headings sort.</caption>",
            _headings(sides),
            "<tbody>",
            *(_row(row, sides) for row in rows),
            "</tbody></table></main>",
        )
    )


def _headings(sides: Sequence[str]) -> str:
    after = 3 + 2 * len(sides)
    top = [
        '<th scope="col" rowspan="2">Preview</th>',
        _sortable(1, "case", "text", "Case", both=True),
        _sortable(2, "state", "text", "State", both=True),
        *(f'<th class="group first-of-side last-of-side" scope="colgroup" colspan="2">{SIDE_NAMES[side]} (ml)</th>' for side in sides),
        _sortable(after, "seconds", "number", "Seconds", both=True),
        _sortable(after + 1, "warnings", "number", "Warnings and reasons", both=True, extra="texts"),
    ]
    below = [_side_heading(3 + 2 * index, side) for index, side in enumerate(sides)]
    return f"<thead><tr>{''.join(top)}</tr><tr>{''.join(below)}</tr></thead>"


def _side_heading(column: int, side: str) -> str:
    kidney = _sortable(column, f"{side}-kidney", "number", '<span class="kidney">kidney</span>', extra="first-of-side")
    return kidney + _sortable(column + 1, f"{side}-tumor", "number", '<span class="tumor">tumor</span>', extra="last-of-side")


def _sortable(column: int, key: str, kind: str, name: str, both: bool = False, extra: str = "") -> str:
    """A heading that sorts by the cells of its column."""
    rows = ' rowspan="2"' if both else ""
    classes = " ".join(filter(None, ("number" if kind == "number" and key != "warnings" else "", extra)))
    shape = f' class="{classes}"' if classes else ""
    data = f'data-column="{column}" data-key="{key}" data-kind="{kind}"'
    return f'<th scope="col"{rows}{shape} aria-sort="none" {data}><button type="button">{name}</button></th>'


def _row(row: Row, sides: Sequence[str]) -> str:
    marks = "".join(f" data-{mark}" for mark, holds in (("tumor", _has_tumor(row)), ("warned", bool(row.warnings))) if holds)
    cells = [
        _picture_cell(row),
        _name_cell(row),
        _state_cell(row),
        *(cell for side in sides for cell in _side_cells(row, side)),
        _seconds_cell(row),
        _text_cell(row),
    ]
    return f'<tr data-state="{safe(row.state)}"{marks}>{"".join(cells)}</tr>'


def _has_tumor(row: Row) -> bool:
    return row.total is not None and row.total.tumors > 0


def _picture_cell(row: Row) -> str:
    if row.preview is None:
        return f'<td class="picture">{NOTHING}</td>'
    name, address = safe(row.name), link(row.preview)
    image = f'<img src="{address}" alt="Slices of {name} with what was found" loading="lazy">'
    return f'<td class="picture"><a href="{address}" data-name="{name}">{image}</a></td>'


def _name_cell(row: Row) -> str:
    files = [(what, path) for what, path in (("labels", row.labels), ("manifest", row.manifest)) if path is not None]
    links = " · ".join(f'<a href="{link(path)}">{what}</a>' for what, path in files)
    more = f'<span class="more files">{links}</span>' if links else ""
    return f'<th scope="row" data-value="{safe(row.name)}"><bdi>{safe(row.name)}</bdi>{more}</th>'


def _state_cell(row: Row) -> str:
    again = f'<span class="more">{row.attempts} attempts</span>' if row.attempts and row.attempts > 1 else ""
    return f'<td data-value="{_state_name(row.state)}"><span class="badge {row.state}">{_state_name(row.state)}</span>{again}</td>'


def _side_cells(row: Row, side: str) -> Iterator[str]:
    found = row.sides.get(side)
    if found is None:
        yield f'<td class="number first-of-side" data-value="">{NOTHING}</td>'
        yield f'<td class="number last-of-side" data-value="">{NOTHING}</td>'
        return
    yield f'<td class="number first-of-side" data-value="{found.kidney_ml:.3f}">{found.kidney_ml:.0f}</td>'
    kind = "found" if found.tumors else "nothing"
    volume = f"{found.tumor_ml:.1f}" if found.tumors else "0"
    yield f'<td class="number last-of-side {kind}" data-value="{found.tumor_ml:.3f}">{volume}{_tumor_details(found)}</td>'


def _tumor_details(found: SideSum) -> str:
    if not found.tumors:
        return ""
    size = "" if found.longest_axial_mm is None else f", {found.longest_axial_mm:.0f} mm"
    return f'<span class="more">{_count(found.tumors, "tumor")}{size}</span>'


def _text_cell(row: Row) -> str:
    reason = f'<p class="reason">{safe(row.reason)}</p>' if row.reason else ""
    sentences = "".join(f"<li>{safe(text)}</li>" for text in row.warnings)
    warnings = f"<ul>{sentences}</ul>" if sentences else ""
    return f'<td class="texts" data-value="{len(row.warnings) if row.attempts else ""}">{reason}{warnings}</td>'


def _seconds_cell(row: Row) -> str:
    if row.seconds is None:
        return f'<td class="number" data-value="">{NOTHING}</td>'
    return f'<td class="number" data-value="{row.seconds:.3f}">{row.seconds:.1f}</td>'


# --- below the table -------------------------------------------------------------------------------------------------------------------------


def _left_out(overview: BatchOverview) -> str:
    if not overview.left_out:
        return ""
    lines = "".join(f'<tr><th scope="row"><bdi>{safe(item.name)}</bdi></th><td>{safe(item.reason)}</td></tr>' for item in overview.left_out)
    heads = '<thead><tr><th scope="col">Name</th><th scope="col">Why</th></tr></thead>'
    return f'<section id="left-out"><h2>Left out</h2><table>{heads}<tbody>{lines}</tbody></table></section>'


def _viewer() -> str:
    names = (("previous", "Previous"), ("next", "Next"), ("close", "Close"))
    buttons = "".join(f'<button type="button" data-action="{action}">{name}</button>' for action, name in names)
    return f'<dialog id="viewer" aria-label="Preview"><div class="bar"><strong></strong>{buttons}</div><img alt=""></dialog>'


def _state_name(state: str) -> str:
    return STATE_NAMES.get(state, state)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
