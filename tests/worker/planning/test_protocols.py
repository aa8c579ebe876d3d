"""The protocols that ship are valid and fit the structures they are meant for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, resolve

FOLDER = Path(__file__).parents[3] / "orthanc-config" / "protocols"
FILES = sorted(FOLDER.glob("*.yaml"))

PROSTATE = ("BODY", "Prostate", "Rectum", "Bladder", "PTV", "Femoral_head_R", "Femoral_head_L")
PELVIS = ("BODY", "PTV", "Rectum", "Bladder", "Femur_Head_L", "Femur_Head_R")
TG119 = ("Core", "OuterTarget", "BODY")


def protocol(path: Path) -> Protocol:
    return Protocol.model_validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=[p.stem for p in FILES])
def test_every_protocol_is_valid_and_named_after_its_file(path: Path) -> None:
    assert protocol(path).id == path.stem


@pytest.mark.parametrize(
    ("protocol_id", "names"),
    [("prostate-two-lateral", PROSTATE), ("prostate-two-lateral", PELVIS), ("tg119-c-shape", TG119)],
)
def test_every_name_of_a_protocol_is_found(protocol_id: str, names: tuple[str, ...]) -> None:
    a_protocol = protocol(FOLDER / f"{protocol_id}.yaml")
    rois = [Roi(number=i, name=name) for i, name in enumerate(names, start=1)]
    _, missing = resolve(a_protocol.structure_names(), a_protocol.structures, rois)
    assert missing == []
