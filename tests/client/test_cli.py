"""The command line: what it prints, what it answers as JSON, and its exit codes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import httpx
import pytest
from radiarch_client import Radiarch
from radiarch_client.cli._base import Exit
from radiarch_client.cli._doctor import _parts
from radiarch_client.models import Info, Plan
from radiarch_contract.curves_csv import COLUMNS
from radiarch_contract.errors import ConflictError

from phantoms import PhantomStudy

from .conftest import Command, Stored
from .faults import Answer, faulty_server, json_answer
from .served import Served, forget_workers, look_at_studies

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(client: Radiarch, stored: Stored) -> Plan:
    return client.create_plan(stored.rtstruct_uid, protocol="test-box")


@pytest.fixture
def done(client: Radiarch, served: Served, stored: Stored, plan: Plan) -> Plan:
    served.start(plan.id, lines=("beamlets", "dose"))
    served.succeed(plan.id, dose_orthanc_id=stored.rtstruct_orthanc_id)
    return client.get_plan(plan.id)


def test_info(radiarch: Command, served: Served) -> None:
    served.add_worker()
    result = radiarch("info")
    assert result.code == Exit.OK
    assert "ready      yes" in result.out
    assert "mcsquare" in result.out
    assert radiarch("info", "--json").json["ready"] is True
    assert radiarch("--json", "info").json["ready"] is True  # in front of the command, too


def test_asking_for_a_plan(radiarch: Command, stored: Stored, tmp_path: Path) -> None:
    request = tmp_path / "request.yaml"
    request.write_text("workflow: proton-impt-basic\nprescription: {target: PTV, dose_gy: 50, fractions: 25}\n")
    made = radiarch(
        "plan", stored.rtstruct_uid, "--file", str(request), "--dose", "60", "--beams", "90,270:10",
        "--param", "seed=5", "--param", "spot_spacing_mm=6.5", "--goal", "PTV: D95% >= 95%", "--label", "CLI", "--json",
    ).json  # fmt: skip
    assert made["prescription"] == {"target": "PTV", "dose_gy": 60, "fractions": 25}
    assert [(b["gantry_deg"], b["couch_deg"]) for b in made["parameters"]["beams"]] == [(90, 0), (270, 10)]
    assert (made["parameters"]["seed"], made["parameters"]["spot_spacing_mm"]) == (5, 6.5)
    assert (made["workflow_id"], made["label"]) == ("proton-impt-basic", "CLI")
    again = radiarch("plan", "--study", stored.study_uid, "--protocol", "test-box", "--key", "cli", "--json").json
    assert again["priority"] == "interactive"
    many = radiarch("plan", "--study", stored.study_uid, "--protocol", "test-box", "--batch", "--json").json
    assert many["priority"] == "batch"
    assert again["rtstruct_sop_instance_uid"] == stored.rtstruct_uid
    assert radiarch("plan", stored.rtstruct_uid, "--protocol", "test-box", "--key", "cli").out.startswith(again["id"])


def test_a_roi_is_named_by_its_number(radiarch: Command, stored: Stored) -> None:
    plan = ("plan", stored.rtstruct_uid, "--protocol", "test-box", "--structure")
    named = radiarch(*plan, "PTV=PTV", "--json").json["structures"]
    assert radiarch(*plan, f"PTV=#{named[0]['roi_number']}", "--json").json["structures"] == named
    assert radiarch(*plan, "PTV=#99").code == Exit.REFUSED


def test_a_waiting_plan_lists_the_images_that_are_missing(
    radiarch: Command, client: Radiarch, served: Served, study: PhantomStudy, tmp_path: Path
) -> None:
    stored_id = client.orthanc.upload((tmp_path / "case" / "RTSTRUCT.dcm").read_bytes())
    waiting = client.create_plan(str(study.rtstruct.SOPInstanceUID), protocol="test-box")
    httpx.delete(f"{served.orthanc_url}/instances/{stored_id}", trust_env=False).raise_for_status()
    assert waiting.missing_instances == len(study.images)
    for command in ("status", "show"):
        out = radiarch(command, waiting.id).out
        assert f"{waiting.missing_instances} images" in out
        assert all(uid in out for uid in waiting.missing_sop_instance_uids)
    served.store.plans.set_missing({waiting.id: [f"1.2.{i}" for i in range(30)]})
    out = radiarch("status", waiting.id).out
    assert "1.2.19" in out
    assert "1.2.20" not in out
    assert "and 10 more" in out


def test_a_study_without_one_structure_set(radiarch: Command) -> None:
    result = radiarch("plan", "--study", "1.2.3", "--protocol", "test-box", "--json")
    assert result.code == Exit.REFUSED
    assert "0 RTSTRUCT" in result.json["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan",),
        ("plan", "1.2", "--study", "1.3"),
        ("plan", "1.2", "--param", "seed"),
        ("plan", "1.2", "--beams", "left"),
        ("plan", "1.2", "--dose", "-1"),
        ("compare", "a"),
        ("status",),
        ("nonsense",),
        ("find", "studies", "PatientID"),
        ("info", "--url", "nowhere"),
        ("info", "--token-file", "/does/not/exist"),
    ],
)
def test_a_wrong_command_line(radiarch: Command, arguments: tuple[str, ...]) -> None:
    result = radiarch(*arguments)
    assert result.code == Exit.USAGE
    assert result.out == ""
    assert "Error:" in result.err


def test_refusals_and_what_does_not_exist(radiarch: Command, stored: Stored) -> None:
    refused = radiarch("plan", stored.rtstruct_uid, "--protocol", "test-box", "--param", "seed=0", "--json")
    assert refused.code == Exit.REFUSED
    assert refused.json["error"]["details"]["errors"][0]["field"] == "seed"
    assert "What to do:" in refused.err
    assert radiarch("status", "f" * 32).code == Exit.NOT_FOUND
    assert radiarch("protocols", "show", "none").code == Exit.NOT_FOUND
    queued = radiarch("plan", stored.rtstruct_uid, "--protocol", "test-box", "--json").json["id"]
    assert radiarch("dvh", queued).code == Exit.CONFLICT


def test_status_and_cancel(radiarch: Command, served: Served, plan: Plan) -> None:
    served.start(plan.id, progress=0.42)
    shown = radiarch("status", plan.id)
    assert "running" in shown.out
    assert "42%" in shown.out
    assert "75 s" in shown.out
    assert radiarch("cancel", plan.id, "--json").json["state"] == "cancelled"
    assert radiarch("status", plan.id, "--watch").code == Exit.PLAN_FAILED
    assert radiarch("status", "last", "--json").json["id"] == plan.id


def test_watching_until_the_end(radiarch: Command, served: Served, plan: Plan) -> None:
    served.start(plan.id)
    later = threading.Timer(0.2, served.succeed, [plan.id])
    later.start()
    result = radiarch("status", plan.id, "--watch", "--json")
    later.join()
    assert result.code == Exit.OK
    states = [line["state"] for line in result.lines]
    assert states[-1] == "succeeded"
    assert states == sorted(states, key=["running", "succeeded"].index)


def test_watching_a_plan_that_fails(radiarch: Command, served: Served, plan: Plan) -> None:
    served.start(plan.id)
    served.fail(plan.id)
    result = radiarch("status", plan.id, "--watch")
    assert result.code == Exit.PLAN_FAILED
    assert "MCsquare ended with code 1" in result.out
    assert "See the log." in result.out


def test_list(radiarch: Command, plan: Plan) -> None:
    found = radiarch("list", "--patient", "CLIENT-BOX", "--state", "queued", "-n", "1", "--json").json["items"]
    assert [p["id"] for p in found] == [plan.id]
    assert plan.id in radiarch("list", "-q", plan.id).out
    nothing = radiarch("list", "--patient", "nobody")
    assert (nothing.code, nothing.out) == (Exit.OK, "")
    assert radiarch("list", "--until", "2020-01-01", "--json").json["items"] == []
    assert radiarch("list", "--since", "2020-01-01", "--json").json["items"] != []


def test_show(radiarch: Command, done: Plan) -> None:
    shown = radiarch("show", done.id).out
    for text in ("succeeded", "PTV: D95% ≥ 95%", "96.50 % met", "Organ", "120", "UNAPPROVED", "BODY was", "1.50 %"):
        assert text in shown
    assert radiarch("show", done.id, "--json").json["metrics"][0]["d95_gy"] == 60


def test_dvh(radiarch: Command, done: Plan, tmp_path: Path) -> None:
    png, table = tmp_path / "dvh.png", tmp_path / "dvh.csv"
    result = radiarch("dvh", done.id, "--plot", "--png", str(png), "--csv", str(table))
    assert result.code == Exit.OK
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "100 %" in result.out
    assert "━━ Organ" in result.out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {r["structure"] for r in rows} == {"PTV", "Organ"}
    assert [float(r["volume_percent"]) for r in rows if r["structure"] == "PTV" and float(r["dose_gy"]) == 60] == [50]
    one = radiarch("dvh", done.id, "-s", "Organ", "--json").json["curves"]
    assert [c["structure"] for c in one] == ["Organ"]
    assert radiarch("dvh", done.id, "-s", "Organ", "--csv", "-").out.splitlines()[0] == ",".join(COLUMNS)
    assert radiarch("dvh", done.id, "-s", "Nose").code == Exit.NOT_FOUND


def test_compare(
    radiarch: Command, client: Radiarch, served: Served, stored: Stored, done: Plan, tmp_path: Path
) -> None:
    other = client.create_plan(stored.rtstruct_uid, protocol="test-box")
    assert radiarch("compare", done.id, other.id).code == Exit.CONFLICT
    served.start(other.id)
    served.succeed(other.id, scale=1.1)
    answer = radiarch("compare", done.id, other.id, "--json").json
    difference = {s["structure"]: [p["difference"] for p in s["plans"]] for s in answer["structures"]}
    assert difference["PTV"][0] is None
    assert difference["PTV"][1]["d95_gy"] == pytest.approx(6)
    assert [p["value"] for p in answer["goals"][0]["plans"]] == [96.5, pytest.approx(106.15)]
    assert [d["plan_id"] for d in answer["dvh"]] == [done.id, other.id]
    png = tmp_path / "both.png"
    assert "+6.00" in radiarch("compare", done.id, other.id, "--png", str(png)).out
    assert png.stat().st_size > 0


def test_log(radiarch: Command, served: Served, done: Plan, plan: Plan) -> None:
    result = radiarch("log", done.id, "--follow")
    assert result.out.splitlines() == ["beamlets", "dose"]
    assert radiarch("log", done.id, "--json").lines[0]["lines"] == ["beamlets", "dose"]


def test_following_a_log(radiarch: Command, served: Served, plan: Plan) -> None:
    served.start(plan.id, lines=("one",))

    def end() -> None:
        served.log(plan.id, "two \x1b[31mred")
        served.succeed(plan.id)

    later = threading.Timer(0.2, end)
    later.start()
    result = radiarch("log", plan.id, "--follow", "--interval", "0.1")
    later.join()
    assert result.out.splitlines() == ["one", "two \N{REPLACEMENT CHARACTER}[31mred"]  # nobody drives this terminal


def test_download(radiarch: Command, done: Plan, tmp_path: Path) -> None:
    files = radiarch("download", done.id, "--to", str(tmp_path / "x"), "--json").json["files"]
    assert [Path(f).name for f in files] == ["rtdose.dcm"]
    assert Path(files[0]).read_bytes()[128:132] == b"DICM"


@pytest.fixture
def another(client: Radiarch, served: Served, stored: Stored) -> Plan:
    """A plan with other results than `done`."""
    plan = client.create_plan(stored.rtstruct_uid, protocol="test-box", parameters={"seed": 2})
    (image,) = client.orthanc.lookup(str(stored.study.images[0].SOPInstanceUID))
    served.start(plan.id)
    served.succeed(plan.id, scale=0.9, dose_orthanc_id=image.id)
    return client.get_plan(plan.id)


def test_a_download_replaces_no_other_plans_files(
    radiarch: Command, done: Plan, another: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "x")
    before = Path(radiarch("download", done.id, "--to", folder, "--json").json["files"][0])
    data = before.read_bytes()
    refused = radiarch("download", another.id, "--to", folder, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (Exit.CONFLICT, "conflict")
    assert str(before) in refused.json["error"]["message"]
    assert before.read_bytes() == data
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["rtdose.dcm"]
    assert radiarch("download", done.id, "--to", folder).code == Exit.OK  # the very same once more
    monkeypatch.chdir(tmp_path)
    for plan in (done, another):
        assert radiarch("download", plan.id).code == Exit.OK
        assert (tmp_path / f"radiarch-{plan.id[:8]}" / "rtdose.dcm").is_file()


def test_no_command_replaces_other_content(
    radiarch: Command,
    client: Radiarch,
    stored: Stored,
    done: Plan,
    another: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("get_report", "get_picture"):
        monkeypatch.setattr(type(client), name, lambda _, plan_id, *rest: f"{plan_id} {rest}".encode())
    png, table, pdf, folder = (tmp_path / n for n in ("dvh.png", "dvh.csv", "report.pdf", "pictures"))
    commands = {
        ("dvh", "--png", str(png)): [png],
        ("dvh", "--csv", str(table)): [table],
        ("report", "-o", str(pdf)): [pdf],
        ("pictures", "--to", str(folder)): [folder / f"{p}.png" for p in ("axial", "coronal", "sagittal")],
    }
    for (command, *options), files in commands.items():
        assert radiarch(command, done.id, *options).code == Exit.OK
        before = [f.read_bytes() for f in files]
        assert radiarch(command, another.id, *options).code == Exit.CONFLICT, command
        assert [f.read_bytes() for f in files] == before
        assert radiarch(command, done.id, *options).code == Exit.OK
    compared = tmp_path / "compare.png"
    assert radiarch("compare", done.id, another.id, "--png", str(compared)).code == Exit.OK
    assert radiarch("compare", another.id, done.id, "--png", str(compared)).code == Exit.CONFLICT
    whole = tmp_path / "whole.zip"
    whole.write_bytes(b"mine")
    (study,) = client.orthanc.studies(StudyInstanceUID=stored.study_uid)
    with pytest.raises(ConflictError):
        client.orthanc.download("Study", study.id, whole)
    assert whole.read_bytes() == b"mine"


def test_a_shortened_id_is_taken_and_the_curves_are_those_of_rest(
    radiarch: Command, served: Served, stored: Stored, done: Plan
) -> None:
    assert radiarch("status", done.id[:8], "--json").json["id"] == done.id
    rest = httpx.get(f"{served.url}/radiarch/api/v1/plans/{done.id}/dvh", params={"format": "csv"})
    assert radiarch("dvh", done.id[:12], "--csv", "-").out == rest.text
    wrong = radiarch("plan", stored.rtstruct_uid, "--protocol", "tset-box")
    assert "did you mean 'test-box'?" in wrong.err
    assert "radiarch protocols list" in wrong.err
    assert "did you mean 'PTV'?" in radiarch("dvh", done.id, "-s", "PTVV").err


def test_protocols_of_the_server(radiarch: Command) -> None:
    assert "test-box" in radiarch("protocols", "list").out
    shown = radiarch("protocols", "show", "test-box")
    assert "dose_gy: 60" in shown.out


def test_checking_protocols_needs_no_server(bare: Command, tmp_path: Path) -> None:
    good = CHECKOUT / "tests" / "system" / "protocols"
    assert bare("protocols", "check", str(good), "--json").json["ok"] is True
    text = next(good.glob("*.yaml")).read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("dose_gy: 60", "dose_gy: -60"))
    result = bare("protocols", "check", str(tmp_path))
    assert result.code == Exit.PROBLEMS
    line = next(i for i, t in enumerate(text.splitlines(), 1) if "dose_gy" in t)
    assert f"bad.yaml, line {line}, field prescription.dose_gy" in result.out
    assert bare("protocols", "check", str(tmp_path / "bad.yaml"), "--json").json["problems"][0]["line"] == line
    assert bare("protocols", "check", str(tmp_path / "none")).code == Exit.USAGE
    (tmp_path / "bad.yaml").write_text(text.replace("PTV: D95%", "Rectm: D95%"))
    result = bare("protocols", "check", str(tmp_path))
    assert result.code == Exit.PROBLEMS
    assert "field goals.0: 'Rectm' is neither" in result.out
    assert "did you mean 'Rectum'?" in result.out
    assert "is right" not in result.out


def test_workflows_workers_and_arrivals(radiarch: Command, served: Served) -> None:
    served.add_worker()
    assert "proton-impt-optimized" in radiarch("workflows").out
    assert "spot_spacing_mm" in radiarch("workflows", "proton-impt-basic").out
    assert "planner" in radiarch("workers").out
    assert radiarch("arrivals", "--json").json == {"items": []}


def test_send_and_find(radiarch: Command, stored: Stored, served: Served, tmp_path: Path) -> None:
    sent = radiarch("send", str(stored.folder), "--json")
    assert sent.code == Exit.OK
    assert {f["status"] for f in sent.json["files"]} == {"already_stored"}
    by_dicom = radiarch("send", str(stored.folder), "--aet", "RADIARCH", "--dicom-port", str(served.dicom_port))
    assert by_dicom.code == Exit.OK
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1\2\3")
    assert radiarch("send", str(tmp_path)).code == Exit.PROBLEMS
    assert stored.study_uid in radiarch("find", "studies", "PatientID=CLIENT*").out
    items = radiarch("find", "series", f"StudyInstanceUID={stored.study_uid}", "Modality=RTSTRUCT", "--json").json[
        "items"
    ]
    assert [i["MainDicomTags"]["Modality"] for i in items] == ["RTSTRUCT"]


def test_a_zip_is_sent_file_by_file(radiarch: Command, stored: Stored, tmp_path: Path) -> None:
    files = sorted(p for p in stored.folder.rglob("*") if p.is_file())
    with zipfile.ZipFile(tmp_path / "study.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        for n, path in enumerate(files):
            archive.write(path, f"../{n}")  # names are not followed
        archive.writestr("readme.txt", "not DICOM")
        archive.writestr("broken.dcm", b"\0" * 128 + b"DICM" + b"\1\2\3")
    sent = radiarch("send", str(tmp_path / "study.ZIP"), "--json")
    assert sent.code == Exit.PROBLEMS
    assert sorted(f["status"] for f in sent.json["files"]) == ["already_stored"] * len(files) + ["refused"]
    assert [Path(s).name for s in sent.json["skipped"]] == ["readme.txt"]
    (tmp_path / "none.zip").write_bytes(b"PK\5\6 no")
    assert radiarch("send", str(tmp_path / "none.zip")).code == Exit.REFUSED


def test_studies_are_listed_and_shown(radiarch: Command, client: Radiarch, stored: Stored, served: Served) -> None:
    look_at_studies(served)
    assert stored.study_uid in radiarch("studies", "-q", "client", "--structures", "--modality", "CT").out
    assert radiarch("studies", "-q", "client", "--no-structures", "--json").json == {"items": []}
    shown = radiarch("studies", stored.study_uid, "--json").json
    assert [o["kind"] for o in shown["objects"]] == ["rtstruct"]
    assert "RTSTRUCT" in radiarch("studies", stored.study_uid).out
    assert radiarch("studies", "1.2.3").code == Exit.NOT_FOUND
    patient = client.get_patient(shown["patient_id"])
    assert [s.study_instance_uid for s in patient.study_list] == [stored.study_uid]


def test_the_doctor_finds_nothing_wrong(radiarch: Command, served: Served) -> None:
    served.add_worker()
    result = radiarch("doctor", "--json")
    findings = result.json["findings"]
    assert result.code == Exit.OK, findings
    found = {f["check"]: f["level"] for f in findings}
    assert {c: found[c] for c in ("Radiarch", "engine", "protocols")} == dict.fromkeys(
        ("Radiarch", "engine", "protocols"), "ok"
    )
    assert found["DICOM"] in ("ok", "warning")  # it answers; how quickly is this machine's affair


def test_the_doctor_names_what_is_wrong(radiarch: Command, served: Served) -> None:
    forget_workers(served.redis)
    result = radiarch("doctor", "--dicom-port", "1")
    assert result.code == Exit.PROBLEMS
    assert "no worker gives a sign of life" in result.out
    assert "python -m radiarch_worker" in result.out
    assert "DicomPort" in result.out


@pytest.mark.parametrize(("free_gb", "level"), [(1, "warning"), (100, "ok")])
def test_the_doctor_looks_at_the_disk(free_gb: int, level: str) -> None:
    info = {"name": "r", "version": "0.1.0", "ready": True, "disk": {"free_bytes": free_gb * 1e9, "total_bytes": 1e12}}
    (found,) = [f for f in _parts(Info.model_validate(info)) if f.check == "disk"]
    assert (found.level, bool(found.remedy)) == (level, level != "ok")


def test_the_doctor_without_a_server(bare: Command) -> None:
    result = bare("doctor", "--url", "http://127.0.0.1:9", "--json")
    assert result.code == Exit.PROBLEMS
    assert result.json["findings"][-1]["check"] == "Orthanc"


def test_no_service(bare: Command) -> None:
    result = bare("info", "--url", "http://127.0.0.1:9", "--json")
    assert result.code == Exit.UNREACHABLE
    assert result.json["error"]["code"] == "orthanc_unavailable"


@pytest.mark.parametrize(("status", "code"), [(401, Exit.UNAUTHORIZED), (500, Exit.INTERNAL)])
def test_codes_of_other_answers(bare: Command, status: int, code: Exit) -> None:
    with faulty_server([Answer(status, b"")]) as server:
        assert bare("info", "--url", server.url).code == code


def test_credentials_come_from_a_file(bare: Command, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p\n")
    with faulty_server([json_answer({"name": "r", "version": "0.1.0", "ready": True})]) as server:
        assert bare("info", "--url", server.url, "--user", "u", "--password-file", str(secret)).code == Exit.OK
    assert server.asked[0].headers["authorization"] == "Basic dTpw"


def test_markup_and_control_characters_of_a_server_are_only_text(bare: Command) -> None:
    plan = {
        "id": "a" * 32,
        "state": "failed",
        "error": {"code": "x", "message": "[red]hi[/] \x1b[2J\x9b", "remedy": "r"},
    }
    with faulty_server([json_answer(plan)]) as server:
        out = bare("status", "a" * 32, "--url", server.url).out
    assert "[red]hi[/] \N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(bare: Command, shell: str) -> None:
    assert "_RADIARCH_COMPLETE" in bare("completion", shell).out


def test_the_program_itself(served: Served, plan: Plan) -> None:
    """As a person starts it: another process, a pipe, completion."""

    def start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(str(CHECKOUT / p) for p in ("contract", "client"))
        return subprocess.run(
            [sys.executable, "-c", "from radiarch_client.cli import main; main()", *arguments],
            env={**os.environ, "PYTHONPATH": path, "RADIARCH_URL": served.url, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    shown = start("status", plan.id, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["id"] == plan.id
    words = start(_RADIARCH_COMPLETE="bash_complete", COMP_WORDS=f"radiarch status {plan.id[:6]}", COMP_CWORD="2")
    assert plan.id in words.stdout


def test_the_plugin_is_not_imported() -> None:
    """A client's machine has neither plugin nor worker."""
    code = "import sys, radiarch_client.cli as c; print([m for m in sys.modules if m.startswith('radiarch_')])"
    path = os.pathsep.join(str(CHECKOUT / p) for p in ("contract", "client"))
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout
    assert {m.split(".")[0] for m in eval(out)} == {"radiarch_client", "radiarch_contract"}
