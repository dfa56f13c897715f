"""Makes the pictures of the module in docs/screenshots: the panel, and the four views with boxes and segments. `make screenshots` runs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from Testing.Slicer.desk import boot, missing

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "KidneyTumorCascade" / "KidneyTumorCascade.py"
TARGET = ROOT / "docs" / "screenshots"
VIEW = 480
GAP = 4
MOST_BYTES = 400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("folder", nargs="?", type=Path, default=TARGET)
    options = parser.parse_args()
    if missing():
        raise SystemExit(missing())
    options.folder.mkdir(parents=True, exist_ok=True)
    desk = boot()
    with desk.load(MODULE).panel() as widget:
        take(desk, widget, options.preset, options.folder)


def take(desk: Any, widget: Any, preset: str, folder: Path) -> None:
    """Segments a phantom and takes the pictures: while it runs, and when it is done."""
    from KidneyTumorCascadeScene import sample_data

    sample_data.addPhantom()
    widget.panel.connect(widget.logic.getParameters())
    widget.logic.getParameters().preset = preset
    window = widget.ui.segmentButton.window()
    window.resize(440, 860)
    window.show()
    widget.ui.segmentButton.click()
    desk.wait_until(lambda: widget.ui.progressBar.value >= 40 or not widget.logic.workflow.busy, 1800.0)
    save(desk, window, folder / "panel-running.png")
    desk.wait_until(lambda: not widget.logic.workflow.busy, 1800.0)
    widget.ui.show3DButton.click()
    save(desk, window, folder / "panel.png")
    aim(desk, widget)
    four_up(desk, folder / "views.png")
    widget.ui.boxesSection.collapsed = widget.ui.resultsSection.collapsed = True
    widget.ui.advancedSection.collapsed = False
    widget.ui.reportText.visible = False
    save(desk, window, folder / "panel-advanced.png")


def save(desk: Any, window: Any, path: Path) -> None:
    """A picture of a widget."""
    desk.app.processEvents()
    window.grab().save(str(path))
    require_small(path)


def aim(desk: Any, widget: Any) -> None:
    """Shows the largest tumor in the slices, or the middle of the left box, and turns the 3D view to the front."""
    import slicer

    from KidneyTumorCascadeScene import results_table
    from KidneyTumorCascadeScene.volumes import toWorld

    parameters = widget.logic.getParameters()
    rows = range(parameters.table.GetNumberOfRows())
    positions = [position for row in rows if (position := results_table.positionOf(parameters.table, row)) is not None]
    point = toWorld(positions[0], parameters.ct) if positions else parameters.leftBox.GetCenterWorld()
    for name in ("Red", "Green", "Yellow"):
        view = desk.slice_view(name)
        enlarge(view)
        view.logic.ResizeSliceNode(VIEW, VIEW)
        view.fit()
    slicer.modules.markups.logic().JumpSlicesToLocation(*point, False)
    three = desk.three_d_view()
    enlarge(three)
    three.node.SetBoxVisible(0)
    three.node.SetAxisLabelsVisible(0)
    three.fit()
    # The boxes, which reach further than the segments, shall be in the picture too.
    three.renderer.GetActiveCamera().Zoom(0.75)


def enlarge(view: Any) -> None:
    """From the size of the tests to one that is good to look at."""
    view.window.SetSize(VIEW, VIEW)
    view.interactor.UpdateSize(VIEW, VIEW)


def four_up(desk: Any, path: Path) -> None:
    """The layout that Slicer calls four-up: axial and 3D above, coronal and sagittal below."""
    import numpy as np
    from PIL import Image

    axial, coronal, sagittal = (desk.slice_view(name).picture() for name in ("Red", "Green", "Yellow"))
    across = np.zeros((VIEW, GAP, 3), np.uint8)
    rows = [np.hstack((axial, across, desk.three_d_view().picture())), np.hstack((coronal, across, sagittal))]
    picture = np.vstack((rows[0], np.zeros((GAP, rows[0].shape[1], 3), np.uint8), rows[1]))
    # A palette: the noise of a CT in full color takes twice the space.
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    require_small(path)


def require_small(path: Path) -> None:
    """Pictures live in the repository."""
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{path} is larger than {MOST_BYTES // 1000} kB")


if __name__ == "__main__":
    main()
