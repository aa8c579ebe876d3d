"""One module for each resource of the REST interface; endpoints are plain ``def`` (see `bridge`)."""
