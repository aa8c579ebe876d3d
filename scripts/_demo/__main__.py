"""`scripts/demo`: options, and the order of things."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import FrameType

from pydicom import dcmread
from radiarch_client import Radiarch, RadiarchError
from radiarch_client.models import Plan
from radiarch_contract.states import OutputKind, PlanState
from rich.console import Console

from scripts._service.errors import ScriptError
from scripts._service.orthanc import DicomPeer
from scripts._service.ports import free_port
from scripts._service.processes import adopt_orphans
from scripts._service.service import CHECKOUT, Service, ServiceSettings

from . import picture, show
from .cases import Case, make_phantom, read_folder
from .session import AET, Session, Stopped

_INTERRUPTED = 130
_KEPT_SHOWN = 100
# whoever sends from this machine with the usual tools; other machines are refused
_LOCAL_AETS = (AET, "DCMSEND", "STORESCU", "ECHOSCU", "PYNETDICOM")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    try:
        return _Demo(options, console).run()
    except ScriptError as e:
        console.print(f"scripts/demo: {e}\n  {e.remedy}", style="red", markup=False)
        return 1
    except RadiarchError as e:
        console.print(f"scripts/demo: {e.info.code}: {e.info.message}\n  {e.info.remedy}", style="red", markup=False)
        return 1


class _Demo:
    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._signals = 0
        self._service: Service | None = None
        self._folder: Path = options.folder.absolute()
        self._results = self._folder / "results"

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        adopt_orphans()
        self._say_installed()
        state = self._folder / "service"
        if not self._options.keep:
            self._clear(state)
        settings = ServiceSettings(
            state=state,
            http_port=free_port(),
            dicom_port=free_port(),
            protocols=self._options.protocols.absolute(),
            dicom_peers=tuple(DicomPeer(aet, "127.0.0.1") for aet in _LOCAL_AETS),
        )
        done = False
        try:
            with Service(settings, self._say) as service:
                self._service = service
                with Radiarch(service.url) as client:
                    session = Session(service, client, say=self._say, stopping=lambda: self._signals > 0)
                    self._plan_and_show(session, client)
                    done = True
                    self._stay(session)
        except Stopped:
            self._say("stopped")
            return 0 if done else _INTERRUPTED
        finally:
            if not self._options.keep:
                self._clear(state)
        return 0

    def _plan_and_show(self, session: Session, client: Radiarch) -> None:
        since = time.monotonic()
        self._say(f"starting Orthanc, Redis and a worker in {self._folder}")
        case = self._case()
        with session.timed("start"):
            session.wait_until_ready()
        self._say_kept(client)
        self._say(f"sending {len(case.files)} DICOM files ({case.title}) by C-STORE")
        with session.timed("send"):
            session.send(case)
        with session.timed("arrival to plan"):
            plan_id = session.wait_for_plan(case)
        self._say(f"the arrival started plan {plan_id}")
        display = show.ProgressDisplay(self._console)
        try:
            with session.timed("planning"):
                plan = session.wait_for_end(plan_id, display)
        finally:
            display.close()
        if plan.error is not None:
            self._keep_log(plan, client)
        plan.raise_for_failure()
        session.timings_s["total"] = time.monotonic() - since
        self._report(case, plan, client, session)

    def _keep_log(self, plan: Plan, client: Radiarch) -> None:
        """What the job said; the service's own copy goes with the demo."""
        self._results.mkdir(parents=True, exist_ok=True)
        path = self._results / "job.log"
        path.write_text("".join(f"{line}\n" for line in client.job_log(plan.id).lines), encoding="utf-8")
        self._say(f"the job's log is {path}")

    def _report(self, case: Case, plan: Plan, client: Radiarch, session: Session) -> None:
        console, results = self._console, self._results
        curves = client.dvh(plan.id).curves
        show.result(console, plan, curves)
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        show.dvh_picture(plan, curves, results / "dvh.png")
        (results / "plan.json").write_text(plan.model_dump_json(indent=2), encoding="utf-8")
        stored = {o.kind: client.orthanc.instance_file(o.orthanc_id) for o in plan.outputs if o.orthanc_id}
        for kind, content in stored.items():
            (results / f"{kind}.dcm").write_bytes(content)
            if kind == OutputKind.REPORT:
                (results / "report.pdf").write_bytes(dcmread(BytesIO(content)).EncapsulatedDocument)
        prescription, beams = plan.prescription, plan.beams
        if prescription is not None and beams and beams[0].isocenter_mm is not None:
            picture.draw(
                case.files[:-1],
                dcmread(case.rtstruct),
                dcmread(BytesIO(stored["rtdose"])),
                prescription_gy=prescription.dose_gy,
                centre_mm=beams[0].isocenter_mm,
                title=f"{case.title}: {prescription.dose_gy:g} Gy (RBE) to {prescription.target}",
                path=results / "dose.png",
            )
        show.identities(console, plan)
        show.timings(console, plan, session.timings_s)
        console.print(f"written  {results}/: " + ", ".join(sorted(p.name for p in results.iterdir())))

    def _stay(self, session: Session) -> None:
        service = self._service
        if service is None or self._options.no_wait:
            return
        if not self._console.is_terminal and not self._options.wait:
            self._say("not on a terminal, so this ends now (--wait stays until Ctrl-C)")
            return
        base, dicom_port = service.url, service.settings.dicom_port
        self._console.print(
            f"""
open     {base}/app/explorer.html      Orthanc Explorer
         {base}/radiarch/api/docs      the REST interface
send     dcmsend -aet {AET} -aec RADIARCH +sd +r 127.0.0.1 {dicom_port} YOUR_FOLDER
ask      .venv/bin/radiarch --url {base} list
Ctrl-C ends everything{"" if self._options.keep else " and removes what was stored"}.""",
            markup=False,
        )
        while True:
            session.pause(1.0)

    def _case(self) -> Case:
        folder = self._folder / "dicom"
        if self._options.dicom is not None:
            return read_folder(self._options.dicom.absolute())
        shutil.rmtree(folder, ignore_errors=True)
        return make_phantom(self._options.case, folder, self._folder / "downloads", self._say)

    def _clear(self, state: Path) -> None:
        """Remove what a run stored; caches that make the next start quick stay, and so do the logs."""
        for name in ("orthanc", "redis"):
            shutil.rmtree(state / name, ignore_errors=True)

    def _say_kept(self, client: Radiarch) -> None:
        """What an earlier run with --keep left here."""
        kept = [plan.state for plan in islice(client.list_plans(), _KEPT_SHOWN)]
        if kept:
            count = f"{len(kept)} or more" if len(kept) == _KEPT_SHOWN else str(len(kept))
            self._say(f"kept from earlier runs: {count} plans, {kept.count(PlanState.SUCCEEDED)} of them with results")

    def _say_installed(self) -> None:
        since = float(os.environ.get("RADIARCH_DEMO_SINCE") or time.time())
        if time.time() - since > 5:
            self._say(f"installing took {time.time() - since:.0f} s")

    def _say(self, text: str) -> None:
        self._console.print(f"[{time.strftime('%H:%M:%S')}] {text}", markup=False)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1 and self._service is not None:
            self._service.hurry()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Start everything on private ports, send a phantom by C-STORE, and show the plan that comes of it.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--case", choices=["pelvis", "tg119"], default="pelvis", help="which phantom (default: pelvis)")
    what.add_argument("--dicom", type=Path, metavar="FOLDER", help="your own CT and RTSTRUCT instead")
    parser.add_argument(
        "--protocols", type=Path, default=CHECKOUT / "orthanc-config" / "protocols", help="folder of planning protocols"
    )
    parser.add_argument(
        "--folder", type=Path, default=CHECKOUT / ".state" / "demo", help="where everything is (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="keep what is stored, for the next run with --keep")
    stay = parser.add_mutually_exclusive_group()
    stay.add_argument("--no-wait", action="store_true", help="end after the result, also on a terminal")
    stay.add_argument("--wait", action="store_true", help="stay until Ctrl-C, also without a terminal")
    return parser


if __name__ == "__main__":
    sys.exit(main())
