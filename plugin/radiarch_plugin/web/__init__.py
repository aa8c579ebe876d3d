"""The FastAPI application: routes, answers, pages and the viewer; no decision about a run is made here."""
