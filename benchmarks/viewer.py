"""Times the viewer: from the click on "Open in OHIF" to the dose on all three planes, in headless Chromium."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom import dcmread

from phantoms import pelvis
from phantoms.rtdose import rtdose
from tests.browser.browsing import Browser, chromium
from tests.system.processes import wait_for
from tests.system.service import Service

CASES = Path(__file__).parents[2] / "shared/cases"
# colors in all three pictures, whose images are grey; contours and lines are drawn on other canvases
SHOWN = """
const views = window.cornerstone?.getRenderingEngines()[0]?.getViewports() ?? [];
return views.length >= 3 && views.every((v) => {
  const small = new OffscreenCanvas(64, 64).getContext('2d');
  small.drawImage(v.canvas, 0, 0, 64, 64);
  const { data } = small.getImageData(0, 0, 64, 64);
  for (let i = 0; i < data.length; i += 4) {
    if (Math.max(...data.slice(i, i + 3)) - Math.min(...data.slice(i, i + 3)) > 40) return true;
  }
  return false;
});
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--case", type=Path, default=CASES / "prostate", help="its clinical dose; else a phantom")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--table", type=Path, default=None, help="also written to this file")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as name:
        text = run(Path(name), options.case, options.rounds)
    print(text)
    if options.table is not None:
        options.table.write_text(text + "\n")


def run(folder: Path, case: Path, rounds: int) -> str:
    """The first click of a new browser, and the later ones, as a Markdown table."""
    with Service(folder / "service") as service:
        service.start(workers=0)
        study_uid = store(service, folder, case)
        first, later = [], []
        for number in range(rounds):
            with chromium(folder / f"chromium-{number}") as browser:
                first.append(click(browser, service, study_uid))
                later.append(click(browser, service, study_uid))
    rows = [("first click of a new browser", first), ("later clicks", later)]
    header = [f"| From the click to the dose on three planes, median of {rounds} | |", "|---|---|"]
    lines = [f"| {name} | {statistics.median(s):.1f} s ({min(s):.1f} to {max(s):.1f}) |" for name, s in rows]
    load = f"| load of the machine, {os.cpu_count()} cores | {os.getloadavg()[0]:.1f} |"
    return "\n".join([*header, *lines, load])


def store(service: Service, folder: Path, case: Path) -> str:
    """Send the case or, without it, a phantom with a dose of another system; its Study Instance UID."""
    if (case / "RTDOSE.dcm").is_file():
        service.send([*sorted((case / "CT").iterdir()), case / "RTSTRUCT.dcm", case / "RTDOSE.dcm"])
        return str(dcmread(case / "RTDOSE.dcm", stop_before_pixels=True).StudyInstanceUID)
    study = pelvis()
    files = study.save(folder / "study")
    gy = np.fromfunction(lambda z, y, x: 60 * np.exp(-((x - 60) ** 2 + (y - 50) ** 2) / 800) + 0 * z, (40, 100, 120))
    dose = rtdose(study, gy.astype(np.float32), origin_mm=(-180, -150, -60), spacing_mm=(3, 3, 3))
    files.append(folder / "dose.dcm")
    dose.save_as(files[-1], enforce_file_format=True)
    service.send(files)
    return str(study.rtstruct.StudyInstanceUID)


def click(browser: Browser, service: Service, study_uid: str) -> float:
    """Seconds from a click on "Open in OHIF" in Orthanc Explorer until the dose is drawn."""
    found = service.http.post("/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study_uid}}).json()
    browser.open(f"{service.orthanc_url}/app/explorer.html#study?uuid={found[0]}")
    browser.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    link = browser.button("Open in OHIF", "#radiarch-study a")
    browser.wait_text("No plans yet", "radiarch-runs")  # the page is complete
    start = time.monotonic()
    browser.click(link)
    wait_for(lambda: browser.script(f"try {{ {SHOWN} }} catch {{ return false }}"), "the dose is drawn", within_s=120)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
