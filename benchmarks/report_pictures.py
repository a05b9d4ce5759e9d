"""Pictures of a report: light and dark, wide and on a phone.

    python benchmarks/report_pictures.py runs/first --out results/pictures

Writes `NAME_light_wide.png` and three more, of the whole page each, with `--name`, by default that of the run. Colors
are reduced to 256, so that files stay small.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

import dse
from dse.testing.browser import chromium, wait_until_drawn

ROOT = Path(__file__).resolve().parents[1]

SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}

COLORS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--name", help="how the files begin")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    name = options.name or f"report_{options.run[0].resolve().name}"
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        page = dse.report(options.run, out=Path(folder) / "report.html")
        for scheme in ("light", "dark"):
            for size in SIZES:
                path = options.out / f"{name}_{scheme}_{size}.png"
                path.write_bytes(picture(browser, page, scheme, size))
                print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def picture(browser, path: Path, scheme: str, size: str) -> bytes:
    """The whole page as a PNG file."""
    is_phone = size == "phone"
    context = browser.new_context(color_scheme=scheme, viewport=SIZES[size], is_mobile=is_phone, has_touch=is_phone)
    page = context.new_page()
    page.goto(path.as_uri())
    wait_until_drawn(page)
    page.wait_for_timeout(300)
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    context.close()
    file = io.BytesIO()
    shot.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
