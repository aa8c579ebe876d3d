"""Commands about DICOM in Orthanc: send, find, studies."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from radiarch_client.models import OrthancResource, SendReport, SentFile, StudyDetail

from ._base import Cli, Exit, RadiarchGroup, count, table
from ._tables import moment

_LEVELS = {"patients": "Patient", "studies": "Study", "series": "Series", "instances": "Instance"}
_SHOWN = {
    "Patient": ("PatientID", "PatientName"),
    "Study": ("StudyInstanceUID", "PatientID", "StudyDate", "StudyDescription"),
    "Series": ("SeriesInstanceUID", "Modality", "SeriesDescription"),
    "Instance": ("SOPInstanceUID", "InstanceNumber"),
}
_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]{1,63}")


def register(root: RadiarchGroup) -> None:
    """Add the commands."""

    @root.cmd("send")
    @click.argument("folder", type=click.Path(exists=True, path_type=Path))
    @click.option("--aet", metavar="TITLE", help="Send by C-STORE to this AE title instead of over REST.")
    @click.option("--dicom-host", metavar="HOST", help="For C-STORE; default: the host of --url.")
    @click.option("--dicom-port", type=click.IntRange(1, 65535), help="For C-STORE; default: what Orthanc tells.")
    @click.option("--calling-aet", default="RADIARCH", show_default=True, help="For C-STORE: who sends.")
    @click.option("--jobs", default=4, type=click.IntRange(1, 16), show_default=True, help="Uploads at once (REST).")
    def send(
        cli: Cli,
        folder: Path,
        aet: str | None,
        dicom_host: str | None,
        dicom_port: int | None,
        calling_aet: str,
        jobs: int,
    ) -> int:
        """Store every DICOM file below FOLDER (or in a zip) in Orthanc; an RTSTRUCT that a protocol fits is planned.

        Exit code 9 when a file could not be stored.
        """
        columns = (TextColumn("{task.description}"), MofNCompleteColumn())
        with Progress(*columns, console=cli.err, transient=True, disable=not cli.err.is_terminal) as bar:
            task = bar.add_task("files", total=None)

            def advance(_: SentFile) -> None:
                bar.advance(task)

            if aet is None:
                report = cli.client.orthanc.send_folder(folder, parallel_uploads=jobs, progress=advance)
            else:
                host, port = _dicom_address(cli, dicom_host, dicom_port)
                report = cli.client.orthanc.send_folder_dicom(
                    folder, host=host, port=port, called_aet=aet, calling_aet=calling_aet, progress=advance
                )
        if cli.as_json:
            cli.emit(report)
        else:
            _show(cli, report)
        return Exit.OK if report.ok else Exit.PROBLEMS

    @root.cmd("find")
    @click.argument("level", type=click.Choice(list(_LEVELS)))
    @click.argument("tags", nargs=-1, metavar="[KEYWORD=VALUE]...")
    @click.option("-n", "--limit", default=50, type=click.IntRange(0), show_default=True, help="0: all.")
    def find(cli: Cli, level: str, tags: tuple[str, ...], limit: int) -> None:
        """Search Orthanc by DICOM tags: find studies PatientID='HN*' StudyDate=20260101-"""
        query: dict[str, str] = {}
        for text in tags:
            keyword, equals, value = text.partition("=")
            if not equals or not _KEYWORD.fullmatch(keyword):
                raise click.UsageError(f"{text!r}: expected KEYWORD=VALUE, such as PatientID=HN*")
            query[keyword] = value
        name: Any = _LEVELS[level]
        found = list(islice(cli.client.orthanc.find(name, limit=limit or None, **query), limit or None))
        if cli.as_json:
            cli.emit({"items": found})
        else:
            cli.show(_resources(name, found))


def register_studies(root: RadiarchGroup) -> None:
    """Add the command about studies."""

    @root.cmd("studies")
    @click.argument("study_uid", required=False)
    @click.option("-q", "--query", "q", metavar="WORDS", help="In the patient's id or name, description, UID.")
    @click.option("--patient", "patient_id", metavar="ID", help="Patient ID.")
    @click.option("--from", "date_from", metavar="DATE", help="Study Date on that day or later: 2026-11-30.")
    @click.option("--to", "date_to", metavar="DATE", help="Study Date on that day or earlier.")
    @click.option("--modality", metavar="CODE", help="One of its series has it, such as CT.")
    @click.option("--structures/--no-structures", default=None, help="With, or without, a structure set.")
    @click.option("--plan/--no-plan", default=None, help="With, or without, a plan of any system.")
    @click.option("-n", "--limit", default=50, type=click.IntRange(0), show_default=True, help="0: all.")
    def studies(cli: Cli, study_uid: str | None, limit: int, **filters: Any) -> None:
        """Studies in Orthanc, newest first; with STUDY_UID, what is in that one and what happened to it."""
        if study_uid is not None:
            one = cli.client.get_study(study_uid, patient_id=filters["patient_id"])
            if cli.as_json:
                cli.emit(one)
            else:
                cli.show(*_study(one))
            return
        found = list(islice(cli.client.list_studies(**filters), limit or None))
        if cli.as_json:
            cli.emit({"items": found})
            return
        rows = (
            (s.study_date, s.patient_id, s.patient_name, s.description, " ".join(s.modalities), s.study_instance_uid)
            for s in found
        )
        columns = ("date", "patient", "name", "description", "modalities", "study")
        cli.show(table(*columns, rows=rows, whole=("study",)))


def _study(study: StudyDetail) -> tuple[Any, ...]:
    series = ((s.number, s.modality, s.description, s.instance_count, s.series_instance_uid) for s in study.series)
    objects = ((o.kind, o.series_description, o.plan_id, o.sop_instance_uid) for o in study.objects)
    line = ((moment(t.at), t.kind, t.decision or t.state, t.by, t.text, t.plan_id) for t in study.timeline)
    return (
        table("number", "modality", "series", "instances", "UID", rows=series, whole=("UID",)),
        table("kind", "series", "plan", "SOP Instance UID", rows=objects, whole=("plan", "SOP Instance UID")),
        table("at", "what", "state", "by", "of", "plan", rows=line, whole=("plan",)),
    )


def _dicom_address(cli: Cli, host: str | None, port: int | None) -> tuple[str, int]:
    import httpx

    return (
        host or httpx.URL(cli.settings.url).host,
        port or cli.client.orthanc.system().dicom_port or 4242,
    )


def _show(cli: Cli, report: SendReport) -> None:
    bad = [f for f in report.files if f.error is not None]
    if bad:
        cli.show(table("file", "status", "why", rows=((f.path, f.status, f.error and f.error.message) for f in bad)))
    stored, before = report.count("stored"), report.count("already_stored")
    other = count(len(report.skipped), "file")
    cli.say(f"{stored} stored, {before} there before, {len(bad)} not stored, {other} not DICOM.")


def _resources(level: str, found: list[OrthancResource]) -> Any:
    names = _SHOWN[level]
    rows = ((*(r.tag(n) for n in names), r.id) for r in found)
    return table(*names, "Orthanc", rows=rows, whole=("Orthanc",))
