"""index.html of a batch: complete, sortable, and deaf to whatever stands in patients' files."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KidneyTumorCascadeLib.batch_page import batch_page, link
from KidneyTumorCascadeLib.batch_records import DONE, FAILED, SKIPPED, CaseOutcome, LeftOut
from KidneyTumorCascadeLib.batch_summary import BatchOverview
from Testing.Library.test_batch_summary import done, side

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "\"><img src=x onerror=alert(1)></script><script>alert(2)</script>'&lt;"
VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """What a browser sees: tags with their attributes, and the text of each row's cells."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.scripts = ""
        self.styles = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts += data
        elif "style" in self._open:
            self.styles += data
        elif "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def overview() -> BatchOverview:
    """A batch of five scans, one of each kind."""
    outcomes = [
        done("small", side("right", 150.0), side("left", 160.0, 2.5, 1, 17.0)),
        done("large", side("right", 140.0, 80.0, 2, 61.0), side("left", 170.0), warnings=("Slices are thick.",), status=SKIPPED),
        CaseOutcome("damaged", FAILED, 1.0, 3, "damaged.nii.gz ends too early; copy it again."),
        done("none", side("left", 120.0)),
    ]
    names = ["damaged", "large", "none", "small", "to come"]
    left = [LeftOut("notes.txt", "It is no image file.")]
    return BatchOverview(names, {outcome.case: outcome for outcome in outcomes}, left, "default 0.1.1", "standard")


def body_rows(page: Page) -> list[list[str]]:
    """The rows of the table of scans."""
    return [row for row in page.rows if len(row) > 2 and row[0] in ("", "–")]


def test_each_scan_has_its_row_with_volumes_by_side() -> None:
    rows = {row[1].split("labels")[0]: row for row in body_rows(Page(batch_page(overview())))}
    assert list(rows) == ["damaged", "large", "none", "small", "to come"]
    assert [row[2] for row in rows.values()] == ["failed3 attempts", "done before", "done", "done", "waiting"]
    assert rows["small"][3:8] == ["150", "0", "160", "2.51 tumor, 17 mm", "12.3"]
    assert rows["large"][3:7] == ["140", "80.02 tumors, 61 mm", "170", "0"]
    assert rows["none"][3:7] == ["–", "–", "120", "0"]
    assert rows["large"][8] == "Slices are thick."
    assert rows["damaged"][8] == "damaged.nii.gz ends too early; copy it again."


def test_a_mass_across_the_midline_has_columns_only_where_there_is_one() -> None:
    some = overview()
    assert "midline" not in batch_page(some)
    page = Page(batch_page(replace(some, outcomes={**some.outcomes, "to come": done("to come", side("both", 300.0, 90.0, 1, 70.0))})))
    assert body_rows(page)[-1][3:9] == ["–", "–", "–", "–", "300", "90.01 tumor, 70 mm"]
    assert {len(row) for row in body_rows(page)} == {11}


def test_the_head_says_what_was_run_and_that_it_is_research_software() -> None:
    text = batch_page(overview(), datetime(2025, 3, 1, 17, 5, tzinfo=timezone.utc))
    for words in ("in 5 scans", "Not for clinical use", "no medical device", "bundle default 0.1.1", "preset standard", "2025-03-01 17:05 UTC"):
        assert words in text
    assert "Not finished" in text
    assert "Not finished" not in batch_page(replace(overview(), finished=True))
    for count in ("<b>2</b>done", "<b>1</b>done before", "<b>1</b>failed", "<b>1</b>waiting", "<b>2</b>with tumor", "<b>1</b>with warnings"):
        assert count in text
    assert "notes.txt" in text
    assert "It is no image file." in text


def test_headings_name_the_column_that_they_sort() -> None:
    page = Page(batch_page(overview()))
    sorting = [heading for heading in page.all("th") if "aria-sort" in heading]
    assert [heading["data-column"] for heading in sorting] == ["1", "2", "7", "8", "3", "4", "5", "6"]
    assert all(heading["scope"] in ("col", "colgroup", "row") for heading in page.all("th"))
    cells = re.findall(r"<tr data-state.*?</tr>", batch_page(overview()))
    for row in cells:
        values = re.findall(r'<t[dh][^>]*?(?: data-value="([^"]*)")?>', row)
        assert len(values) == 9
    numbers = [heading["data-column"] for heading in sorting if heading["data-kind"] == "number"]
    small = re.findall(r'<t[dh][^>]*?(?: data-value="([^"]*)")?>', cells[3])
    assert [float(small[int(str(column))]) for column in numbers] == [12.346, 0, 150, 0, 160, 2.5]


def test_nothing_runs_and_nothing_is_loaded_but_what_is_written_here() -> None:
    page = Page(batch_page(overview()))
    [policy] = [str(meta["content"]) for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["'self'", "file:"]
    for name, text in (("script-src", page.scripts), ("style-src", page.styles)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == [f"'sha256-{digest}'"]
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not page.all("link")
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]
    assert "http://" not in page.scripts + page.styles
    assert "https://" not in page.scripts + page.styles


def test_hostile_names_stay_text() -> None:
    outcomes = {
        HOSTILE: replace(done(HOSTILE, side("left", 1.0), warnings=(HOSTILE,)), preview=f"{HOSTILE}.png"),
        "b": CaseOutcome("b", FAILED, 0.0, 1, HOSTILE),
    }
    page = Page(batch_page(BatchOverview([HOSTILE, "b", HOSTILE + "2"], outcomes, [LeftOut(HOSTILE, HOSTILE)], HOSTILE, HOSTILE)))
    assert len(page.all("script")) == 1
    assert [image.get("src", "") for image in page.all("img") if "src" in image] == [link(f"{HOSTILE}.png")]
    assert {name for _, attributes in page.tags for name in attributes if name.startswith("on")} == set()
    assert body_rows(page)[0][8] == HOSTILE
    assert body_rows(page)[1][8] == HOSTILE
    assert body_rows(page)[2][1] == HOSTILE + "2"


@pytest.mark.parametrize(
    "name", ["javascript:alert(1)", "//evil.example/x", "data:text/html,x", "a b#c?d%41", "../up", "ünï/côde", "http://x", "raw\udcff"]
)
def test_links_stay_beside_the_page_whatever_the_name(name: str) -> None:
    found = urlsplit(urljoin("file:///out/batch/index.html", link(name)))
    assert (found.scheme, found.netloc, found.query, found.fragment) == ("file", "", "", "")
    assert unquote_to_bytes(link(name)) == b"./" + name.encode("utf-8", "surrogateescape")


@settings(max_examples=60)
@given(texts=st.lists(st.text(max_size=30), min_size=4, max_size=4))
def test_no_text_adds_a_tag(texts: list[str]) -> None:
    name, reason, warning, title = texts
    plain = Page(batch_page(_two("name", "reason", "warning", "title")))
    html = batch_page(_two(name or "name", reason or "reason", warning, title or "title"))
    html.encode("utf-8")
    assert [tag for tag, _ in Page(html).tags] == [tag for tag, _ in plain.tags]


def _two(name: str, reason: str, warning: str, title: str) -> BatchOverview:
    """A failed scan and one that is done, whose names differ from each other."""
    failed, good = CaseOutcome(name, FAILED, 0.0, 1, reason), done(f"{name}/good", side("left", 1.0), warnings=(warning,))
    return BatchOverview([name, good.case], {name: failed, good.case: good}, [LeftOut(name, reason)], title, title)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", ["damaged", "large", "none", "small", "to come"]),
        ("#sort=-right-tumor", ["large", "small", "damaged", "none", "to come"]),
        ("#sort=left-kidney", ["none", "small", "large", "damaged", "to come"]),
        ("#sort=-case", ["to come", "small", "none", "large", "damaged"]),
        ("#state=failed", ["damaged"]),
        ("#tumor=1", ["large", "small"]),
        ("#warned=1", ["large"]),
        ("#find=copy+early", ["damaged"]),
    ],
)
def test_a_browser_sorts_and_filters(address: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(batch_page(overview()), encoding="utf-8")
    html = subprocess.run(
        [
            str(BROWSER),
            *("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
            (tmp_path / "index.html").as_uri() + address,
        ],
        capture_output=True,
        encoding="utf-8",  # of the page, whatever this process's own is
        check=True,
        timeout=120,
    ).stdout
    rows = re.findall(r'<tr data-state="[^"]*"(.*?)>.*?<bdi>(.*?)</bdi>', html)
    assert [name for marks, name in rows if "hidden" not in marks] == expected
    assert f"{len(expected)} of 5 scans shown" in html


def test_states_have_a_badge_each() -> None:
    badges = re.findall(r'class="badge (\w+)"', batch_page(overview()))
    assert badges == [FAILED, SKIPPED, DONE, DONE, "waiting"]
