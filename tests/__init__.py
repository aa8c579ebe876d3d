"""Tests of all parts; `phantoms` is used by the demo too."""
