"""One module a step; never edited once released."""
