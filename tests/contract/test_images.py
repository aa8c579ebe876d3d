"""Which images a structure set means: by its contours, its lists and its patient, whatever copies there are."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.images import (
    CT_IMAGE,
    Located,
    SeriesKey,
    WantedImages,
    decide,
    locate,
    same_patient,
    wanted_images,
)

MR, PET = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
FRAME, STUDY = "1.1", "1.2"


def reference(uid: str, sop_class: str = CT_IMAGE) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = uid
    if sop_class:
        item.ReferencedSOPClassUID = sop_class
    return item


def listed(
    series: str, uids: list[str], *, frame: str = FRAME, study: str = STUDY, sop_class: str = CT_IMAGE
) -> Dataset:
    """An item of the Referenced Frame of Reference Sequence."""
    of_series = Dataset()
    of_series.SeriesInstanceUID = series
    of_series.ContourImageSequence = [reference(uid, sop_class) for uid in uids]
    of_study = Dataset()
    of_study.ReferencedSOPInstanceUID = study
    of_study.RTReferencedSeriesSequence = [of_series]
    item = Dataset()
    item.FrameOfReferenceUID = frame
    item.RTReferencedStudySequence = [of_study]
    return item


def structure_set(lists: list[Dataset], drawn: list[list[str]], *, frame: str = FRAME, bare: bool = False) -> Dataset:
    """ROIs 1, 2, … with a contour on each of the images; ``bare``: that do not say so."""
    ds = Dataset()
    ds.ReferencedFrameOfReferenceSequence = lists
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, uids in enumerate(drawn, start=1):
        roi, contours = Dataset(), Dataset()
        roi.ROINumber, roi.ReferencedFrameOfReferenceUID = number, frame
        contours.ReferencedROINumber, contours.ContourSequence = number, []
        for uid in uids:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            if not bare:
                contour.ContourImageSequence = [reference(uid)]
            contours.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(contours)
    return ds


CT_SERIES = listed("9.1", ["1", "2", "3", "4"])
PET_SERIES = listed("9.2", ["7", "8"], frame="1.9", sop_class=PET)
OTHER_CT = listed("9.3", ["5", "6"])


def refusal(dataset: Dataset) -> ErrorCode:
    with pytest.raises(InputRefusedError) as caught:
        wanted_images(dataset)
    assert caught.value.info.remedy
    return caught.value.code


@pytest.mark.parametrize("beside", [[], [PET_SERIES], [OTHER_CT], [PET_SERIES, OTHER_CT]])
@pytest.mark.parametrize("first", [True, False])
def test_the_series_that_contours_are_on_whatever_is_listed_beside(beside: list[Dataset], first: bool) -> None:
    lists = [CT_SERIES, *beside] if first else [*beside, CT_SERIES]
    found = wanted_images(structure_set(lists, [["2", "3"], ["3"]]))
    assert list(found.images) == ["1", "2", "3", "4"]
    assert (found.series_instance_uid, found.study_instance_uid, found.frame_of_reference_uid) == ("9.1", STUDY, FRAME)
    assert found.beside == 2 * len(beside)
    assert set(found.images.values()) == {CT_IMAGE}


def test_a_list_of_the_contoured_images_only_and_contours_on_more_than_are_listed() -> None:
    some = listed("9.1", ["2", "3"])
    assert list(wanted_images(structure_set([some], [["2", "3"]])).images) == ["2", "3"]
    assert list(wanted_images(structure_set([some], [["3", "4"]])).images) == ["2", "3", "4"]


def test_a_series_whose_images_are_not_listed_is_still_named() -> None:
    found = wanted_images(structure_set([listed("9.1", [])], [["2", "3"]]))
    assert (list(found.images), found.series_instance_uid) == (["2", "3"], "9.1")


def test_contours_on_images_that_no_list_has_name_no_series() -> None:
    for lists in ([], [OTHER_CT], [OTHER_CT, PET_SERIES]):
        found = wanted_images(structure_set(lists, [["2", "3"]]))
        assert (list(found.images), found.series_instance_uid, found.study_instance_uid) == (["2", "3"], "", "")
        assert found.frame_of_reference_uid == FRAME


def test_a_series_in_several_items_is_one() -> None:
    items = [listed("9.1", [uid]) for uid in "1234"]
    assert list(wanted_images(structure_set(items, [["2"], ["4"]])).images) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("lists", "drawn", "code"),
    [
        ([CT_SERIES, OTHER_CT], [["1"], ["5"]], ErrorCode.UNSUPPORTED_GEOMETRY),
        ([CT_SERIES, PET_SERIES], [["1"], ["7"]], ErrorCode.NOT_CT),
        ([CT_SERIES, PET_SERIES], [["1", "7"]], ErrorCode.NOT_CT),
        ([CT_SERIES, listed("9.4", ["1", "2", "3", "4"])], [["1"]], ErrorCode.AMBIGUOUS_INSTANCES),
        ([CT_SERIES, listed("9.1", ["1", "2"], study="1.3")], [["1"]], ErrorCode.AMBIGUOUS_INSTANCES),
    ],
)
def test_contours_on_several_series_are_refused(lists: list[Dataset], drawn: list[list[str]], code: ErrorCode) -> None:
    assert refusal(structure_set(lists, drawn)) is code
    assert refusal(structure_set(lists[::-1], drawn)) is code


def test_of_two_series_with_the_same_images_the_one_that_has_all_that_are_drawn_on() -> None:
    found = wanted_images(structure_set([listed("9.4", ["1"]), CT_SERIES], [["1", "2"]]))
    assert found.series_instance_uid == "9.1"


def test_without_images_of_contours_the_only_ct_in_their_frame() -> None:
    assert wanted_images(structure_set([PET_SERIES, CT_SERIES], [["1"]], bare=True)).series_instance_uid == "9.1"
    elsewhere = listed("9.5", ["5"], frame="1.8")
    assert wanted_images(structure_set([elsewhere, CT_SERIES], [["1"]], bare=True)).series_instance_uid == "9.1"
    assert refusal(structure_set([CT_SERIES, OTHER_CT], [["1"]], bare=True)) is ErrorCode.AMBIGUOUS_INSTANCES
    assert wanted_images(structure_set([PET_SERIES], [["1"]], bare=True)).images == {"7": PET, "8": PET}
    assert wanted_images(structure_set([], [["1"]], bare=True)).images == {}
    assert wanted_images(Dataset()).images == {}


@pytest.mark.parametrize("value", ["*", "1?2", "1" * 65])
@pytest.mark.parametrize("where", ["contour", "frame"])
def test_what_is_no_uid_is_refused(where: str, value: str) -> None:
    ds = structure_set([copy.deepcopy(CT_SERIES)], [["1"]])
    contour = ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0]
    holder, tag = (
        (contour, 0x00081155) if where == "contour" else (ds.ReferencedFrameOfReferenceSequence[0], 0x00200052)
    )
    holder.add(DataElement(tag, "UI", value, validation_mode=config.IGNORE))
    assert refusal(ds) is ErrorCode.UNREADABLE_RTSTRUCT


# -- where they are stored ----------------------------------------------------------------------------------------

OWN = SeriesKey("P1", STUDY, "9.1")
PATIENT = SeriesKey("P2", STUDY, "9.1")
SERIES = SeriesKey("P1", STUDY, "9.9")
ELSEWHERE = SeriesKey("P1", "1.7", "9.1")
FULL = WantedImages(dict.fromkeys("1234", CT_IMAGE), STUDY, "9.1", FRAME)
NO_SERIES = WantedImages(FULL.images, STUDY, "", FRAME)
NOTHING = WantedImages(FULL.images, "", "", FRAME)


def found(wanted: WantedImages, stored: dict[str, list[SeriesKey]]) -> tuple[Located, SeriesKey]:
    located = locate(wanted, "P1", STUDY, stored)
    assert not located.missing
    return located, decide(wanted, located, stored, dict.fromkeys(located.candidates, FRAME))


def everywhere(*keys: SeriesKey) -> dict[str, list[SeriesKey]]:
    return {u: list(keys) for u in FULL.images}


@given(
    st.dictionaries(st.sampled_from("1234"), st.lists(st.sampled_from([OWN, PATIENT, SERIES, ELSEWHERE]), unique=True)),
    st.sampled_from([FULL, WantedImages(FULL.images, "", "9.1", FRAME)]),
)
def test_copies_change_nothing_where_the_series_is_named(
    stored: dict[str, list[SeriesKey]], wanted: WantedImages
) -> None:
    located = locate(wanted, "P1", STUDY, stored)
    there = {u for u, keys in stored.items() if OWN in keys}
    if there or wanted is FULL:
        assert set(located.missing) == set(FULL.images) - there
        assert set(located.candidates) == ({OWN} if there else set())
    if not located.missing and located.candidates == (OWN,):
        assert decide(wanted, located, stored, {}) == OWN


def test_what_is_stored_elsewhere_is_missing_and_said() -> None:
    for keys, words in (
        ([PATIENT], "4 are stored for another patient"),
        ([ELSEWHERE], "4 are stored in another study"),
        ([SERIES], "4 are stored in another series"),
        ([PATIENT, SERIES], "4 are stored in another series"),
    ):
        located = locate(FULL, "P1", STUDY, everywhere(*keys))
        assert (len(located.missing), located.elsewhere_text) == (4, words)
    assert locate(FULL, "P1", STUDY, {}).elsewhere_text == ""


def test_a_series_that_is_not_named_has_to_be_the_only_one() -> None:
    assert found(NO_SERIES, everywhere(SERIES))[1] == SERIES
    assert found(NO_SERIES, everywhere(OWN, PATIENT, ELSEWHERE))[1] == OWN
    for stored in (everywhere(OWN, SERIES), {**everywhere(OWN), "2": [SERIES, OWN]}):
        with pytest.raises(InputRefusedError) as caught:
            found(NO_SERIES, stored)
        assert caught.value.code is ErrorCode.AMBIGUOUS_INSTANCES
        assert "2 series" in caught.value.info.message
        assert "P1" not in caught.value.info.message


def test_without_a_study_the_structure_sets_own_comes_first() -> None:
    assert found(NOTHING, everywhere(ELSEWHERE, OWN))[1] == OWN
    assert found(NOTHING, everywhere(ELSEWHERE))[1] == ELSEWHERE
    partly = {**everywhere(ELSEWHERE), "1": [OWN, ELSEWHERE]}
    assert set(locate(NOTHING, "P1", STUDY, partly).missing) == {"2", "3", "4"}


def test_the_frame_of_reference_decides_where_nothing_else_does() -> None:
    stored = everywhere(OWN, SERIES)
    located = locate(NO_SERIES, "P1", STUDY, stored)
    assert decide(NO_SERIES, located, stored, {OWN: "1.8", SERIES: FRAME}) == SERIES
    with pytest.raises(InputRefusedError):
        decide(NO_SERIES, located, stored, {OWN: FRAME, SERIES: FRAME})


def test_images_over_two_series_are_refused() -> None:
    stored = {"1": [OWN], "2": [OWN], "3": [SERIES], "4": [SERIES]}
    for frames in ({}, {OWN: FRAME, SERIES: "1.8"}):
        located = locate(NO_SERIES, "P1", STUDY, stored)
        with pytest.raises(InputRefusedError) as caught:
            decide(NO_SERIES, located, stored, frames)
        assert caught.value.code is ErrorCode.UNSUPPORTED_GEOMETRY


def test_patients_are_told_apart_as_far_as_their_ids_can_be_read() -> None:
    assert same_patient("P1\0", " P1")
    assert not same_patient("P1", "P2")
    assert not same_patient("P1", "p1")
    assert same_patient("Ж7", "\xd0\x967")
    assert not same_patient("Ж7", "Ж8")
    assert same_patient("A\\B", "['A', 'B']")
