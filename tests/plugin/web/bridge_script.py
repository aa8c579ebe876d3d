"""A PythonScript for Orthanc that mounts a small app of the tests through our bridge; see `test_bridge`."""

import hashlib
import json
import sys
import threading
from pathlib import Path
from typing import Any

import orthanc

CONFIGURATION = json.loads(orthanc.GetConfiguration())
CHECKOUT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(CHECKOUT / "plugin"), str(CHECKOUT / "contract"), CONFIGURATION["Radiarch"]["SitePackages"]]

from fastapi import FastAPI, Request  # noqa: E402
from fastapi.responses import JSONResponse, Response  # noqa: E402
from radiarch_plugin.orthanc.bridge import AsgiBridge, BridgeLimits  # noqa: E402
from radiarch_plugin.web import errors as http_errors  # noqa: E402

HELD = 12
app = FastAPI(redirect_slashes=False)
http_errors.install(app)
release = threading.Event()
waiting = threading.Semaphore(0)


@app.get("/radiarch/api/v1/info")
def info() -> dict[str, bool]:
    return {"ready": False}


@app.api_route("/radiarch/echo/{rest:path}", methods=["GET", "POST", "PUT", "DELETE"])
async def echo(request: Request, rest: str) -> dict[str, Any]:
    body = await request.body()
    return {
        "method": request.method,
        "path": request.url.path,
        "rest": rest,
        "query": dict(request.query_params),
        "header": request.headers.get("idempotency-key"),
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


@app.get("/radiarch/status/{status}")
def status(status: int) -> Response:
    headers = {"Allow": "GET, PUT"} if status == 405 else {"X-Own": "yes"}
    return JSONResponse({"status": status, "text": "Größe µ"}, status_code=status, headers=headers)


@app.get("/radiarch/cookies")
def cookies() -> Response:
    response = Response(b"\0\xff" * 50_000, media_type="application/dicom")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


@app.get("/radiarch/boom")
def boom() -> None:
    raise RuntimeError("boom")


@app.get("/radiarch/hold")
def hold() -> str:
    """Wait for /release, as an endpoint that takes long."""
    waiting.release()
    assert release.wait(100)
    return "held"


@app.get("/radiarch/held/{count}")
def held(count: int) -> bool:
    """True once so many requests hold."""
    return all(waiting.acquire(timeout=30) for _ in range(count))


@app.get("/radiarch/release")
def let_go() -> None:
    release.set()


@app.get("/impatient/release")
def let_go_too() -> None:
    release.set()


@app.get("/impatient/hold")
def hold_in_vain() -> str:
    release.wait(100)
    return "too late"


def bridge(prefix: str, limits: BridgeLimits) -> AsgiBridge:
    made = AsgiBridge(app, limits)
    made.start()
    orthanc.RegisterRestCallback(f"/{prefix}(/.*)?", made)
    return made


# one more than HELD, so that another request is served beside those that hold
BRIDGES = [
    bridge("radiarch", BridgeLimits(max_in_flight=HELD + 1, max_wait_s=0.2, max_request_bytes=2_000_000)),
    bridge("impatient", BridgeLimits(timeout_s=0.3)),
]


def on_change(change: int, level: int, resource: str) -> None:
    if change == orthanc.ChangeType.ORTHANC_STOPPED:
        for made in BRIDGES:
            made.stop()


orthanc.RegisterOnChangeCallback(on_change)
