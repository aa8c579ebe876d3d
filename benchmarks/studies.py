"""Lists and search of studies over REST with many of them in the table, each question so many times.

The rows are written as the plugin's own thread writes them; Orthanc itself has one study, which is asked for whole.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
from radiarch_contract import API_PREFIX
from radiarch_plugin.store import Store, StudyFacts, StudySeries, open_database

from phantoms import box
from tests.system.processes import wait_for
from tests.system.service import Service

QUESTIONS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("/studies", {}),
    ("/studies", {"sort": "patient_name"}),
    ("/studies", {"q": "doe pelvis"}),
    ("/studies", {"q": "nobody"}),
    ("/studies", {"plan": "false", "structures": "true"}),
    ("/studies", {"modality": "MR"}),
    ("/studies", {"date_from": "2020-01-01", "date_to": "2020-06-30"}),
    ("/patients", {}),
    ("/patients", {"q": "nobody"}),
)
AT_ONCE = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "service") as service:
        service.start()
        study = box(shape=(3, 12, 12))
        service.send(study.save(Path(folder) / "study"))
        rows = _measured(service, str(study.rtstruct.StudyInstanceUID), args.studies, args.rounds)
    print("\n".join(["| asked | items | median | p95 |", "|---|---|---|---|", *rows]))


def _measured(service: Service, uid: str, studies: int, rounds: int) -> list[str]:
    with httpx.Client(base_url=service.orthanc_url + API_PREFIX, trust_env=False) as http:
        one = {"study_uid": uid, "structures": "true"}
        wait_for(lambda: http.get("/studies", params=one).json()["items"], "the study is listed")
        _fill(service, studies)
        asked = [*QUESTIONS, (f"/studies/{uid}", {})]
        return [_row(http, path, params, rounds) for path, params in asked]


def _row(http: httpx.Client, path: str, params: Mapping[str, str], rounds: int) -> str:
    times, items = [], 1
    for _ in range(rounds):
        began = time.monotonic()
        answer = http.get(path, params=dict(params)).raise_for_status().json()
        times.append(1000 * (time.monotonic() - began))
        items = len(answer.get("items", [None]))
    named = "&".join(f"{k}={v}" for k, v in params.items())
    shown = path if path in ("/studies", "/patients") else "/studies/{uid}"
    p95 = sorted(times)[max(0, round(0.95 * len(times)) - 1)]
    return f"| {shown}{'?' if named else ''}{named} | {items} | {statistics.median(times):.0f} ms | {p95:.0f} ms |"


def _fill(service: Service, studies: int) -> None:
    path = next(service.folder.rglob("radiarch*.sqlite3"))
    database = open_database(f"sqlite:///{path}")
    store = Store(database)
    for first in range(0, studies, AT_ONCE):
        store.studies.keep([_study(n) for n in range(first, min(first + AT_ONCE, studies))])
    database.dispose()


def _study(n: int) -> tuple[StudyFacts, list[StudySeries]]:
    modalities = ["CT", "RTSTRUCT", *(["RTPLAN", "RTDOSE"] if n % 2 else [])]
    facts = StudyFacts(
        orthanc_id=f"{n:040x}",
        patient_id=f"P{n // 3:06}",
        patient_name=f"Doe{n // 3}^Jane",
        patient_birth_date="19500101",
        patient_sex="F",
        study_instance_uid=f"1.2.3.{n}",
        study_date=f"20{n % 26:02}{n % 12 + 1:02}{n % 28 + 1:02}",
        study_time="",
        description=("pelvis", "head", "thorax")[n % 3],
        accession_number=str(n),
    )
    series = [
        StudySeries(orthanc_id=f"{n:038x}-{k}", series_instance_uid=f"1.2.3.{n}.{k}", modality=modality)
        for k, modality in enumerate(modalities)
    ]
    return facts, series


if __name__ == "__main__":
    main()
