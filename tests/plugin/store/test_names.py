"""Patients' names and shortened ids in lists and searches."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from radiarch_plugin.dicom.rtstruct import read_rtstruct
from radiarch_plugin.intake.names import fill_names
from radiarch_plugin.store import ArrivalFilter, PlanFilter, PlanView, Store

from phantoms import box, file_bytes
from tests.plugin.store.arriving import World
from tests.plugin.store.samples import new_arrival, new_plan


def make(store: Store, **changes: Any) -> PlanView:
    return store.plans.create(new_plan(**changes))[0]


NAMES = ["Doe^John", "Müller^Änne", "Иванов^Иван", "Wang^XiaoDong=王^小東=", "", None]


def test_a_patient_is_found_by_any_part_of_the_name(store: Store) -> None:
    made = {name: make(store, patient_name=name, patient_id=f"N{n}").id for n, name in enumerate(NAMES)}

    def found(q: str) -> list[str]:
        return [p.id for p in store.plans.page(PlanFilter(q=q)).items]

    for q in ("john doe", "DOE, JOHN", "Doe^John", "oe joh"):
        assert found(q) == [made["Doe^John"]]
    assert found("müller änne") == found("mu\u0308ller") == [made["Müller^Änne"]]
    assert found("иван ИВАНОВ") == [made["Иванов^Иван"]]
    assert found("小東") == found("xiaodong 王") == [made["Wang^XiaoDong=王^小東="]]
    assert found("john müller") == []
    assert len(found(" ")) == len(NAMES)


def test_names_that_were_not_kept_are_filled_for_their_patient_alone(store: Store) -> None:
    mine, other = make(store, patient_id="P1"), make(store, patient_id="P2")
    store.arrivals.admit(new_arrival("1.2.3.4", "a" * 64, plan=False))
    assert sorted(store.names.unknown()) == [("P1", "1.2.3"), ("P2", "1.2.3")]
    assert store.names.fill({("P1", "1.2.3"): "Doe^John"}) == 2
    assert store.plans.get(mine.id).patient_name == store.arrivals.get("1.2.3.4").patient_name == "Doe^John"
    assert store.plans.get(other.id).patient_name is None
    assert [p.id for p in store.plans.page(PlanFilter(q="john")).items] == [mine.id]
    assert [a.sop_instance_uid for a in store.arrivals.page(ArrivalFilter(q="john")).items] == ["1.2.3.4"]
    assert store.names.unknown() == [("P2", "1.2.3")]
    assert store.plans.get(mine.id).updated_at == mine.updated_at


def test_names_are_those_that_orthanc_has(world: World) -> None:
    study = box(shape=(3, 12, 12))
    study.rtstruct.SpecificCharacterSet = "ISO_IR 192"
    study.rtstruct.PatientName = "Иванов^Иван"
    world.send(study.rtstruct)
    stored = {"patient_id": str(study.rtstruct.PatientID), "study_instance_uid": str(study.rtstruct.StudyInstanceUID)}
    known, gone = make(world.store, **stored), make(world.store, study_instance_uid="1.2.3.999")
    same_study = make(world.store, **stored | {"patient_id": "somebody else"})
    assert fill_names(world.store, world.orthanc) == 1
    assert world.store.plans.get(known.id).patient_name == "Иванов^Иван"
    assert {world.store.plans.get(p.id).patient_name for p in (gone, same_study)} == {None}


@pytest.mark.parametrize(
    ("charset", "name", "encoding"),
    [
        ("ISO_IR 192", "Иванов^Пётр", "utf-8"),
        ("ISO_IR 144", "Иванов^Пётр", "iso8859-5"),
        ("GB18030", "王^小东", "gb18030"),
        ("ISO_IR 100", "Müller^Jörg", "iso8859-1"),
        (None, "Иванов^Пётр", "utf-8"),
        (None, "王^小東", "utf-8"),
        (None, "Müller^Jörg", "utf-8"),
        (None, "Müller^Jörg", "iso8859-1"),
        (None, "Doe^John", "ascii"),
    ],
)
def test_a_structure_sets_name_keeps_its_letters(charset: str | None, name: str, encoding: str) -> None:
    ds = box(shape=(3, 12, 12)).rtstruct
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 100", "N" * 40
    data = file_bytes(ds)
    given = name.encode(encoding).ljust(40)
    element = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    assert data.count(b"N" * 40) == data.count(element) == 1
    declared = b"" if charset is None else element[:6] + b"\x0a\x00" + charset.encode().ljust(10)
    found = read_rtstruct(data.replace(b"N" * 40, given).replace(element, declared)).patient_name
    assert found == name


def test_ids_by_their_beginning(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["abcdef12" + c * 24 for c in "0af"] + ["abcdef13" + "0" * 24, "abcdef11" + "f" * 24]
    for made in ids:
        monkeypatch.setattr("radiarch_plugin.store.plans.uuid.uuid4", lambda made=made: UUID(made))
        make(store)
    assert store.plans.ids_beginning("abcdef12", 10) == ids[:3]
    assert store.plans.ids_beginning("abcdef12", 2) == ids[:2]
    assert store.plans.ids_beginning("abcdef13", 2) == ids[3:4]
    assert store.plans.ids_beginning("abcdef1", 9) == sorted(ids)
    assert store.plans.ids_beginning("0" * 8, 2) == []
