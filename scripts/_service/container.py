"""What runs in the images: turns environment and secret files into Orthanc's configuration or a worker's environment.

``python -m scripts._service.container orthanc|worker`` becomes that program; ``health-orthanc`` and ``health-worker``
are the health checks (Orthanc answers no HEAD requests, so a GET is sent).
"""

from __future__ import annotations

import base64
import os
import socket
import sys
import sysconfig
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .errors import ScriptError
from .orthanc import PLUGINS_FOLDER, OrthancSettings, configuration, merge, read_json, write_private_json

CHECKOUT = Path(__file__).resolve().parents[2]
HTTP_PORT, DICOM_PORT = 8042, 4242
STORAGE = Path("/var/lib/radiarch/orthanc")
CONFIGURATION = Path("/tmp/radiarch-orthanc.json")  # noqa: S108 - a container of its own, a tmpfs there
_HEALTH_TIMEOUT_S = 5.0


def orthanc_configuration(env: Mapping[str, str]) -> dict[str, Any]:
    """Orthanc's configuration; reachable from other containers, so never without a password."""
    user = _required(env, "RADIARCH_ORTHANC_USER")
    extra: dict[str, Any] = merge(_postgresql(env), _sign_in(env, user))
    if more := env.get("RADIARCH_ORTHANC_CONFIG"):
        extra = merge(extra, read_json(Path(more)))
    settings = OrthancSettings(
        checkout=CHECKOUT,
        storage=STORAGE,
        http_port=HTTP_PORT,
        dicom_port=DICOM_PORT,
        redis_url=redis_url(env),
        site_packages=Path(sysconfig.get_path("purelib")),
        protocols=Path(env.get("RADIARCH_PROTOCOLS") or CHECKOUT / "orthanc-config" / "protocols"),
        aet=env.get("RADIARCH_AET") or "RADIARCH",
        remote_access=True,
        users={user: _secret(env, "RADIARCH_ORTHANC_PASSWORD_FILE")},
        known_hosts=tuple(env.get("RADIARCH_KNOWN_HOSTS", "").replace(",", " ").split()),
        extra=extra,
    )
    whole = configuration(settings)
    if env.get("RADIARCH_POSTGRES_HOST"):
        whole["Plugins"] = [*whole["Plugins"], str(PLUGINS_FOLDER / "libOrthancPostgreSQLIndex.so")]
    return whole


def _sign_in(env: Mapping[str, str], user: str) -> dict[str, Any]:
    """With roles, the account of the containers is a worker's; the plugin checks the mode."""
    if not (mode := env.get("RADIARCH_AUTH_MODE")):
        return {}
    return {"Radiarch": {"Auth": {"Mode": mode, "Roles": {user: "worker"} if mode == "basic" else {}}}}


def _postgresql(env: Mapping[str, str]) -> dict[str, Any]:
    """Orthanc's index and our own tables in PostgreSQL, in a database each."""
    host = env.get("RADIARCH_POSTGRES_HOST")
    if not host:
        return {}
    port = env.get("RADIARCH_POSTGRES_PORT") or "5432"
    user = env.get("RADIARCH_POSTGRES_USER") or "radiarch"
    password = _secret(env, "RADIARCH_POSTGRES_PASSWORD_FILE")
    address = f"{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"
    return {
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "Host": host,
            "Port": int(port),
            "Database": "orthanc",
            "Username": user,
            "Password": password,
            "MaximumConnectionRetries": 30,
        },
        "Radiarch": {"DatabaseUrl": f"postgresql+psycopg://{address}/radiarch"},
    }


def redis_url(env: Mapping[str, str]) -> str:
    host, port = env.get("RADIARCH_REDIS_HOST") or "redis", env.get("RADIARCH_REDIS_PORT") or "6379"
    return f"redis://:{quote(_secret(env, 'RADIARCH_REDIS_PASSWORD_FILE'), safe='')}@{host}:{port}/0"


def worker_environment(env: Mapping[str, str]) -> dict[str, str]:
    return {"RADIARCH_WORK_DIR": "/var/lib/radiarch/work", **env, "RADIARCH_REDIS_URL": redis_url(env)}


def check_orthanc(env: Mapping[str, str]) -> bool:
    """Orthanc and the plugin answer."""
    login = f"{_required(env, 'RADIARCH_ORTHANC_USER')}:{_secret(env, 'RADIARCH_ORTHANC_PASSWORD_FILE')}"
    request = urllib.request.Request(
        f"http://127.0.0.1:{HTTP_PORT}/radiarch/api/v1/info",
        headers={"Authorization": "Basic " + base64.b64encode(login.encode()).decode()},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_HEALTH_TIMEOUT_S) as answer:
        return bool(answer.status == 200)


def check_worker(env: Mapping[str, str]) -> bool:
    """This container's worker has given a sign of life (its key in Redis expires without)."""
    import redis

    name = env.get("RADIARCH_WORKER_NAME") or socket.gethostname()
    client = redis.Redis.from_url(redis_url(env), socket_timeout=_HEALTH_TIMEOUT_S)
    return any(True for _ in client.scan_iter(match=f"radiarch:worker:{name}-*", count=1000))


def _required(env: Mapping[str, str], name: str) -> str:
    if not (value := env.get(name)):
        raise ScriptError(f"{name} is not set", remedy="Set it as docker-compose.yml does.")
    return value


def _secret(env: Mapping[str, str], name: str) -> str:
    path = Path(_required(env, name))
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as e:
        raise ScriptError(
            f"{name}: {path} cannot be read: {e.strerror}",
            remedy="Make the secret files as docs/deployment.md says; user 10001 must be able to read them.",
        ) from None
    if not secret:
        raise ScriptError(f"{name}: {path} is empty", remedy="Write a password into it.")
    return secret


def main(arguments: list[str]) -> int:
    env = dict(os.environ)
    try:
        match arguments:
            case ["orthanc"]:
                STORAGE.mkdir(parents=True, exist_ok=True)
                write_private_json(CONFIGURATION, orthanc_configuration(env))
                settings = {"TCP_NODELAY": "1", "MALLOC_ARENA_MAX": "5"}
                os.execve("/usr/sbin/Orthanc", ["Orthanc", str(CONFIGURATION)], env | settings)  # noqa: S606
            case ["worker"]:
                os.execve(sys.executable, [sys.executable, "-m", "radiarch_worker"], worker_environment(env))  # noqa: S606
            case ["health-orthanc"]:
                return 0 if check_orthanc(env) else 1
            case ["health-worker"]:
                return 0 if check_worker(env) else 1
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except ScriptError as e:
        print(f"radiarch: {e}\n  {e.remedy}", file=sys.stderr)
    except OSError as e:
        print(f"radiarch: {e}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
