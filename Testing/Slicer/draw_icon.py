"""Draws the extension's icon, two kidneys and a tumor as one sees them from the front: `make icon`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "KidneyTumorCascade.png", ROOT / "KidneyTumorCascade" / "Resources" / "Icons" / "KidneyTumorCascade.png")
SIZE = 128
# Drawn larger and scaled down, so that edges are smooth.
SCALE = 8

KIDNEY, KIDNEY_EDGE = (196, 92, 78, 255), (112, 40, 34, 255)
TUMOR, TUMOR_EDGE = (150, 220, 140, 255), (44, 110, 52, 255)
URETER = (226, 178, 84, 255)
CLEAR = (0, 0, 0, 0)

Ellipse = tuple[float, float, float, float]


def ellipse(draw: ImageDraw.ImageDraw, center_and_radii: Ellipse, fill: tuple[int, int, int, int]) -> None:
    """An ellipse by its centre and radii, in pixels of the finished icon."""
    x, y, across, down = (SCALE * value for value in center_and_radii)
    draw.ellipse((x - across, y - down, x + across, y + down), fill=fill)


def kidney() -> Image.Image:
    """The kidney on the left of the picture with its ureter, hilum to the middle; the other is its mirror image."""
    edge = bean((34, 50, 27, 43), (66, 52, 15, 13), KIDNEY_EDGE)
    inside = bean((34, 50, 23, 39), (66, 52, 19, 17), KIDNEY)
    picture = Image.new("RGBA", edge.size, CLEAR)
    ureter = [(SCALE * x, SCALE * y) for x, y in ((44, 52), (54, 62), (57, 84), (57, 122))]
    ImageDraw.Draw(picture).line(ureter, fill=URETER, width=6 * SCALE, joint="curve")
    for layer in (edge, inside):
        picture.alpha_composite(layer)
    return picture


def bean(body: Ellipse, hilum: Ellipse, color: tuple[int, int, int, int]) -> Image.Image:
    """An ellipse with another one cut out of it, its upper end leaning to the middle."""
    picture = Image.new("RGBA", (SIZE * SCALE, SIZE * SCALE), CLEAR)
    draw = ImageDraw.Draw(picture)
    ellipse(draw, body, color)
    ellipse(draw, hilum, CLEAR)
    return picture.rotate(-10, center=(34 * SCALE, 50 * SCALE), resample=Image.Resampling.BICUBIC)


def icon() -> Image.Image:
    """The icon at its full size."""
    one = kidney()
    picture = Image.new("RGBA", one.size, CLEAR)
    for side in (one, one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        picture.alpha_composite(side)
    draw = ImageDraw.Draw(picture)
    ellipse(draw, (102, 74, 24, 24), TUMOR_EDGE)
    ellipse(draw, (102, 74, 20, 20), TUMOR)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the icon to both places."""
    for place in PLACES:
        icon().save(place, optimize=True)


if __name__ == "__main__":
    main()
