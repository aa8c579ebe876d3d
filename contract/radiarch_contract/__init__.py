"""The words that plugin, worker and client share; no behaviour of any one side lives here."""

__version__ = "0.2.0"

API_PREFIX = "/radiarch/api/v1"
"""Where the REST interface is mounted on Orthanc's own port."""


def series_of(version: str) -> str:
    """Major and minor version: parts of one series have the same contract.

    Examples
    --------
    >>> series_of("0.1.7")
    '0.1'
    """
    return ".".join(version.split(".")[:2])
