"""Lost connections, busy and foreign servers: nothing is done twice, and every failure has a remedy."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest
from radiarch_client import AsyncRadiarch, Radiarch, Retry, Settings, load_settings
from radiarch_client._errors import CLASS_OF, from_info
from radiarch_contract.errors import (
    ConflictError,
    ErrorCode,
    InputRefusedError,
    InvalidRequestError,
    NotFoundError,
    RadiarchError,
    ServiceError,
)

from .faults import Answer, faulty_server, json_answer

INFO = {"name": "radiarch", "version": "0.1.0", "ready": True}
PLAN = {"id": "a" * 32, "state": "queued"}
QUICK = Retry(attempts=4, first_pause_s=0.001)


def test_a_lost_connection_is_asked_again() -> None:
    with (
        faulty_server([Answer(drop=True), Answer(503), json_answer(INFO)]) as server,
        Radiarch(server.url, retry=QUICK) as r,
    ):
        assert r.info().ready
    assert len(server.asked) == 3


def test_the_async_client_asks_again_likewise() -> None:
    async def ask(url: str) -> bool:
        async with AsyncRadiarch(url, retry=QUICK) as r:
            return (await r.info()).ready

    with faulty_server([Answer(drop=True), Answer(503), json_answer(INFO)]) as server:
        assert anyio.run(ask, server.url)
    assert len(server.asked) == 3


def test_a_repeated_creation_keeps_its_key_and_two_creations_differ() -> None:
    with faulty_server([Answer(drop=True), json_answer(PLAN, 201)]) as server, Radiarch(server.url, retry=QUICK) as r:
        r.create_plan("1.2.3", protocol="prostate")
        r.create_plan("1.2.3", protocol="prostate")
    keys = [a.headers["idempotency-key"] for a in server.asked]
    assert keys[0] == keys[1] != keys[2]
    assert server.asked[0].body == server.asked[1].body


def test_a_refusal_is_not_repeated() -> None:
    refusal = {
        "code": "no_target",
        "message": "no ROI stands for PTV",
        "remedy": "Name the target.",
        "details": {"n": 1},
    }
    with (
        faulty_server([json_answer(refusal, 422)]) as server,
        Radiarch(server.url, retry=QUICK) as r,
        pytest.raises(InputRefusedError) as e,
    ):
        r.create_plan("1.2.3", protocol="prostate")
    assert len(server.asked) == 1
    assert e.value.info.model_dump(mode="json") == refusal


def test_nobody_listens() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}"
        with Radiarch(url, retry=QUICK) as r, pytest.raises(ServiceError, match="no connection") as e:
            r.info()
    assert e.value.code == ErrorCode.ORTHANC_UNAVAILABLE
    assert "RADIARCH_URL" in e.value.info.remedy


def test_an_orthanc_without_the_plugin_is_recognised() -> None:
    body = {"HttpStatus": 404, "Message": "Unknown resource", "OrthancStatus": 17, "Uri": "/radiarch/api/v1/info"}
    with (
        faulty_server([json_answer(body, 404)]) as server,
        Radiarch(server.url) as r,
        pytest.raises(ServiceError, match="without the Radiarch plugin"),
    ):
        r.info()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"version": 1}', b'"text"', b"\xff\xfe"])
def test_an_answer_that_is_not_ours_is_an_error(body: bytes) -> None:
    with (
        faulty_server([Answer(200, body)]) as server,
        Radiarch(server.url) as r,
        pytest.raises(ServiceError, match="cannot be understood"),
    ):
        r.info()


def test_a_redirect_is_not_followed_with_credentials() -> None:
    moved = Answer(307, b"", {"Location": "http://example.invalid/"})
    with (
        faulty_server([moved]) as server,
        Radiarch(server.url, user="u", password="p") as r,
        pytest.raises(ServiceError, match="redirect"),
    ):
        r.info()


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_say_how_to_give_them(status: int) -> None:
    with (
        faulty_server([Answer(status, b"")]) as server,
        Radiarch(server.url) as r,
        pytest.raises(InvalidRequestError, match="credentials") as e,
    ):
        r.info()
    assert e.value.code == ErrorCode.UNAUTHORIZED


def test_basic_and_bearer_are_sent() -> None:
    with faulty_server([json_answer(INFO)]) as server:
        with Radiarch(server.url, user="u", password="p") as r:
            r.info()
        with Radiarch(server.url, token="t0ken") as r:
            r.info()
    assert [a.headers["authorization"] for a in server.asked] == ["Basic dTpw", "Bearer t0ken"]


def test_a_cut_download_leaves_no_file(tmp_path: Path) -> None:
    plan = json_answer({**PLAN, "state": "succeeded", "outputs": [{"kind": "rtdose", "sop_instance_uid": "1.2"}]})
    with (
        faulty_server([plan, Answer(200, b"x" * 10, cut=True)]) as server,
        Radiarch(server.url, retry=QUICK) as r,
        pytest.raises(ServiceError),
    ):
        r.download_outputs("a" * 32, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_download_is_begun_again(tmp_path: Path) -> None:
    plan = json_answer({**PLAN, "state": "succeeded", "outputs": [{"kind": "../../rtdose", "sop_instance_uid": "1.2"}]})
    answers = [plan, Answer(200, b"x" * 10, cut=True), Answer(200, b"whole")]
    with faulty_server(answers) as server, Radiarch(server.url, retry=QUICK) as r:
        (path,) = r.download_outputs("a" * 32, tmp_path)
    assert path.read_bytes() == b"whole"
    assert path.parent == tmp_path  # whatever the server calls it
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_route_is_told_from_a_missing_plan() -> None:
    missing = json_answer(
        {"code": "not_found", "message": "plan x does not exist", "remedy": "Look.", "details": {}}, 404
    )
    with_route = json_answer({"paths": {"/radiarch/api/v1/plans/{id}/reoptimize": {"post": {}}}})
    without = json_answer({"paths": {"/radiarch/api/v1/plans/{id}": {"get": {}}}})
    with (
        faulty_server([missing, with_route]) as server,
        Radiarch(server.url) as r,
        pytest.raises(NotFoundError, match="plan x does not exist"),
    ):
        r.reoptimize("x", [])
    with (
        faulty_server([missing, without]) as server,
        Radiarch(server.url) as r,
        pytest.raises(NotFoundError, match="does not offer re-optimising"),
    ):
        r.reoptimize("x", [])


def test_polling_outlives_a_restart_of_the_server() -> None:
    seen: list[Any] = []
    running = json_answer({**PLAN, "state": "running", "progress": 0.5, "stage": "optimizing"})
    done = json_answer({**PLAN, "state": "succeeded"})
    answers = [running, running, *[Answer(503)] * 6, done]
    with faulty_server(answers) as server, Radiarch(server.url, retry=QUICK) as r:
        plan = r.poll_until_done("a" * 32, interval_s=0.01, progress=lambda p: seen.append((p.state, p.progress)))
    assert plan.succeeded
    assert seen == [("running", 0.5), ("succeeded", 0.0)]  # each change once


def test_polling_gives_up_in_time() -> None:
    with faulty_server([json_answer(PLAN)]) as server, Radiarch(server.url) as r, pytest.raises(ServiceError) as e:
        r.poll_until_done("a" * 32, interval_s=0.01, timeout_s=0.05)
    assert e.value.code == ErrorCode.TIME_LIMIT


def test_an_async_progress_callback_is_awaited() -> None:
    seen: list[str] = []

    async def ask(url: str) -> None:
        async def note(plan: Any) -> None:
            await anyio.lowlevel.checkpoint()
            seen.append(plan.state)

        async with AsyncRadiarch(url, retry=QUICK) as r:
            await r.poll_until_done("a" * 32, interval_s=0.01, progress=note)

    with faulty_server([json_answer(PLAN), json_answer({**PLAN, "state": "failed"})]) as server:
        anyio.run(ask, server.url)
    assert seen == ["queued", "failed"]


def test_pages_are_followed_to_the_end() -> None:
    pages = [{"items": [PLAN, PLAN], "next": "c1"}, {"items": [PLAN], "next": None}]
    with faulty_server([json_answer(p) for p in pages]) as server, Radiarch(server.url) as r:
        assert len(list(r.list_plans(state="queued"))) == 3
    assert "cursor=c1" in server.asked[1].path
    assert "state=queued" in server.asked[1].path


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../instances"])
def test_an_identifier_cannot_leave_its_path(bad: str) -> None:
    with Radiarch("http://127.0.0.1:9") as r, pytest.raises(InvalidRequestError, match="not an identifier"):
        r.get_plan(bad)


def test_every_code_has_its_class() -> None:
    assert set(CLASS_OF) == set(ErrorCode)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_an_error_survives_the_wire(code: ErrorCode) -> None:
    info = {"code": code.value, "message": "m", "remedy": "r", "details": {"uid": "1.2"}}
    assert from_info(json.loads(json.dumps(info))).info.model_dump(mode="json") == info


def test_details_named_like_arguments_do_no_harm() -> None:
    error = from_info(
        {"code": "conflict", "message": "m", "remedy": "r", "details": {"remedy": 1, "code": 2, "message": 3}}
    )
    assert isinstance(error, ConflictError)
    assert error.info.message == "m"


def test_a_code_of_a_newer_server_keeps_its_words() -> None:
    error = from_info({"code": "beam_missing", "message": "no beam", "remedy": "Add one."}, 422)
    assert isinstance(error, InvalidRequestError)
    assert error.info.details["server_code"] == "beam_missing"
    assert isinstance(from_info({"code": "x", "message": "m"}, 500), RadiarchError)


def test_settings_take_the_first_that_is_given(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    config = tmp_path / "config.toml"
    config.write_text(f'url = "http://file:1"\nuser = "f"\npassword_file = "{secret}"\n')
    env = {"RADIARCH_CONFIG": str(config)}
    from_file = load_settings(env=env)
    assert (from_file.url, from_file.user, from_file.password) == ("http://file:1", "f", "s3cret")
    from_env = load_settings(env={**env, "RADIARCH_URL": "http://env:2/", "RADIARCH_TOKEN": "t"})
    assert (from_env.url, from_env.token, from_env.user) == ("http://env:2", "t", None)
    given = load_settings("https://arg:3", user="a", password="b", env={**env, "RADIARCH_TOKEN": "t"})
    assert (given.url, given.user, given.password, given.token) == ("https://arg:3", "a", "b", None)
    assert "s3cret" not in repr(from_file)


@pytest.mark.parametrize("url", ["127.0.0.1:8042", "ftp://host", "http://", "http://[::1", "http://host:port"])
def test_what_is_not_an_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="address"):
        load_settings(url, env={})


def test_credentials_in_the_address_are_taken_out_of_it() -> None:
    settings = load_settings("http://u:p%40ss@host:1/base/", env={})
    assert (settings.url, settings.user, settings.password) == ("http://host:1/base", "u", "p@ss")


@pytest.mark.parametrize("text", ["", "two\nlines"])
def test_a_secret_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match="expected one line"):
        load_settings(token_file=path, env={})


def test_user_and_token_contradict() -> None:
    with pytest.raises(InvalidRequestError, match="both"):
        load_settings(user="u", token="t", env={})


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with faulty_server([json_answer(INFO)]) as server, Radiarch(server.url) as r:
        assert r.info().ready


def test_loopback_is_recognised() -> None:
    assert Settings("http://127.0.0.2:1").is_loopback
    assert Settings("http://[::1]:1").is_loopback
    assert not Settings("http://orthanc:8042").is_loopback
