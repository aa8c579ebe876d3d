"""Tests of all parts; `tests.phantoms` is used by the demo too."""
